"""What an operator should look at in the records of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.anomalies import anomalies
from services.audit.timeline import in_causal_order
from services.contracts.envelope import REPLAY_OF
from services.contracts.events import JobDispatched, JobState, Outcome, Reason
from tests.unit.audit.journeys import START, Journey, happy_journey


def found_in(journey: Journey, *, minutes_later: float = 1) -> tuple[str, ...]:
    """The anomalies, so many minutes after the interaction."""
    return anomalies(in_causal_order(journey.seen()), START + timedelta(minutes=minutes_later))


def test_a_journey_that_went_well_has_none() -> None:
    """No false alarm."""
    assert found_in(happy_journey()) == ()


def undelivered(last: Callable[[Journey], object]) -> Journey:
    """A request that got so far and no further."""
    journey = Journey()
    journey.requested()
    last(journey)
    return journey


@pytest.mark.parametrize(
    ("last", "minutes", "expected"),
    [
        (
            lambda j: j.moderated(),
            1,
            "There is no delivered record yet; it expires at 2026-03-01T12:30:00.000Z.",
        ),
        (
            lambda j: j.moderated(),
            31,
            "It expired at 2026-03-01T12:30:00.000Z, but there is no delivered record.",
        ),
        (
            lambda j: j.completed(9.0),
            1,
            "It ended at 2026-03-01T12:00:09.000Z, but there is no delivered record.",
        ),
        (
            lambda j: j.moderated(0.1, Reason(code="c", category="c", message="m")),
            1,
            "It was rejected, but there is no delivered record.",
        ),
    ],
    ids=["under way", "expired", "completed", "rejected"],
)
def test_a_missing_delivery_is_told_with_what_is_known(
    last: Callable[[Journey], object], minutes: float, expected: str
) -> None:
    """Whether it is still to come, or was lost, and since when."""
    assert expected in found_in(undelivered(last), minutes_later=minutes)


def test_a_completed_event_that_is_not_final_does_not_end_a_request() -> None:
    """Its dispatcher may still try again."""
    journey = undelivered(lambda j: (j.dispatched(), j.completed(2.0, Outcome.FAILED, final=False)))
    assert found_in(journey) == ("There is no delivered record yet; it expires at 2026-03-01T12:30:00.000Z.",)


def test_a_dead_letter_is_named_with_its_origin_and_cause() -> None:
    """The first thing to look at: a stage gave up."""
    journey = happy_journey()
    letter = journey.buried(journey.raws[1], 5.0)
    assert found_in(journey) == (
        f"moderator gave up on moderated/4/0: it is the dead letter {letter.place} (ValueError).",
    )


def test_an_undecodable_record_is_named_with_the_reason() -> None:
    """Bytes of the request that no stage can read."""
    journey = happy_journey()
    bad = journey.put(replace(journey.raws[1], value=b"\x00"), 3.0)
    assert (
        f"{bad.place} cannot be decoded: The record has 1 bytes, too few for a header (too_short)."
        in found_in(journey)
    )


def test_a_request_without_its_first_record_is_told() -> None:
    """Retention, or a bot that never wrote it."""
    journey = happy_journey()
    journey.raws = journey.raws[1:]
    assert found_in(journey) == (
        "There is no record on requests: it was deleted by retention, or never written.",
    )


def test_an_attempt_whose_worker_vanished_is_told() -> None:
    """Attempt 1 never ended; attempt 2 did."""
    journey = Journey()
    journey.requested()
    journey.moderated()
    journey.dispatched(1.0, attempt=1, lane=1)
    journey.dispatched(9.0, attempt=2, lane=2)
    journey.completed(20.0, attempt=2)
    journey.delivered(20.5)
    assert found_in(journey) == ("Attempt 1 on gpu-1 never ended: no completed record names it.",)


def test_the_last_attempt_of_a_request_that_is_over_should_have_ended_too() -> None:
    """Attempt 1 was taken for lost, and ended the request after all; attempt 2 left no word."""
    journey = Journey()
    journey.requested()
    journey.moderated()
    journey.dispatched(1.0, attempt=1, lane=1)
    journey.dispatched(9.0, attempt=2, lane=2)
    journey.completed(20.0, attempt=1)
    journey.delivered(20.5)
    assert found_in(journey) == ("Attempt 2 on gpu-2 never ended: no completed record names it.",)


def test_the_running_attempt_is_no_anomaly() -> None:
    """It may still end."""
    journey = undelivered(lambda j: j.dispatched())
    assert found_in(journey) == ("There is no delivered record yet; it expires at 2026-03-01T12:30:00.000Z.",)


def test_the_same_event_twice_is_a_copy() -> None:
    """At least once: a stage that died after its send sends the same event again."""
    journey = happy_journey()
    copy = journey.put(journey.raws[1], 5.0)
    assert found_in(journey) == (f"The same event is there 2 times: moderated/4/0, {copy.place}.",)


def test_a_replayed_copy_is_called_a_replay() -> None:
    """An operator's own act is told apart from a fault."""
    journey = happy_journey()
    first = journey.raws[0]
    journey.put(replace(first, headers=(*first.headers, (REPLAY_OF, b"requests/4/0"))), 30.0)
    assert found_in(journey) == (
        "The same event is there 2 times: requests/4/0, requests/4/1, 1 of them by replay.",
    )


def test_different_events_where_one_belongs_are_told() -> None:
    """Two ends, two deliveries, two verdicts: each is a fault of a stage."""
    journey = happy_journey()
    journey.delivered(14.0)
    journey.moderated(15.0)
    journey.completed(16.0, Outcome.EXPIRED, attempt=0)
    assert found_in(journey) == (
        "There are 2 different delivered events: delivered/4/0, delivered/4/1.",
        "There are 2 different final completed events: completed/4/0, completed/4/1.",
        "There are 2 different moderated events: moderated/4/0, moderated/4/1.",
    )


def test_one_attempt_under_two_dispatch_ids_is_told() -> None:
    """A dispatcher that forgot what it had sent."""
    journey = happy_journey()
    other = Journey(asked=journey.asked)
    other.dispatched(0.06, attempt=1)
    event = other.seen()[-1].event
    assert isinstance(event, JobDispatched)
    journey.add(replace(event, dispatch_id="other"), 0.06, stage="dispatcher", partition=7)
    assert "Attempt 1 was dispatched 2 times under different ids." in found_in(journey)


def test_a_dispatch_that_was_sent_again_as_it_was_is_no_second_dispatch() -> None:
    """The same dispatch id for another cause: the dispatcher died between the send and its own note of it."""
    journey = happy_journey()
    journey.recorded(JobState.FINISHED, 0.052)
    journey.dispatched(0.06)
    assert not [text for text in found_in(journey) if "different ids" in text or "never ended" in text]
