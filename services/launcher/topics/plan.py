"""What has to be done so that a cluster's topics are as they are declared.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTopic:
    """One topic as it should be."""

    name: str  #: with the installation's prefix
    partitions: int
    owns_keys: bool  #: which partition a key is on decides which instance owns it
    replication_factor: int  #: -1 = the broker's default
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """One topic as the cluster has it."""

    partitions: int
    replication_factor: int
    config: Mapping[str, str]  #: effective values, defaults included


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedGroup:
    """A consumer group of the new protocol (KIP-848), whose timeouts the broker keeps."""

    name: str  #: with the installation's prefix
    session_timeout_ms: int  #: at most this long until a killed member's partitions move


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGroup:
    """What the cluster says about such a group; ``None`` where it does not say."""

    session_timeout_ms: int | None
    least_session_timeout_ms: int | None  #: the broker's ``group.consumer.min.session.timeout.ms``


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make a topic."""

    topic: WantedTopic

    def __str__(self) -> str:
        """For the plan."""
        shown = ", ".join(f"{key}={value}" for key, value in sorted(self.topic.config.items()))
        copies = self.topic.replication_factor
        replication = f"{copies} replicas" if copies > 0 else "the broker's default replication"
        return f"create  {self.topic.name}: {self.topic.partitions} partitions, {replication}, {shown}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Change settings of a topic or a group."""

    kind: str  #: ``topic`` or ``group``
    name: str
    values: Mapping[str, str]
    before: Mapping[str, str]  #: the same keys; a key that was not there is missing

    def __str__(self) -> str:
        """For the plan."""
        subject = f"group {self.name}" if self.kind == "group" else self.name
        altered = (f"{k} {self.before.get(k, '(unset)')} -> {v}" for k, v in sorted(self.values.items()))
        return f"alter   {subject}: {', '.join(altered)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grow:
    """Add partitions to a topic."""

    name: str
    before: int
    partitions: int

    def __str__(self) -> str:
        """For the plan."""
        return f"grow    {self.name}: {self.before} -> {self.partitions} partitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class InOrder:
    """Nothing to do."""

    name: str

    def __str__(self) -> str:
        """For the plan."""
        return f"ok      {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that differs and is left as it is, because it harms nothing or nothing here can change it."""

    name: str
    reason: str

    def __str__(self) -> str:
        """For the plan."""
        return f"note    {self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something that differs, matters and is not changed: a person has to decide."""

    name: str
    reason: str

    def __str__(self) -> str:
        """For the plan."""
        return f"REFUSED {self.name}: {self.reason}"


Change: TypeAlias = Create | Configure | Grow
Step: TypeAlias = Change | InOrder | Note | Refused


def plan_topics(
    wanted: Iterable[WantedTopic], found: Mapping[str, FoundTopic], *, allow_rehash: bool
) -> list[Step]:
    """The steps that make the cluster's topics as they are wanted; ``InOrder`` for each that is so already.

    Topics that are not wanted are left alone, and so are settings that nobody declares.
    """
    steps: list[Step] = []
    for topic in wanted:
        known = found.get(topic.name)
        steps += [Create(topic=topic)] if known is None else _update(topic, known, allow_rehash=allow_rehash)
    return steps


def plan_group(wanted: WantedGroup, found: FoundGroup) -> Step:
    """The step for the session timeout of a group, which is lowered where the broker permits it, never raised."""
    least, now = found.least_session_timeout_ms, found.session_timeout_ms
    if now is None:
        return Note(
            name=f"group {wanted.name}",
            reason="the cluster tells nothing of group settings; its defaults hold",
        )
    if now <= wanted.session_timeout_ms:
        return InOrder(name=f"group {wanted.name}")
    if least is not None and least > wanted.session_timeout_ms:
        return Note(
            name=f"group {wanted.name}",
            reason=f"a killed member's lanes move after {now / 1000:g} s; the broker allows no session under "
            f"{least / 1000:g} s (group.consumer.min.session.timeout.ms)",
        )
    key = "consumer.session.timeout.ms"
    return Configure(
        kind="group",
        name=wanted.name,
        values={key: str(wanted.session_timeout_ms)},
        before={key: str(now)},
    )


def changes(steps: Iterable[Step]) -> list[Change]:
    """The steps that change something, in order."""
    return [step for step in steps if isinstance(step, Create | Configure | Grow)]


def refusals(steps: Iterable[Step]) -> list[Refused]:
    """The steps that a person has to decide."""
    return [step for step in steps if isinstance(step, Refused)]


def _update(topic: WantedTopic, found: FoundTopic, *, allow_rehash: bool) -> list[Step]:
    """The steps for a topic that exists."""
    steps: list[Step] = [*_resize(topic, found, allow_rehash=allow_rehash), *_replication(topic, found)]
    differing = {key: value for key, value in topic.config.items() if found.config.get(key) != value}
    if differing:
        before = {key: found.config[key] for key in differing if key in found.config}
        steps.append(Configure(kind="topic", name=topic.name, values=differing, before=before))
    return steps or [InOrder(name=topic.name)]


def _resize(topic: WantedTopic, found: FoundTopic, *, allow_rehash: bool) -> list[Step]:
    """Partitions: more can be added, at a price where they own keys; none can be taken away."""
    if found.partitions == topic.partitions:
        return []
    if found.partitions > topic.partitions:
        return [_too_many(topic, found.partitions)]
    if topic.owns_keys and not allow_rehash:
        return [
            Refused(
                name=topic.name,
                reason=f"it has {found.partitions} partitions and {topic.partitions} are declared, but more would "
                "move users to other partitions and so away from the instance that knows them; "
                "stop the stages, let them drain, and pass --allow-rehash",
            )
        ]
    return [Grow(name=topic.name, before=found.partitions, partitions=topic.partitions)]


def _too_many(topic: WantedTopic, partitions: int) -> Note | Refused:
    """More partitions than declared: harmless for lanes, a split ownership for keys."""
    if not topic.owns_keys:
        return Note(
            name=topic.name, reason=f"it keeps its {partitions} partitions, {topic.partitions} are declared"
        )
    return Refused(
        name=topic.name,
        reason=f"it has {partitions} partitions, {topic.partitions} are declared, and Kafka takes none away; "
        f"declare {partitions} for all (TOPIC_PARTITIONS={partitions})",
    )


def _replication(topic: WantedTopic, found: FoundTopic) -> list[Step]:
    """A differing replication factor is told, not changed: that moves data between brokers."""
    if topic.replication_factor in (-1, found.replication_factor):
        return []
    return [
        Note(
            name=topic.name,
            reason=f"it has {found.replication_factor} replicas, {topic.replication_factor} are declared; "
            "kafka-reassign-partitions changes that",
        )
    ]
