"""Histories for the checker's tests: a clean one, and the parts to plant faults with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.chaos.history import (
    Commit,
    Completed,
    Delivered,
    Dispatched,
    History,
    Lag,
    Moderated,
    Place,
    Recorded,
    Requested,
    Run,
    Shown,
    State,
    Told,
)

QUOTA = 5
USERS = ("1", "2")
COUNT = 8  #: of the first user 4, all drawn; of the second 4, of which one fails and one is rejected
FAILED, REJECTED = "r5", "r7"
QUEUED = State(text="Queued: a boat", final=False)


def clean() -> History:
    """A run without a fault: eight requests of two users, each told once."""
    requests = [f"r{number}" for number in range(COUNT)]
    taken = [request for request in requests if request != REJECTED]
    return History(
        requested=tuple(map(requested, requests)),
        moderated=tuple(map(moderated, requests)),
        recorded=tuple(recorded(r) for r in taken) + tuple(recorded(r, finished=True) for r in taken),
        dispatched=tuple(map(dispatched, taken)),
        completed=tuple(map(completed, taken)),
        delivered=tuple(map(delivered, requests)),
        told=tuple(map(told, requests)),
        runs=tuple(map(run, taken)),
        stored=frozenset(key for r in taken if r != FAILED for key in images(r)),
        commits=tuple(commit(group, topic) for group, topic in READS),
        lags=tuple(Lag(group=g, place=Place(t, 0, COUNT), committed=COUNT) for g, t in READS),
        quota=QUOTA,
        readers={"requests": ("moderator",), "completed": ("dispatcher", "notifier")},
    )


READS = (
    ("moderator", "requests"),
    ("dispatcher", "moderated"),
    ("dispatcher", "completed"),
    ("notifier", "moderated"),
    ("notifier", "completed"),
)


def number_of(request: str) -> int:
    """Its place in the order of arrival, from 0."""
    return int(request[1:])


def user_of(request: str) -> str:
    """Whose it is."""
    return USERS[number_of(request) % 2]


def at(request: str, step: int) -> float:
    """When the request took a step: all of one step come before the next."""
    return 1_000_000.0 + 100 * step + number_of(request)


def place(topic: str, request: str) -> Place:
    """Where its record lies."""
    return Place(topic, 0, number_of(request))


def images(request: str) -> tuple[str, ...]:
    """The keys of its two images."""
    return (f"images/{request}/0.png", f"images/{request}/1.png")


def outcome(request: str) -> str:
    """How it ends."""
    return {FAILED: "FAILED", REJECTED: "REJECTED"}.get(request, "SUCCEEDED")


def requested(request: str, **changes: Any) -> Requested:
    """Its record of ``requests``."""
    made = Requested(
        place=place("requests", request), at=at(request, 1), request_id=request, user_id=user_of(request)
    )
    return replace(made, **changes)


def moderated(request: str, **changes: Any) -> Moderated:
    """Its decision; each user's requests are every second one."""
    refused = request == REJECTED
    made = Moderated(
        place=place("moderated", request),
        at=at(request, 2),
        request_id=request,
        user_id=user_of(request),
        approved=not refused,
        code="prompt_rejected" if refused else "",
        quota_left=None if refused else QUOTA - 1 - number_of(request) // 2,
    )
    return replace(made, **changes)


def recorded(request: str, *, finished: bool = False) -> Recorded:
    """Its entry in the ledger."""
    step = 5 if finished else 3
    return Recorded(place=place("jobs", request), at=at(request, step), request_id=request, finished=finished)


def dispatched(request: str, attempt: int = 1, worker: str = "gpu_worker-1", part: int = 0) -> Dispatched:
    """An attempt."""
    return Dispatched(
        place=place("dispatched", request),
        at=at(request, 3),
        request_id=request,
        dispatch_id=f"{request}/{attempt}",
        worker_id=worker,
        part=part,
    )


def completed(request: str, **changes: Any) -> Completed:
    """Its end."""
    drawn = outcome(request) == "SUCCEEDED"
    made = Completed(
        place=place("completed", request),
        at=at(request, 4),
        request_id=request,
        dispatch_id=f"{request}/1",
        outcome=outcome(request),
        final=True,
        images=images(request) if drawn else (),
    )
    return replace(made, **changes)


def delivered(request: str, **changes: Any) -> Delivered:
    """That it was told."""
    made = Delivered(
        place=place("delivered", request),
        at=at(request, 5),
        request_id=request,
        user_id=user_of(request),
        outcome=outcome(request),
        images=2 if outcome(request) == "SUCCEEDED" else 0,
    )
    return replace(made, **changes)


def end(request: str, **changes: Any) -> State:
    """The last state of its message."""
    drawn = outcome(request) == "SUCCEEDED"
    made = State(text=f"<@{user_of(request)}> {request}", final=True, images=2 if drawn else 0)
    return replace(made, **changes)


def told(request: str, *shown: Shown, **changes: Any) -> Told:
    """What its user sees: by default one message, queued and then final."""
    made = Told(
        request_id=request,
        user_id=user_of(request),
        accepted=True,
        shown=shown or (Shown(message_id=f"m-{request}", states=(QUEUED, end(request))),),
        sent_at=at(request, 0),
    )
    return replace(made, **changes)


def run(request: str, attempt: int = 1, comfyui: str = "comfyui-1", later: float = 0.0) -> Run:
    """A run on the GPU."""
    return Run(prompt_id=f"{request}/{attempt}", posted_at=at(request, 3) + 0.1 + later, comfyui=comfyui)


def commit(group: str, topic: str, offset: int = COUNT, when: float = 1_000_900.0) -> Commit:
    """What a group had committed in partition 0."""
    return Commit(at=when, group=group, topic=topic, offsets={0: offset})
