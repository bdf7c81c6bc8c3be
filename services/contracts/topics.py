"""The topics, as ``schemas/topics/*.yaml`` declares them: the only place that says what a topic is.

Names are written out as constants because the broker remembers them; a test holds constants and files together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
import yaml

from services.contracts.errors import PermanentError
from services.contracts.events import Event
from services.contracts.schema_files import event_type_named, schemas_dir

REQUESTS = "requests"
MODERATED = "moderated"
DISPATCHED = "dispatched"
COMPLETED = "completed"
DELIVERED = "delivered"
PROGRESS = "progress"
WORKERS = "workers"
JOBS = "jobs"
CANCELLATIONS = "cancellations"
BACKLOGS = "backlogs"
DEAD_LETTERS = "dead-letters"

TOPIC_NAMES = (
    REQUESTS,
    MODERATED,
    DISPATCHED,
    COMPLETED,
    DELIVERED,
    PROGRESS,
    WORKERS,
    JOBS,
    CANCELLATIONS,
    BACKLOGS,
    DEAD_LETTERS,
)


class TopicFileError(PermanentError, ValueError):
    """A topic file is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic, without the installation's prefix."""

    name: str
    description: str
    owner: str  #: the stage that answers for what is on it
    key: str  #: what the record key is, in words
    event: type[Event] | None  #: none for ``dead-letters``, which holds what is no event
    producers: tuple[str, ...]  #: stages, in alphabetical order
    consumers: tuple[str, ...]  #: stages, in alphabetical order
    partitions: int
    sized_by: (
        str  #: ``partitions`` or ``lanes``: which of an installation's two counts replaces ``partitions``
    )
    retention_ms: int  #: milliseconds; -1 = for ever
    cleanup_policy: str  #: ``delete`` or ``compact``
    timestamp_type: str  #: ``LogAppendTime`` everywhere
    config: Mapping[str, str]  #: further topic settings of Kafka, by their Kafka names

    def kafka_config(self) -> dict[str, str]:
        """Every setting that the topic has on a broker, by its Kafka name."""
        return {
            "cleanup.policy": self.cleanup_policy,
            "retention.ms": str(self.retention_ms),
            "message.timestamp.type": self.timestamp_type,
            **self.config,
        }


class _TopicFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The shape of a topic file."""

    description: str
    owner: str
    key: str
    event: str | None
    producers: list[str]
    consumers: list[str]
    partitions: Annotated[int, msgspec.Meta(ge=1)]
    sized_by: Literal["partitions", "lanes"]
    cleanup_policy: Literal["delete", "compact"]
    retention_ms: Annotated[int, msgspec.Meta(ge=-1)]
    timestamp_type: Literal["LogAppendTime"]
    config: dict[str, Any] = {}


def prefixed(name: str, prefix: str = "") -> str:
    """The name that the broker knows: an installation's prefix goes before every topic and group name.

    ``prefixed("requests", "blue-")`` is ``blue-requests``.
    """
    return f"{prefix}{name}"


def unprefixed(name: str, prefix: str = "") -> str | None:
    """The name without the prefix, or none where it lacks it and so is another installation's."""
    return name.removeprefix(prefix) if name.startswith(prefix) else None


@cache
def load_topics() -> Mapping[str, Topic]:
    """All topics by name, in the order of ``TOPIC_NAMES``.

    Raises:
        TopicFileError: a file is missing, superfluous or malformed.
    """
    folder = schemas_dir() / "topics"
    found = {path.stem for path in folder.glob("*.yaml")}
    if found != set(TOPIC_NAMES):
        raise TopicFileError(
            f"schemas/topics has files for {sorted(found)}, where {sorted(TOPIC_NAMES)} are declared."
        )
    return MappingProxyType({name: read_topic(folder / f"{name}.yaml") for name in TOPIC_NAMES})


def topic(name: str) -> Topic:
    """One topic by its name without prefix."""
    return load_topics()[name]


def topic_carrying(event_type: type[Event]) -> Topic:
    """The topic that carries events of this type."""
    return _topics_by_event()[event_type]


@cache
def _topics_by_event() -> Mapping[type[Event] | None, Topic]:
    return {topic.event: topic for topic in load_topics().values()}


def sized(
    topics: Mapping[str, Topic], *, partitions: int | None = None, lanes: int | None = None
) -> dict[str, Topic]:
    """The topics with an installation's own counts; one number serves all but ``dispatched``.

    Equal counts are what gives a user to one instance of each stage, so they are not set topic by topic.
    """
    counts = {"partitions": partitions, "lanes": lanes}
    return {name: replace(t, partitions=counts[t.sized_by] or t.partitions) for name, t in topics.items()}


def read_topic(path: Path) -> Topic:
    """Read one topic file.

    Raises:
        TopicFileError: it is malformed or names an unknown event.
    """
    try:
        declared = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), _TopicFile)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise TopicFileError(f"{path.name} is not a topic file: {error}") from error
    event = event_type_named(declared.event) if declared.event is not None else None
    if declared.event is not None and event is None:
        raise TopicFileError(
            f"{path.name} names the event {declared.event}, which services.contracts.events lacks."
        )
    fields = msgspec.structs.asdict(declared) | {
        "name": path.stem,
        "event": event,
        "producers": tuple(sorted(declared.producers)),
        "consumers": tuple(sorted(declared.consumers)),
        "config": MappingProxyType({key: str(value) for key, value in declared.config.items()}),
    }
    return Topic(**fields)
