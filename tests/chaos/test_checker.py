"""The checker finds every planted violation by its name, and nothing in a clean run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos import histories as h
from tests.chaos.checker import INVARIANTS, check
from tests.chaos.history import (
    Buried,
    Completed,
    History,
    Incident,
    Lag,
    Moderated,
    Place,
    Shown,
    State,
    Told,
)
from tests.chaos.reruns import explanations
from tests.chaos.schedule import Kind

CLEAN = h.clean()
RERUN = {"gpu_reruns_unexplained"}


def names(history: History) -> set[str]:
    """The invariants that a history breaks."""
    return {violation.name for violation in check(history)}


def without(records: tuple[Any, ...], request: str) -> tuple[Any, ...]:
    """The records of all other requests."""
    return tuple(record for record in records if record.request_id != request)


def with_told(told: Told) -> History:
    """The clean run, but that one user was told this."""
    return replace(CLEAN, told=(*without(CLEAN.told, told.request_id), told))


def with_moderated(decision: Moderated) -> History:
    """The clean run, but for one decision."""
    return replace(CLEAN, moderated=(*without(CLEAN.moderated, decision.request_id), decision))


def with_completed(end: Completed) -> History:
    """The clean run, but for one end."""
    return replace(CLEAN, completed=(*without(CLEAN.completed, end.request_id), end))


def rerun(*incidents: Incident, failure: bool = False) -> History:
    """The clean run, but that r0 ran twice, 5 s apart, first at gpu_worker-1."""
    told = h.completed("r0", place=Place("completed", 0, 90), outcome="FAILED", final=False, retryable=True)
    return replace(
        CLEAN,
        dispatched=(*CLEAN.dispatched, h.dispatched("r0", 2, "gpu_worker-2")),
        runs=(*CLEAN.runs, h.run("r0", 2, "comfyui-2", later=5.0)),
        completed=(*CLEAN.completed, replace(told, images=())) if failure else CLEAN.completed,
        incidents=incidents,
    )


def incident(kind: Kind, target: str, since: float = 2.0, lasts: float = 1.0) -> Incident:
    """A fault so many seconds after r0's first run."""
    began = h.at("r0", 3) + since
    return Incident(kind=kind, target=target, since=began, until=began + lasts)


#: What is planted, by the invariant that it breaks.
PLANTED: dict[str, dict[str, History]] = {
    "lost": {
        "a request whose message never became final": with_told(
            h.told("r0", Shown(message_id="m", states=(h.QUEUED,)))
        ),
        "a request without any message": with_told(h.told("r0", Shown(message_id="m", states=()))),
        "a command that was answered as queued and never written": replace(
            CLEAN, told=(*CLEAN.told, h.told("r99", Shown(message_id="m", states=(h.QUEUED,))))
        ),
    },
    "duplicate_messages": {
        "two messages": with_told(
            h.told("r0", *(Shown(message_id=name, states=(h.end("r0"),)) for name in ("m", "n")))
        ),
        "a channel message beside an unfinished answer": with_told(
            h.told(
                "r0",
                Shown(message_id="m", states=(h.QUEUED,)),
                Shown(message_id="n", states=(h.end("r0"),)),
            )
        ),
        "two channel messages where the token had expired": replace(
            with_told(
                h.told(
                    "r0",
                    Shown(message_id="m", states=(h.QUEUED,)),
                    *(Shown(message_id=name, states=(h.end("r0"),)) for name in ("n", "o")),
                )
            ),
            expired=frozenset({"r0"}),
        ),
        "two different ends of one message": with_told(
            h.told("r0", Shown(message_id="m", states=(h.end("r0"), h.end("r0", text="<@1> failed"))))
        ),
    },
    "phantom": {
        "a message for nobody's request": replace(CLEAN, told=(*CLEAN.told, h.told("r99", accepted=False))),
        "a delivery of nobody's request": replace(CLEAN, delivered=(*CLEAN.delivered, h.delivered("r99"))),
    },
    "unseen": {
        "a request that was never decided": replace(CLEAN, moderated=without(CLEAN.moderated, "r0")),
        "an approved request without an end": replace(CLEAN, completed=without(CLEAN.completed, "r0")),
        "an end that was never delivered": replace(CLEAN, delivered=without(CLEAN.delivered, "r0")),
        "a rejection that was never delivered": replace(
            CLEAN, delivered=without(CLEAN.delivered, h.REJECTED)
        ),
        "a group that stopped before the end": replace(
            CLEAN, lags=(Lag(group="moderator", place=Place("requests", 3, 40), committed=39),)
        ),
    },
    "reordered": {
        "a user's later request decided first": replace(
            CLEAN,
            moderated=(
                *without(without(CLEAN.moderated, "r0"), "r2"),
                h.moderated("r0", place=Place("moderated", 0, 2), quota_left=3),
                h.moderated("r2", place=Place("moderated", 0, 0), quota_left=4),
            ),
        ),
        "progress shown over the end": with_told(
            h.told("r0", Shown(message_id="m", states=(h.end("r0"), h.QUEUED)))
        ),
    },
    "success_lost": {
        "an image that the store lacks": replace(CLEAN, stored=CLEAN.stored - {h.images("r0")[1]}),
        "a success that lists no image": with_completed(h.completed("r0", images=())),
        "an image that was not shown": with_told(
            h.told("r0", Shown(message_id="m", states=(h.end("r0", images=1),)))
        ),
    },
    "wrong_end": {
        "a success delivered as a failure": replace(
            CLEAN,
            delivered=(*without(CLEAN.delivered, "r0"), h.delivered("r0", outcome="FAILED", images=0)),
        ),
        "a failure that shows images": with_told(
            h.told(h.FAILED, Shown(message_id="m", states=(h.end(h.FAILED, images=2),)))
        ),
    },
    "decided_twice": {
        "a request approved and then refused": replace(
            CLEAN,
            moderated=(
                *CLEAN.moderated,
                h.moderated("r0", place=Place("moderated", 0, 70), approved=False, code="quota_exceeded"),
            ),
        ),
    },
    "gpu_reruns_unexplained": {
        "a second run for no reason": rerun(),
        "one prompt run twice": replace(CLEAN, runs=(*CLEAN.runs, h.run("r0", later=1.0))),
        "another worker's death": rerun(incident(Kind.KILL, "gpu_worker-3")),
        "a death of the worker after the second run": rerun(incident(Kind.KILL, "gpu_worker-1", since=9.0)),
        "a death of the worker before the first run": rerun(incident(Kind.KILL, "gpu_worker-1", since=-9.0)),
        "a death of the dispatcher": rerun(incident(Kind.KILL, "dispatcher-1")),
        "a restart of the broker": rerun(incident(Kind.BROKER_RESTART, "broker")),
        "a late link": rerun(incident(Kind.DELAY, "kafka:gpu_worker-1")),
    },
    "offset_passed": {
        f"{group} past an unfinished record of {topic}": replace(
            CLEAN, commits=(*CLEAN.commits, h.commit(group, topic, when=1_000_000.0))
        )
        for group, topic in h.READS
    },
    "quota_drift": {
        "a refusal before the quota is used up": with_moderated(
            h.moderated("r6", approved=False, code="quota_exceeded", quota_left=0)
        ),
        "an approval beyond the quota": replace(CLEAN, quota=2),
        "a request that was not counted": with_moderated(h.moderated("r6", quota_left=2)),
        "a request that was counted twice": with_moderated(h.moderated("r6", quota_left=0)),
        "a count given back before the failure": with_moderated(h.moderated("r4", quota_left=3)),
    },
    "poison_unburied": {
        "a record that one of two readers did not bury": replace(
            CLEAN,
            injected=frozenset({Place("completed", 1, 7)}),
            undecodable=(Place("completed", 1, 7),),
            buried=(Buried(stage="notifier", source=Place("completed", 1, 7)),),
        ),
    },
    "undecodable_written": {
        "bytes that nobody injected": replace(CLEAN, undecodable=(Place("moderated", 2, 5),)),
    },
    "buried_alive": {
        "a sound record in the dead letters": replace(
            CLEAN, buried=(Buried(stage="moderator", source=Place("requests", 0, 3), error="KeyError"),)
        ),
    },
}


def test_a_clean_run_breaks_nothing() -> None:
    """No invariant cries without a cause."""
    assert check(CLEAN) == []


def test_every_invariant_has_its_planted_violations() -> None:
    """One that nothing has ever broken proves nothing."""
    assert set(PLANTED) == set(INVARIANTS)


@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for name, plants in PLANTED.items() for what in plants]
)
def test_a_planted_violation_is_found_by_its_name(name: str, what: str) -> None:
    """Each invariant sees its own, and its sentence names what is concerned."""
    found = [violation for violation in check(PLANTED[name][what]) if violation.name == name]
    assert found
    assert all(violation.subject and violation.sentence for violation in found)


@pytest.mark.parametrize(
    "explained",
    [
        rerun(incident(Kind.KILL, "gpu_worker-1")),
        rerun(incident(Kind.TERMINATE, "gpu_worker-1")),
        rerun(incident(Kind.FREEZE, "gpu_worker-1")),
        rerun(incident(Kind.FREEZE, "gpu_worker-1", since=-3.0, lasts=15.0)),
        rerun(incident(Kind.BLACKHOLE, "kafka:gpu_worker-1")),
        rerun(failure=True),
    ],
)
def test_a_rerun_after_its_workers_end_or_failure_is_explained(explained: History) -> None:
    """The same second run, with what allows it between the two."""
    assert check(explained) == []
    assert explanations(explained).total() == 1


@pytest.mark.parametrize(("parts", "broken"), [((1, 2), set()), ((1, 1), RERUN), ((0, 2), RERUN)])
def test_parts_of_a_split_request_are_runs_of_their_own(parts: tuple[int, int], broken: set[str]) -> None:
    """Two parts are no repetition; a part drawn again is one, and so is a part of what was drawn whole."""
    split = tuple(h.dispatched("r0", number, part=part) for number, part in enumerate(parts, start=1))
    runs = (h.run("r0", 1), h.run("r0", 2, "comfyui-2"))
    history = replace(
        CLEAN,
        dispatched=(*without(CLEAN.dispatched, "r0"), *split),
        runs=(*(run for run in CLEAN.runs if not run.prompt_id.startswith("r0/")), *runs),
    )
    assert names(history) == broken


def test_repetitions_of_every_record_break_nothing() -> None:
    """At least once is the promise: the same event twice is the same event."""
    twice: dict[str, Any] = {
        field: (*getattr(CLEAN, field), *(again(record) for record in getattr(CLEAN, field)))
        for field in ("requested", "moderated", "dispatched", "completed", "delivered")
    }
    assert check(replace(CLEAN, **twice)) == []


def again(record: Any) -> Any:
    """The record once more, further on in its partition."""
    place = record.place._replace(offset=record.place.offset + 1000)
    return replace(record, place=place, at=record.at + 1000)


def test_a_message_made_final_twice_alike_is_one_message() -> None:
    """An edit that is tried again changes nothing that a user sees."""
    alike = h.told("r0", Shown(message_id="m", states=(h.QUEUED, h.end("r0"), h.end("r0"))))
    assert check(with_told(alike)) == []


def test_a_channel_message_beside_an_expired_answer_is_one_end() -> None:
    """Nobody can edit that answer any more."""
    queued, end = Shown(message_id="m", states=(h.QUEUED,)), Shown(message_id="n", states=(h.end("r0"),))
    assert check(replace(with_told(h.told("r0", queued, end)), expired=frozenset({"r0"}))) == []


def test_a_late_success_after_another_end_is_no_violation() -> None:
    """The first end on the topic is the one that its user is told."""
    late = h.completed(h.FAILED, place=Place("completed", 0, 80), outcome="SUCCEEDED", images=h.images("r5"))
    assert check(replace(CLEAN, completed=(*CLEAN.completed, replace(late, at=late.at + 60)))) == []


def test_a_refused_command_that_was_never_accepted_needs_no_message() -> None:
    """A command that the bot did not take, or that nobody answered, is nobody's request."""
    refused = h.told("r99", Shown(message_id="m", states=(State(text="no", final=False),)), accepted=False)
    assert check(replace(CLEAN, told=(*CLEAN.told, refused))) == []


def test_a_quota_given_back_counts_from_its_delivery_on() -> None:
    """Between a failure's delivery and the moderator's reading of it, either count is right."""
    for left in (QUOTA_LEFT, QUOTA_LEFT + 1):
        decision = h.moderated("r7", at=h.at("r7", 9), approved=True, code="", quota_left=left)
        drifts = [v for v in check(with_moderated(decision)) if v.name == "quota_drift"]
        assert drifts == []


QUOTA_LEFT = h.QUOTA - 1 - 3  #: of the fourth request of a user, when none was given back
