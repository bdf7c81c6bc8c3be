"""The journey of one request out of its records."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.observation import Observation, Raw, observe
from services.audit.render import timeline_json, timeline_lines
from services.audit.timeline import build, folded, in_causal_order
from services.contracts.codec import Codec
from services.contracts.envelope import CAUSATION_ID, EVENT_ID
from services.contracts.events import DeliveryMethod, Outcome, Reason
from tests.unit.audit.journeys import REQUEST, START, USER, Journey, happy_journey

NOW = START + timedelta(minutes=1)


def test_a_request_that_went_well_is_summed_up_in_one_line() -> None:
    """Time to delivery, images and attempts are what an operator asks first."""
    timeline = build(REQUEST, happy_journey().seen(), NOW)
    assert timeline.summary == "delivered after 12.3 s: 4 images, 1 attempt"
    assert timeline.anomalies == ()
    assert (timeline.user_id, timeline.attempts, timeline.outcome) == (USER, 1, Outcome.SUCCEEDED)
    assert timeline.delivered_after == pytest.approx(12.3)


def test_each_part_of_the_way_has_its_time() -> None:
    """The parts add up to the whole, so that the slow one is seen."""
    stages = build(REQUEST, happy_journey().seen(), NOW).stages
    assert {name: round(seconds, 3) for name, seconds in stages.items()} == {
        "intake": 0.02,
        "moderation": 0.01,
        "backlog": 0.02,
        "drawing": 11.95,
        "delivery": 0.3,
    }


def test_a_buried_event_ends_no_part_of_the_way() -> None:
    """A verdict that no stage took is in no one's time."""
    journey = Journey()
    journey.requested()
    verdict = journey.moderated()
    journey.raws.remove(verdict)
    journey.buried(verdict, 3.0)
    assert list(build(REQUEST, journey.seen(), NOW).stages) == ["intake"]


def test_the_order_of_reading_does_not_matter() -> None:
    """Partitions are read as they come; the journey is the same."""
    journey = happy_journey().seen()
    for mixed in (journey[::-1], journey[1::2] + journey[::2]):
        assert [s.raw.place for s in in_causal_order(mixed)] == [s.raw.place for s in journey]


def test_an_effect_never_stands_before_its_cause() -> None:
    """Two brokers' clocks may differ by more than a stage takes."""
    journey = Journey()
    journey.requested(1.0)
    verdict = journey.moderated(0.9)
    topics = [seen.raw.topic for seen in in_causal_order(journey.seen())]
    assert topics == ["requests", "moderated"]
    step = build(REQUEST, journey.seen(), NOW).steps[1]
    assert (step.seen.raw, round(step.wait, 3)) == (verdict, -0.1), (
        "the clocks' difference is shown, not hidden"
    )


def test_causes_in_a_circle_still_give_an_order() -> None:
    """Headers are foreign data: two records may name each other as their cause."""
    journey = Journey()
    first, second = journey.requested(0.1), journey.moderated(0.2)
    circle = [_linked(first, "a", "b"), _linked(second, "b", "a")]
    assert {seen.raw.topic for seen in in_causal_order(circle)} == {"requests", "moderated"}


def test_a_step_waits_since_what_caused_it() -> None:
    """``completed`` is caused by the dispatch, whatever progress was written in between."""
    journey = Journey()
    journey.requested(0.1)
    journey.moderated(0.2)
    dispatched = journey.dispatched(1.0)
    cause = dispatched.header(EVENT_ID)
    completed = journey.completed(9.0)
    headers = tuple((n, cause.encode() if n == CAUSATION_ID and cause else v) for n, v in completed.headers)
    journey.raws[-1] = replace(completed, headers=headers)
    journey.progressed(5.0, 50)
    steps = {step.seen.raw.topic: step for step in build(REQUEST, journey.seen(), NOW).steps}
    assert steps["completed"].wait == pytest.approx(8.0)


def test_a_rejection_is_told_as_one() -> None:
    """The summary says rejected and with which code; no worker was asked."""
    journey = Journey()
    journey.requested()
    journey.moderated(0.03, Reason(code="banned_words", category="words", message="No."))
    journey.delivered(0.5, Outcome.REJECTED, error_code="prompt_rejected")
    timeline = build(REQUEST, journey.seen(), NOW)
    assert timeline.summary == "delivered after 500 ms: rejected (prompt_rejected), 0 attempts"
    assert timeline.anomalies == ()
    assert timeline.stages["delivery"] == pytest.approx(0.47)


def test_a_failure_after_several_attempts_counts_them() -> None:
    """Attempts are what the ledger and the workers say, at most."""
    journey = Journey()
    journey.requested()
    journey.moderated()
    for attempt in (1, 2):
        journey.dispatched(attempt, attempt=attempt, lane=attempt)
        journey.completed(attempt + 0.5, Outcome.FAILED, attempt=attempt, final=attempt == 2)
    journey.delivered(3.0, Outcome.FAILED, error_code="node_error")
    timeline = build(REQUEST, journey.seen(), NOW)
    assert timeline.summary == "delivered after 3.00 s: failed (node_error), 2 attempts"
    assert timeline.anomalies == ()


def test_an_undeliverable_end_is_not_called_delivered() -> None:
    """Discord refused for good: the images are there and the user knows nothing."""
    journey = happy_journey()
    journey.raws.pop()
    journey.delivered(13.0, method=DeliveryMethod.UNDELIVERABLE)
    assert build(REQUEST, journey.seen(), NOW).summary == "undeliverable after 13.0 s: succeeded, 1 attempt"


def test_a_request_under_way_says_where_it_is() -> None:
    """The last record's topic and age tell which stage has it."""
    journey = Journey()
    journey.requested()
    journey.moderated(0.03)
    timeline = build(REQUEST, journey.seen(), START + timedelta(seconds=30.03))
    assert timeline.summary == "not delivered: the last record is on moderated, 30.0 s old; 0 attempts"
    assert timeline.outcome is None


def test_the_interaction_s_time_comes_from_the_id_where_no_event_is_left() -> None:
    """Retention may have left the tombstone of the ledger alone."""
    journey = Journey()
    journey.add(None, 20.0, stage="dispatcher")
    timeline = build(REQUEST, journey.seen(), NOW)
    assert timeline.started_at == START
    assert timeline.steps[0].since_start == pytest.approx(20.0)


def test_a_timeline_of_nothing_is_refused() -> None:
    """A request without records is for the caller to tell of."""
    with pytest.raises(ValueError, match="at least one record"):
        build(REQUEST, [], NOW)


def test_a_run_of_progress_becomes_one_line() -> None:
    """Dozens of percentages are one fact; the last one is shown, and how many there were."""
    steps = build(REQUEST, happy_journey().seen(), NOW).steps
    counts = {step.seen.raw.topic: count for step, count in folded(steps)}
    assert counts["progress"] == 3
    assert sum(count for _, count in folded(steps)) == len(steps)


def test_the_table_names_every_place_and_ends_with_the_summary() -> None:
    """An operator can go from a line to the record."""
    lines = timeline_lines(build(REQUEST, happy_journey().seen(), NOW))
    assert lines[0] == f"request {REQUEST} of user {USER}, made 2026-03-01T12:00:00.000Z"
    assert lines[-1] == "delivered after 12.3 s: 4 images, 1 attempt"
    for place in ("requests/4/0", "moderated/4/0", "dispatched/7/0", "completed/4/0", "delivered/4/0"):
        assert any(place in line for line in lines), place


def test_what_a_user_typed_cannot_command_the_terminal() -> None:
    """Control characters and reversed text are shown as escapes."""
    asked = replace(Journey().asked, command_string="red \x1b[2J\u202edrowssap")
    journey = Journey(asked=asked)
    journey.requested()
    text = "\n".join(timeline_lines(build(REQUEST, journey.seen(), NOW)))
    assert r"red \x1b[2J\u202edrowssap" in text
    assert "\x1b" not in text


def test_the_json_holds_every_record_and_its_waits() -> None:
    """For scripts: nothing is folded."""
    journey = happy_journey()
    shown = timeline_json(build(REQUEST, journey.seen(), NOW))
    assert [step["topic"] for step in shown["steps"]] == [raw.topic for raw in journey.raws]
    assert shown["delivered_after_seconds"] == 12.3
    assert shown["outcome"] == "SUCCEEDED"
    assert shown["steps"][0]["event"]["prompt"] == "a lighthouse at dusk"


def _linked(raw: Raw, event_id: str, causation_id: str) -> Observation:
    headers = ((EVENT_ID, event_id.encode()), (CAUSATION_ID, causation_id.encode()))
    return observe(replace(raw, headers=headers), Codec())
