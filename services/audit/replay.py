"""What a replay would send, to where, and what it would not: a plan out of records.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.audit.observation import BURIAL_PREFIX, HeaderPairs, Observation
from services.audit.ports import Sending
from services.contracts.envelope import REPLAY_OF
from services.contracts.topics import BACKLOGS, DEAD_LETTERS, DISPATCHED, JOBS, TOPIC_NAMES, WORKERS, topic

#: Topics whose records' partition is chosen by their writer and not by their key.
EXPLICIT_PARTITION = frozenset({DISPATCHED, JOBS, WORKERS})
#: Topics that hold what is so now: an old record sent again brings the old state back.
STATE_TOPICS = frozenset({BACKLOGS, JOBS, WORKERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One record to be sent again."""

    source: Observation
    sending: Sending


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One record that was matched and will not be sent, and why."""

    source: Observation
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a replay does."""

    replays: tuple[Replay, ...]
    refusals: tuple[Refusal, ...]
    copies: int  #: matched records left out since a later one holds the same event
    beyond_limit: int  #: matched records left out by the limit

    @property
    def matched(self) -> int:
        """All records that were asked for."""
        return len(self.replays) + len(self.refusals) + self.copies + self.beyond_limit


def plan(
    matched: Iterable[Observation], *, to_topic: str | None = None, limit: int = 100, force: bool = False
) -> Plan:
    """Decide each record's fate; the order of the records is kept.

    Args:
        to_topic: where to send all; by default where each came from, a dead letter where its original lay.
        limit: at most so many are sent.
        force: send also what cannot be decoded, what another topic's readers cannot read, and old state.
    """
    records, copies = _latest(matched)
    replays: list[Replay] = []
    refusals: list[Refusal] = []
    beyond = 0
    for seen in records:
        target = to_topic or _home(seen)
        why = _objection(seen, target, force=force)
        if why is not None:
            refusals.append(Refusal(source=seen, why=why))
        elif len(replays) < limit:
            replays.append(Replay(source=seen, sending=_sending(seen, target or "")))
        else:
            beyond += 1
    return Plan(replays=tuple(replays), refusals=tuple(refusals), copies=copies, beyond_limit=beyond)


def headers_for_replay(seen: Observation) -> HeaderPairs:
    """The original's headers as they were, without what burying and earlier replays added, and where it is from.

    ``replay-of`` names the record that is sent again, not the first of its kind: the records form a chain.
    """
    kept = tuple(
        (name, value)
        for name, value in seen.raw.headers
        if name != REPLAY_OF and not (seen.burial is not None and name.startswith(BURIAL_PREFIX))
    )
    return (*kept, (REPLAY_OF, seen.raw.place.encode()))


def _latest(matched: Iterable[Observation]) -> tuple[list[Observation], int]:
    """One record of each event, the last; how many others there were.

    A request that was replayed is there twice, a letter that came back too: sending both would double them.
    """
    records: dict[str, Observation] = {}
    count = 0
    for seen in matched:
        count += 1
        identity = f"{_home(seen)} {seen.copy_of}" if seen.copy_of is not None else seen.raw.place
        records.pop(identity, None)  # so that the later one takes its own place in the order
        records[identity] = seen
    return list(records.values()), count - len(records)


def _home(seen: Observation) -> str | None:
    """The topic that the record belongs to; none for a dead letter that does not say."""
    return seen.raw.topic if seen.burial is None else seen.burial.topic


def _objection(seen: Observation, target: str | None, *, force: bool) -> str | None:
    """Why the record must not be sent, as a clause, or none."""
    if target is None:
        return "its headers do not say which topic it came from; name one with --to-topic"
    if target == DEAD_LETTERS:
        return "dead letters are written by stages, not by replays"
    if target in EXPLICIT_PARTITION and _home_partition(seen, target) is None:
        return f"records of {target} have a partition of their own, and this one does not say which"
    if force:
        return None
    if seen.problem is not None:
        return f"it cannot be decoded ({seen.problem.reason.value}), so it would fail again; --force sends it"
    if target in STATE_TOPICS:
        return f"{target} holds what is so now, and this would bring an old state back; --force sends it"
    expected = topic(target).event if target in TOPIC_NAMES else None
    if expected is not None and seen.event is not None and not isinstance(seen.event, expected):
        return f"{target} carries {expected.__name__} and this is a {type(seen.event).__name__}; --force sends it"
    return None


def _sending(seen: Observation, target: str) -> Sending:
    raw = seen.raw
    decides_by_key = target not in EXPLICIT_PARTITION and raw.key is not None
    return Sending(
        topic=target,
        partition=None if decides_by_key else _home_partition(seen, target),
        key=raw.key,
        value=raw.value,
        headers=headers_for_replay(seen),
    )


def _home_partition(seen: Observation, target: str) -> int | None:
    """The partition that the record had on ``target``, or none where it was never there."""
    if _home(seen) != target:
        return None
    return seen.raw.partition if seen.burial is None else seen.burial.partition


def dead_letters_of(
    seen: Sequence[Observation], topic_name: str, error_class: str | None
) -> list[Observation]:
    """Those letters that came from a topic (``dead-letters`` = from any), and failed with that class of error."""
    return [
        letter
        for letter in seen
        if letter.burial is not None
        and topic_name in (DEAD_LETTERS, letter.burial.topic)
        and error_class in (None, letter.burial.error_class)
    ]
