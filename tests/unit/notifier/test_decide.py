"""The notifier's rules one by one."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.errors import ErrorCode
from services.contracts.events import (
    DeliveryMethod,
    Event,
    JobProgressed,
    Outcome,
    Phase,
    Reason,
)
from services.notifier import decide
from services.notifier.decide import Receipt
from services.notifier.policy import NONCE_LIMIT, Policy
from tests.unit.notifier.world import (
    NOON,
    USER,
    a_reply,
    an_image,
    completed,
    failed,
    moderated,
    progressed,
)

POLICY = Policy()
REASON = Reason(code="prompt_rejected", category="both", message="No.")


@pytest.mark.parametrize(
    "event",
    [completed(final=False), moderated(), progressed(), None],
    ids=["attempt", "approval", "news", "none"],
)
def test_a_request_that_goes_on_has_no_final_message(event: Event | None) -> None:
    """Only final completions and rejections end a request."""
    assert decide.final_of(event) is None


def test_a_success_is_its_images_under_one_line() -> None:
    """With the notes that the user has not seen applied yet."""
    final = decide.final_of(completed(), ["ratio became 16:9"])
    assert final is not None
    assert [image.object_key for image in final.images] == [an_image(n).object_key for n in range(4)]
    assert final.text == "<@42> **a lighthouse --ar 16:9** (12.3 seconds)\n-# ratio became 16:9"


def test_f3_a_success_without_images_is_told_as_a_failure() -> None:
    """F3: ``null`` is never delivered as if it were images."""
    final = decide.final_of(completed(images=[]))
    assert final is not None
    assert (final.outcome, final.images, final.error_code) == (Outcome.FAILED, (), ErrorCode.NO_IMAGES.value)
    assert ErrorCode.NO_IMAGES.sentence in final.text


def test_f4_a_failure_shows_its_codes_sentence_and_nothing_of_its_message() -> None:
    """F4: what a worker wrote into the message may be a traceback; the user reads the code's own sentence."""
    final = decide.final_of(failed())
    assert final is not None
    assert final.text.endswith(f"{ErrorCode.NODE_ERROR.sentence} [node_error]")
    assert "Traceback" not in final.text
    assert final.images == ()


def test_f4_a_traceback_in_the_place_of_a_code_is_an_internal_error() -> None:
    """F4: in the text and in ``delivered`` alike."""
    final = decide.final_of(failed(code="Traceback (most recent call last):\n  x = 1"))
    assert final is not None
    assert final.error_code == "internal_error"


@pytest.mark.parametrize(
    ("outcome", "code", "told"),
    [
        (Outcome.CANCELLED, "cancelled", Outcome.CANCELLED),
        (Outcome.EXPIRED, "expired", Outcome.EXPIRED),
        (Outcome.FAILED, "internal_error", Outcome.FAILED),
        (Outcome.UNKNOWN, "internal_error", Outcome.FAILED),
    ],
)
def test_an_end_without_an_error_has_its_outcomes_code(outcome: Outcome, code: str, told: Outcome) -> None:
    """Every end has a code; an outcome of a newer version counts as a failure."""
    final = decide.final_of(completed(outcome=outcome, images=[an_image()], error=None))
    assert final is not None
    assert (final.error_code, final.outcome, final.images) == (code, told, ())


def test_a_rejection_is_a_text_alone() -> None:
    """It carries the first reason's code."""
    final = decide.final_of(moderated(REASON))
    assert final is not None
    assert (final.outcome, final.error_code, final.images) == (Outcome.REJECTED, "prompt_rejected", ())
    assert final.text == "<@42> No. [prompt_rejected]"


def test_missing_images_are_counted_in_the_message() -> None:
    """What is there is delivered, and the rest admitted."""
    final = decide.final_of(completed())
    assert final is not None
    left = decide.with_found(final, final.images[1:])
    assert left.images == final.images[1:]
    assert "1 of 4 images could not be read" in left.text
    assert left.outcome is Outcome.SUCCEEDED


def test_a_request_is_stale_once_its_delivery_may_be_forgotten() -> None:
    """An old event replayed after two days must not be told again."""
    final = decide.final_of(completed())
    assert final is not None
    window = timedelta(seconds=POLICY.window)
    assert not decide.is_stale(final, NOON + window, POLICY)
    assert decide.is_stale(final, NOON + window + timedelta(seconds=1), POLICY)


def test_a_token_is_not_used_in_its_last_seconds() -> None:
    """An upload that begins then would end too late."""
    reply_to = a_reply()
    assert decide.token_lives(reply_to, NOON + timedelta(minutes=14, seconds=57), POLICY)
    assert not decide.token_lives(reply_to, NOON + timedelta(minutes=14, seconds=58), POLICY)


def test_an_unknown_interaction_is_asked_for_again_while_it_is_young() -> None:
    """The bot's first answer may still be on its way: 50 ms, then longer, until five seconds have passed."""
    final = decide.final_of(completed())
    assert final is not None
    waits = [decide.wait_for_answer(final, NOON + timedelta(seconds=1), n, POLICY) for n in (1, 2, 3, 50)]
    assert waits == [pytest.approx(0.05), pytest.approx(0.075), pytest.approx(0.1125), 1.0]
    assert decide.wait_for_answer(final, NOON + timedelta(seconds=5.1), 4, POLICY) is None


def test_room_for_files_leaves_space_for_the_rest_of_the_request() -> None:
    """A place whose files may be larger than the usual request takes larger requests too."""
    assert decide.room(a_reply(filesize_limit=1_000_000), POLICY) == 25_000_000 - 16 * 1024
    assert decide.room(a_reply(filesize_limit=50_000_000), POLICY) == 50_000_000 - 16 * 1024


def test_images_take_their_memory_twice_while_they_are_sent() -> None:
    """Once as they were read, once in the HTTP client."""
    final = decide.final_of(completed())
    assert final is not None
    assert decide.bytes_held(final) == 2 * 4 * 100


@pytest.mark.parametrize(
    ("sizes", "fit"), [([10, 10], True), ([11], False), ([1, 11], False), ([10, 10, 10], False)]
)
def test_files_fit_one_by_one_and_together(sizes: list[int], fit: bool) -> None:
    """Discord limits each file, and a request as a whole."""
    assert decide.fits(sizes, a_reply(filesize_limit=10), 25) is fit


@pytest.mark.parametrize("request_id", ["1300000000000000001", "x" * 200, "", "réq"])
def test_a_nonce_is_short_and_the_same_every_time(request_id: str) -> None:
    """Else Discord would post a redelivered result twice, or refuse it."""
    assert decide.nonce(request_id) == decide.nonce(request_id)
    assert len(decide.nonce(request_id)) <= NONCE_LIMIT


def test_long_ids_that_differ_at_the_end_have_different_nonces() -> None:
    """Two requests are never taken for one."""
    assert decide.nonce("x" * 40 + "1") != decide.nonce("x" * 40 + "2")


def test_delivered_says_what_was_told_and_how() -> None:
    """The event is made of the receipt alone."""
    final = decide.final_of(completed())
    assert final is not None
    receipt = Receipt(final=final, method=DeliveryMethod.EDIT, images=4, message_id="7")
    event = decide.delivered(receipt, NOON)
    assert (event.user_id, event.outcome, event.images, event.message_id) == (USER, Outcome.SUCCEEDED, 4, "7")


#: The life of a request whose first attempt failed.
STORY = [
    progressed(Phase.QUEUED, queue_place=2),
    progressed(Phase.QUEUED, queue_place=1, progressed_at=NOON + timedelta(seconds=1)),
    progressed(Phase.STARTING),
    progressed(Phase.RUNNING, 10),
    progressed(Phase.RUNNING, 60),
    progressed(Phase.SAVING, 100),
    progressed(Phase.QUEUED, queue_place=1, attempt=1, progressed_at=NOON + timedelta(seconds=2)),
    progressed(Phase.STARTING, attempt=2),
    progressed(Phase.RUNNING, 5, attempt=2),
    progressed(Phase.RUNNING, 100, attempt=2),
]


@pytest.mark.parametrize(("earlier", "later"), list(itertools.combinations(range(len(STORY)), 2)))
def test_news_wins_over_what_is_older_in_any_order_of_arrival(earlier: int, later: int) -> None:
    """Attempts, phases and percent only grow; a queue's place may change either way, by time."""
    assert decide.is_news(STORY[later], STORY[earlier])
    assert not decide.is_news(STORY[earlier], STORY[later])


@pytest.mark.parametrize("event", STORY)
def test_a_repetition_is_no_news(event: JobProgressed) -> None:
    """A redelivered event causes no edit."""
    assert not decide.is_news(event, event)


@given(st.permutations(STORY + STORY))
def test_however_events_are_shuffled_the_percent_of_an_attempt_never_falls(
    shuffled: list[JobProgressed],
) -> None:
    """What is shown is a rising line through the story."""
    shown: list[JobProgressed] = []
    for event in shuffled:
        if decide.is_news(event, shown[-1] if shown else None):
            shown.append(event)
    positions = [STORY.index(event) for event in shown]
    assert positions == sorted(set(positions))
    assert shown[-1] == STORY[-1]


def test_an_unknown_phase_is_no_news() -> None:
    """A phase of a newer version has no wording here."""
    assert not decide.is_news(progressed(Phase.UNKNOWN, attempt=9), None)


def test_the_first_edit_waits_a_moment_and_longer_for_old_news() -> None:
    """Quick jobs need no progress edit, and a restarted notifier first reads on to the newest."""
    assert decide.wait_before_first_edit(0.01, POLICY) == POLICY.first_edit_wait
    assert decide.wait_before_first_edit(30.0, POLICY) == POLICY.edit_spacing
