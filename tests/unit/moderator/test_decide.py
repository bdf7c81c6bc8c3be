"""The moderator's decisions and the quotas behind them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.codec import MAX_EVENT_BYTES
from services.contracts.errors import ErrorCode
from services.contracts.events import (
    GenerationRequested,
    Outcome,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.moderator.decide import DAYS_KEPT, State, decide, evolve, give_up
from services.moderator.policy import Policy
from tests.unit.moderator.requests import NOON, SMALL, a_policy, a_request, delivered

POLICY = a_policy()
FAILURES = [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED]


def settle(state: State, request: GenerationRequested, policy: Policy = POLICY) -> RequestModerated:
    """Decide as the stage does: with the decision folded into the state."""
    decision = decide(request, state, policy, request.requested_at)
    evolve(state, decision)
    return decision


def codes(decision: RequestModerated) -> list[str]:
    """Its reasons' codes."""
    return [reason.code for reason in decision.reasons]


def test_an_ordinary_request_is_approved() -> None:
    """With the whole request in the event, the policy's version, and what is left of the day."""
    request = a_request()
    decision = decide(request, State(), POLICY, NOON)
    assert decision.verdict is Verdict.APPROVED
    assert decision.request == request
    assert decision.reasons == []
    assert (decision.policy_version, decision.moderated_at) == (POLICY.version, NOON)
    assert decision.quota_left == 1


@pytest.mark.parametrize(
    ("request_", "code", "category", "message"),
    [
        (a_request(user="666"), ErrorCode.USER_BANNED, "banned", ErrorCode.USER_BANNED.sentence),
        (a_request(guild="777"), ErrorCode.GUILD_BANNED, "banned", ErrorCode.GUILD_BANNED.sentence),
        (
            a_request(prompt="x" * 101),
            ErrorCode.INVALID_COMMAND,
            "length",
            "The prompt has 101 characters; at most 100 are allowed.",
        ),
        (a_request(prompt="f0rb1dd3n"), ErrorCode.PROMPT_REJECTED, "bad", "That is forbidden."),
        (
            a_request(user="666", prompt="forbidden"),
            ErrorCode.USER_BANNED,
            "banned",
            "You may not use this bot.",
        ),
    ],
)
def test_a_refusal_says_why(
    request_: GenerationRequested, code: ErrorCode, category: str, message: str
) -> None:
    """A stable code for programs, a category for statistics, one sentence for the user; a ban comes first."""
    decision = decide(request_, State(), POLICY, NOON)
    assert decision.verdict is Verdict.REJECTED
    (reason,) = decision.reasons
    assert (reason.code, reason.category, reason.message) == (code.value, category, message)


def test_every_broken_category_is_named_once_gravest_first() -> None:
    """The notifier shows the first; the rest is for those who look into the event."""
    policy = a_policy(SMALL + "  - {category: both, all_of: [worse], message: Milder.}\n")
    decision = decide(a_request(prompt="forbidden and worse"), State(), policy, NOON)
    assert [(reason.category, reason.message) for reason in decision.reasons] == [
        ("both", "Not together."),
        ("bad", "That is forbidden."),
    ]


def test_the_negative_prompt_is_not_judged() -> None:
    """It says what the image shall not show: ``--neg nsfw`` is welcome."""
    assert decide(a_request(negative="forbidden"), State(), POLICY, NOON).verdict is Verdict.APPROVED


def test_other_words_that_a_workflow_binds_are_judged_with_the_prompt() -> None:
    """A folder may add a workflow with a text of its own, such as a style."""
    sneaky = a_request(prompt="worse", parameters={"style": "forbidden"})
    assert [reason.category for reason in decide(sneaky, State(), POLICY, NOON).reasons] == ["both", "bad"]


def test_the_negative_prompt_s_words_are_judged_under_another_name() -> None:
    """Repeating a word in the negative prompt does not make it welcome elsewhere."""
    sneaky = a_request(negative="forbidden", parameters={"style": "forbidden"})
    assert decide(sneaky, State(), POLICY, NOON).verdict is Verdict.REJECTED


def test_the_quota_ends_with_a_sentence() -> None:
    """Two a day here: the third is refused, and says when the next day begins."""
    state = State()
    first, second, third = (settle(state, a_request(str(number))) for number in range(3))
    assert [first.quota_left, second.quota_left, third.quota_left] == [1, 0, 0]
    assert codes(third) == [ErrorCode.QUOTA_EXCEEDED.value]
    assert third.reasons[0].message == (
        "You have used your 2 requests of today; the next day begins at 00:00 UTC."
    )


def test_each_user_has_a_quota_of_their_own() -> None:
    """One user's requests take nothing from another's."""
    state = State()
    for number in range(3):
        settle(state, a_request(str(number)))
    assert settle(state, a_request("9", user="43")).verdict is Verdict.APPROVED


def test_the_plan_sets_the_quota() -> None:
    """A patron has five, the staff no limit, a plan that the policy does not know the default."""
    for plan, approved in (("patron", 5), ("staff", 9), ("unheard-of", 2)):
        state = State()
        verdicts = [settle(state, a_request(str(number), plan=plan)).verdict for number in range(9)]
        assert verdicts.count(Verdict.APPROVED) == approved, plan
    assert decide(a_request(plan="staff"), State(), POLICY, NOON).quota_left is None


def test_a_quota_of_nothing_refuses_all() -> None:
    """Zero is a limit; only null is none."""
    policy = a_policy(SMALL.replace("default_quota: 2", "default_quota: 0"))
    assert codes(decide(a_request(), State(), policy, NOON)) == [ErrorCode.QUOTA_EXCEEDED.value]


def test_a_refused_request_costs_nothing() -> None:
    """Neither a forbidden prompt nor one over the quota is counted."""
    state = State()
    for number in range(5):
        settle(state, a_request(f"bad-{number}", "forbidden"))
    assert settle(state, a_request("good")).quota_left == 1


def test_the_day_is_utc_and_the_request_s_own() -> None:
    """The quota is whole again at 00:00 UTC, by the time of the request and not of its handling."""
    state = State()
    late = NOON.replace(hour=23, minute=59, second=59)
    for number in range(2):
        settle(state, a_request(str(number), at=late))
    assert settle(state, a_request("2", at=late)).verdict is Verdict.REJECTED
    assert settle(state, a_request("3", at=late + timedelta(seconds=1))).quota_left == 1


def test_a_request_that_comes_again_gets_its_decision_and_counts_once() -> None:
    """At-least-once delivery repeats records; the event that goes out is the same to the last field."""
    state = State()
    first = settle(state, a_request("1"))
    for _ in range(5):
        assert decide(a_request("1"), state, POLICY, NOON + timedelta(hours=1)) == first
        evolve(state, first)
    assert settle(state, a_request("2")).quota_left == 0


def test_a_decision_outlives_the_policy_that_made_it() -> None:
    """A user who was told no does not get images after all because a restart brought another policy."""
    state = State()
    refused = settle(state, a_request("1", "forbidden"))
    milder = a_policy(SMALL.replace("words: [forbidden]", "words: [unheard]"))
    assert decide(a_request("1", "forbidden"), state, milder, NOON) == refused


def test_a_refusal_for_the_quota_stays_one_when_the_quota_grows_again() -> None:
    """The user has read it already; only a new request is decided anew."""
    state = State()
    for number in range(2):
        settle(state, a_request(str(number)))
    refused = settle(state, a_request("2"))
    evolve(state, delivered(a_request("0"), Outcome.FAILED))
    assert decide(a_request("2"), state, POLICY, NOON) == refused
    assert settle(state, a_request("3")).verdict is Verdict.APPROVED


def test_midnight_between_two_deliveries_changes_nothing() -> None:
    """Handled again after midnight, a request still meets the day on which it was counted."""
    state = State()
    late = a_request("1", at=NOON.replace(hour=23, minute=59))
    first = settle(state, late)
    next_day = NOON + timedelta(days=1)
    settle(state, a_request("2", at=next_day))
    assert decide(late, state, POLICY, next_day) == first


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_request_without_images_gives_its_quota_back(outcome: Outcome) -> None:
    """Failed, cancelled, expired: the user got nothing for it."""
    state = State()
    requests = [a_request(str(number)) for number in range(2)]
    for request in requests:
        settle(state, request)
    evolve(state, delivered(requests[0], outcome))
    evolve(state, delivered(requests[0], outcome))
    assert settle(state, a_request("3")).quota_left == 0
    assert settle(state, a_request("4")).verdict is Verdict.REJECTED


def test_delivered_images_stay_counted() -> None:
    """A success settles what the approval counted."""
    state = State()
    request = a_request("0")
    settle(state, request)
    evolve(state, delivered(request, Outcome.SUCCEEDED))
    assert settle(state, a_request("1")).quota_left == 0


def test_a_refused_request_has_nothing_to_give_back() -> None:
    """The notifier reports rejections on the same topic; they must not add to the quota."""
    state = State()
    refused = a_request("bad", "forbidden")
    settle(state, refused)
    evolve(state, delivered(refused, Outcome.REJECTED))
    assert settle(state, a_request("1")).quota_left == 1


def test_past_days_are_forgotten() -> None:
    """Memory holds the requests of two days and no more, however long the stage runs."""
    state = State()
    for day in range(30):
        at = NOON + timedelta(days=day)
        request = a_request(str(day), at=at)
        settle(state, request)
        evolve(state, delivered(request, Outcome.FAILED))
        assert len(state.days) <= DAYS_KEPT
    assert set(state.days) == {(NOON + timedelta(days=day)).date() for day in (28, 29)}


def test_a_record_of_a_forgotten_day_changes_nothing() -> None:
    """Old records are read back where the broker cannot find an offset by time."""
    state = State()
    settle(state, a_request("new"))
    before = {day: set(users) for day, users in state.days.items()}
    old = a_request("old", at=NOON - timedelta(days=3))
    evolve(state, replace(decide(old, State(), POLICY, old.requested_at)))
    evolve(state, delivered(old, Outcome.FAILED))
    assert {day: set(users) for day, users in state.days.items()} == before


@given(st.data())
def test_the_state_is_the_same_in_whatever_order_it_is_read_back(data: st.DataObject) -> None:
    """``moderated`` and ``delivered`` are read one after the other, parts of them twice."""
    requests = [a_request(str(number), user=str(number % 2)) for number in range(6)]
    moderated = [decide(request, State(), POLICY, NOON) for request in requests]
    endings = [delivered(request, Outcome.FAILED) for request in requests[:3]]
    events: list[RequestModerated | RequestDelivered] = [*moderated, *endings]
    expected = State()
    for event in events:
        evolve(expected, event)
    shuffled = State()
    for event in data.draw(st.permutations(events + events[:4])):
        evolve(shuffled, event)
    assert shuffled == expected


def test_of_two_decisions_the_first_one_on_the_topic_counts() -> None:
    """Two moderators may overlap while a partition moves; everyone else goes by the first record as well."""
    state = State()
    approved = decide(a_request("1"), State(), POLICY, NOON)
    refused = replace(approved, verdict=Verdict.REJECTED)
    evolve(state, approved)
    evolve(state, refused)
    assert decide(a_request("1"), state, POLICY, NOON) == approved


def test_giving_up_tells_the_user_and_fits_into_an_event() -> None:
    """Even where the request's graph alone was too large to be sent on."""
    request = a_request()
    huge = replace(request, job=replace(request.job, graph="x" * MAX_EVENT_BYTES))
    decision = give_up(huge, NOON)
    assert decision.verdict is Verdict.REJECTED
    assert codes(decision) == [ErrorCode.INTERNAL_ERROR.value]
    assert decision.request.reply_to == request.reply_to
    assert decision.request.job.graph == ""
