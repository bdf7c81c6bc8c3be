"""The invariants, by name: from what a run left behind to the list of what it broke.  Pure.

After Jepsen's workload for Kafka: ``lost``, ``duplicate_messages``, ``unseen`` and ``reordered`` mean here for a
request what they mean there for a record.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import (
    Completed,
    History,
    Moderated,
    Place,
    Requested,
    Told,
    first_finals,
    first_of_each,
)
from tests.chaos.reruns import unexplained

SUCCEEDED = "SUCCEEDED"
QUOTA_EXCEEDED = "quota_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One invariant broken in one place."""

    name: str
    subject: str  #: a request, or a record's place
    sentence: str

    def __str__(self) -> str:
        return f"{self.name} {self.subject}: {self.sentence}"


Found = Iterator[tuple[str, str]]


def check(history: History) -> list[Violation]:
    """Every violation, in the order of `INVARIANTS`; none for a run that kept its promises."""
    return [
        Violation(name=name, subject=subject, sentence=sentence)
        for name, invariant in INVARIANTS.items()
        for subject, sentence in invariant(history)
    ]


def lost(history: History) -> Found:
    """A request that was taken has a final message."""
    requested = {request.request_id for request in history.requested}
    ended = {told.request_id for told in history.told if _final_texts(told)}
    for request_id in sorted(requested - ended):
        yield request_id, "is on requests, and its user has no final message"
    for told in history.told:
        if told.accepted and told.request_id not in requested:
            yield told.request_id, "was answered as queued, and is not on requests"


def duplicate_messages(history: History) -> Found:
    """A request has one message, which is made final once or alike.

    Where its first answer can be edited no more, that one stays as it was, and the end is a message beside it.
    """
    for told in history.told:
        finals = [message for message in told.shown if any(state.final for state in message.states)]
        beside = 1 if told.request_id in history.expired else 0
        if len(finals) > 1 or (finals and len(told.shown) - len(finals) > beside):
            yield told.request_id, f"has {len(told.shown)} messages, {len(finals)} of them final"
        elif len(texts := _final_texts(told)) > 1:
            yield told.request_id, f"was told {len(texts)} different ends: {sorted(texts)}"


def phantom(history: History) -> Found:
    """Nothing is delivered that nobody asked for."""
    requested = {request.request_id for request in history.requested}
    for told in history.told:
        if _final_texts(told) and told.request_id not in requested:
            yield told.request_id, "has a final message, and is not on requests"
    for event in history.delivered:
        if event.request_id not in requested:
            yield event.request_id, f"is delivered by {event.place}, and is not on requests"


def unseen(history: History) -> Found:
    """Every record that somebody reads came to what it asks for, and is passed by its reader's offset."""
    moderated, delivered = first_of_each(history.moderated), first_of_each(history.delivered)
    finals = first_finals(history)
    for request_id, request in first_of_each(history.requested).items():
        if request_id not in moderated:
            yield request_id, f"is at {request.place}, and has no decision on moderated"
    for request_id, decision in moderated.items():
        if decision.approved and request_id not in finals:
            yield request_id, f"is approved at {decision.place}, and has no end on completed"
        if not decision.approved and request_id not in delivered:
            yield request_id, f"is rejected at {decision.place}, and is not on delivered"
    for request_id, end in finals.items():
        if request_id not in delivered:
            yield request_id, f"has ended at {end.place}, and is not on delivered"
    for lag in history.lags:
        if lag.committed < lag.place.offset:
            yield str(lag.place), f"is the end, and {lag.group} has stopped at {lag.committed}"


def reordered(history: History) -> Found:
    """A user's requests are decided in the order in which they came, and no message changes after its end."""
    came = _in_order_by_user(first_of_each(history.requested).values())
    decided = _in_order_by_user(first_of_each(history.moderated).values())
    for user_id, requests in came.items():
        both = set(requests) & set(decided.get(user_id, ()))
        wanted = [request for request in requests if request in both]
        found = [request for request in decided.get(user_id, ()) if request in both]
        for earlier, later in zip(wanted, found, strict=True):
            if earlier != later:
                yield earlier, f"came before {later} of the same user, and was decided after it"
                break
    for told in history.told:
        for message in told.shown:
            if any(before.final and not after.final for before, after in pairwise(message.states)):
                yield told.request_id, f"had its end overwritten by {message.states[-1].text[:80]!r}"


def success_lost(history: History) -> Found:
    """A success that came first is what the user got: every image is in the store, and was shown."""
    told = {one.request_id: one for one in history.told}
    for request_id, end in first_finals(history).items():
        if end.outcome != SUCCEEDED:
            continue
        missing = [key for key in end.images if key not in history.stored]
        if missing or not end.images:
            yield request_id, f"succeeded at {end.place}, and the store lacks {missing or 'every image'}"
        elif request_id in told and _most_images(told[request_id]) != len(end.images):
            shown = _most_images(told[request_id])
            yield request_id, f"has {len(end.images)} images at {end.place}, and {shown} were shown"


def wrong_end(history: History) -> Found:
    """What was delivered is the first end; a failure shows no image."""
    told = {one.request_id: one for one in history.told}
    finals, delivered = first_finals(history), first_of_each(history.delivered)
    for request_id, end in finals.items():
        if request_id in delivered and delivered[request_id].outcome != end.outcome:
            outcome = delivered[request_id].outcome
            yield request_id, f"ended {end.outcome} at {end.place}, and was delivered as {outcome}"
        if end.outcome != SUCCEEDED and request_id in told and _most_images(told[request_id]):
            yield request_id, f"ended {end.outcome} at {end.place}, and images were shown"


def decided_twice(history: History) -> Found:
    """A request that is decided again is decided alike."""
    verdicts: dict[str, set[tuple[bool, str]]] = defaultdict(set)
    for decision in history.moderated:
        verdicts[decision.request_id].add((decision.approved, decision.code))
    for request_id, found in verdicts.items():
        if len(found) > 1:
            yield request_id, f"has different decisions: {sorted(found)}"


def gpu_reruns_unexplained(history: History) -> Found:
    """No GPU run is repeated unless its worker died, was stopped, or was told a failure that allows it."""
    for request_id, run, again in unexplained(history):
        where = f"{run.comfyui} ({run.posted_at:.3f}) and again at {again.comfyui} ({again.posted_at:.3f})"
        yield request_id, f"ran as {run.prompt_id} at {where}, and nothing had happened to its worker"


def offset_passed(history: History) -> Found:
    """A committed offset never passes a request that is not yet on its way: looked at all through the run."""
    passing = _first_passing(history)
    for group, records, happened in _duties(history):
        for record in records:
            committed_at = passing(group, record.place)
            if committed_at is None:
                continue
            done_at = happened.get(record.request_id)
            if done_at is None or done_at > committed_at:
                yield (
                    record.request_id,
                    f"{group} had committed past {record.place} before anything came of it",
                )


def quota_drift(history: History) -> Found:
    """The moderator's count of a user's day lies between what it had approved and what had been given back by then."""
    if history.quota is None:
        return
    by_user: dict[tuple[str, int], list[Moderated]] = defaultdict(list)
    for decision in first_of_each(history.moderated).values():
        by_user[decision.user_id, int(decision.at // 86400)].append(decision)
    given_back = {
        event.request_id: event.at
        for event in first_of_each(history.delivered).values()
        if event.outcome != SUCCEEDED
    }
    for decisions in by_user.values():
        yield from _drifts(sorted(decisions, key=_place_of), given_back, history.quota)


def poison_unburied(history: History) -> Found:
    """Each undecodable record is in the dead letters, from every stage that reads its topic."""
    buried = {(letter.stage, letter.source) for letter in history.buried}
    for place in sorted(history.injected):
        for stage in history.readers.get(place.topic, ()):
            if (stage, place) not in buried:
                yield str(place), f"cannot be decoded, and {stage} has no dead letter of it"


def undecodable_written(history: History) -> Found:
    """No stage writes what cannot be decoded."""
    for place in sorted(set(history.undecodable) - history.injected):
        yield str(place), "cannot be decoded, and a stage wrote it"


def buried_alive(history: History) -> Found:
    """No stage gives a sound record up."""
    for letter in history.buried:
        if letter.source not in history.injected:
            yield str(letter.source), f"is sound, and {letter.stage} gave it up: {letter.error}"


#: In the order of the report.
INVARIANTS: Mapping[str, Callable[[History], Found]] = {
    invariant.__name__: invariant
    for invariant in (
        lost,
        duplicate_messages,
        phantom,
        unseen,
        reordered,
        success_lost,
        wrong_end,
        decided_twice,
        gpu_reruns_unexplained,
        offset_passed,
        quota_drift,
        poison_unburied,
        undecodable_written,
        buried_alive,
    )
}


def _final_texts(told: Told) -> set[str]:
    return {state.text for message in told.shown for state in message.states if state.final}


def _most_images(told: Told) -> int:
    """Images of the message as it stands."""
    return max((message.states[-1].images for message in told.shown if message.states), default=0)


def _place_of(record: Requested | Moderated) -> Place:
    return record.place


def _in_order_by_user(records: Iterable[Requested | Moderated]) -> dict[str, list[str]]:
    """Request ids by user, in the order of their partition."""
    ordered: dict[str, list[str]] = defaultdict(list)
    for record in sorted(records, key=_place_of):
        ordered[record.user_id].append(record.request_id)
    return ordered


Duty = tuple[str, Iterable[Requested | Moderated | Completed], Mapping[str, float]]


def _duties(history: History) -> Iterator[Duty]:
    """For each group: the records of a topic, and when the first sign of each one's handling was written.

    A worker's lanes are not among them: a lane may move while its job runs on, which the ledger answers for.
    """
    decided = {r: event.at for r, event in first_of_each(history.moderated).items()}
    delivered = {r: event.at for r, event in first_of_each(history.delivered).items()}
    ended = {r: event.at for r, event in first_finals(history).items()}
    ledger = {r: event.at for r, event in first_of_each(history.recorded).items()}
    finished = {r: e.at for r, e in first_of_each(e for e in history.recorded if e.finished).items()}
    finals = [event for event in history.completed if event.final]
    yield "moderator", history.requested, decided
    yield "dispatcher", [e for e in history.moderated if e.approved], ended | ledger
    yield "dispatcher", [e for e in finals if e.request_id in ledger], finished
    yield "notifier", [e for e in history.moderated if not e.approved], delivered
    yield "notifier", finals, delivered


def _first_passing(history: History) -> Callable[[str, Place], float | None]:
    """When a group was first seen to have committed past a place."""
    seen: dict[tuple[str, str, int], list[tuple[int, float]]] = defaultdict(list)
    for commit in sorted(history.commits, key=lambda commit: commit.at):
        for partition, offset in commit.offsets.items():
            steps = seen[commit.group, commit.topic, partition]
            if not steps or offset > steps[-1][0]:
                steps.append((offset, commit.at))

    def passing(group: str, place: Place) -> float | None:
        steps = seen.get((group, place.topic, place.partition), [])
        index = bisect_right(steps, place.offset, key=lambda step: step[0])
        return steps[index][1] if index < len(steps) else None

    return passing


def _drifts(decisions: list[Moderated], given_back: Mapping[str, float], quota: int) -> Found:
    """One user's day, in the order of the decisions."""
    approved: list[str] = []
    for decision in decisions:
        back = sum(given_back.get(request, decision.at + 1) <= decision.at for request in approved)
        least, most = len(approved) - back, len(approved)
        if decision.code == QUOTA_EXCEEDED and most < quota:
            yield decision.request_id, f"was refused after {most} approved requests, with a quota of {quota}"
        if decision.approved:
            left = -1 if decision.quota_left is None else decision.quota_left
            if not quota - most - 1 <= left <= quota - least - 1 or left < 0:
                yield decision.request_id, f"left {left} of {quota}, with {least} to {most} counted before it"
            approved.append(decision.request_id)
