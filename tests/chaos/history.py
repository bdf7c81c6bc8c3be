"""What a run left behind, as plain values: all that the checker judges by.  Pure.

Every instant is in seconds since 1970; those of records are the broker's.  All processes share one machine's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from tests.chaos.schedule import Kind


class Place(NamedTuple):
    """Where a record lies; the topic without prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A record of ``requests``."""

    place: Place
    at: float
    request_id: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderated:
    """A record of ``moderated``."""

    place: Place
    at: float
    request_id: str
    user_id: str
    approved: bool
    code: str = ""  #: why it was refused
    quota_left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A record of ``jobs``: the dispatcher has the request in its ledger."""

    place: Place
    at: float
    request_id: str
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """A record of ``dispatched``."""

    place: Place
    at: float
    request_id: str
    dispatch_id: str
    worker_id: str
    part: int = 0  #: of a split request, from 1; 0 is all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A record of ``completed``."""

    place: Place
    at: float
    request_id: str
    dispatch_id: str | None
    outcome: str
    final: bool
    retryable: bool = False
    code: str = ""  #: why it failed
    images: tuple[str, ...] = ()  #: object keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A record of ``delivered``."""

    place: Place
    at: float
    request_id: str
    user_id: str
    outcome: str
    images: int = 0
    method: str = "EDIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """A record of ``dead-letters``."""

    stage: str
    source: Place
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state that a message was in."""

    text: str
    final: bool
    images: int = 0  #: attached or linked


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One message that a user sees: a request's original response, a follow-up, or a channel message for it."""

    message_id: str
    states: tuple[State, ...]  #: oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A command at the loopback Discord, and everything that its user was told."""

    request_id: str
    user_id: str
    accepted: bool  #: the bot said that it is queued
    shown: tuple[Shown, ...] = ()
    sent_at: float = 0.0
    shard: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job at a loopback ComfyUI that came to be run."""

    prompt_id: str
    posted_at: float
    comfyui: str  #: such as ``comfyui-1``


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What a consumer group had committed when it was looked at; the offsets by partition."""

    at: float  #: after the answer had come
    group: str
    topic: str
    offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a group is in a partition after the run has settled."""

    group: str
    place: Place  #: with the end's offset
    committed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A fault as it was really injected, from its first effect to the return to normal."""

    kind: Kind
    target: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A whole run."""

    requested: tuple[Requested, ...] = ()
    moderated: tuple[Moderated, ...] = ()
    recorded: tuple[Recorded, ...] = ()
    dispatched: tuple[Dispatched, ...] = ()
    completed: tuple[Completed, ...] = ()
    delivered: tuple[Delivered, ...] = ()
    buried: tuple[Buried, ...] = ()
    undecodable: tuple[Place, ...] = ()  #: found when the topics were read
    injected: frozenset[Place] = frozenset()  #: the undecodable records among those that the run wrote itself
    copies: frozenset[Place] = frozenset()  #: the duplicates that the run wrote itself
    told: tuple[Told, ...] = ()
    expired: frozenset[str] = frozenset()  #: requests whose first answer Discord lets nobody edit any more
    runs: tuple[Run, ...] = ()
    stored: frozenset[str] = frozenset()  #: keys of the object store
    commits: tuple[Commit, ...] = ()
    lags: tuple[Lag, ...] = ()
    incidents: tuple[Incident, ...] = ()
    quota: int | None = None  #: requests per user and day
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: who buries poison, by topic


T = TypeVar("T", Requested, Moderated, Recorded, Dispatched, Completed, Delivered)


def first_of_each(records: Iterable[T]) -> dict[str, T]:
    """The earliest record of each request; later ones are repetitions."""
    found: dict[str, T] = {}
    for record in records:
        earlier = found.get(record.request_id)
        if earlier is None or (record.at, record.place) < (earlier.at, earlier.place):
            found[record.request_id] = record
    return found


def first_finals(history: History) -> dict[str, Completed]:
    """The end of each request that came first on ``completed``: the one that its user must be told."""
    return first_of_each(event for event in history.completed if event.final)
