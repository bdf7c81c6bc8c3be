"""What the moderator decides of a request, and the quotas that it counts.  Pure, but that `evolve` changes its state.

The state is a fold over the ``moderated`` and ``delivered`` records of one partition, in any order and any number
of times.  A user's requests all have one partition, so nobody else counts them.

Days are UTC days of the request itself and not of its handling: a request that is delivered again after midnight
still meets the day on which it was counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from services.contracts.errors import ErrorCode
from services.contracts.events import (
    GenerationRequested,
    Outcome,
    Reason,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.moderator.policy import Policy

#: Today and yesterday, whose last requests may still be under way or delivered again.
DAYS_KEPT = 2
#: Parameters, by the intake's names, that are judged already or not at all.
_NOT_ADDED = ("prompt", "neg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A `RequestModerated` without its request, which is many times larger."""

    verdict: Verdict
    moderated_at: datetime
    policy_version: str
    reasons: tuple[Reason, ...]
    quota_left: int | None

    def of(self, request: GenerationRequested) -> RequestModerated:
        """The event that says so."""
        return RequestModerated(
            request=request,
            verdict=self.verdict,
            moderated_at=self.moderated_at,
            policy_version=self.policy_version,
            reasons=list(self.reasons),
            quota_left=self.quota_left,
        )


@dataclass(slots=True)
class UserDay:
    """One user's requests of one day, by request id."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)  #: approved and not given back: what the quota limits
    given_back: set[str] = field(default_factory=set)  #: these brought no images


@dataclass(slots=True)
class State:
    """What one partition's users have asked for, by day and user id."""

    days: dict[date, dict[str, UserDay]] = field(default_factory=dict)
    today: date = date.min  #: the latest day on which something was decided or delivered

    def user_day(self, user_id: str, requested_at: datetime) -> UserDay:
        """A user's day; an empty one, not kept, where nothing is known."""
        return self.days.get(requested_at.date(), {}).get(user_id, UserDay())


def first_day_kept(now: datetime) -> date:
    """Records from before this day change no state any more."""
    return now.date() - timedelta(days=DAYS_KEPT - 1)


def decide(request: GenerationRequested, state: State, policy: Policy, now: datetime) -> RequestModerated:
    """Approve or reject; a request that was decided before gets the same decision, whatever changed since.

    Every text that may reach the image is judged together.  The negative prompt is not among them: it says what the
    image shall not show, so ``--neg nsfw`` is common and welcome.  It could be turned around only by a guidance
    (``cfg``) below zero, which no manifest may allow; ours begin at 1.
    """
    user_day = state.user_day(request.reply_to.user_id, request.requested_at)
    if earlier := user_day.decisions.get(request.request_id):
        return earlier.of(request)
    quota = policy.quota(request.plan)
    left = None if quota is None else max(0, quota - len(user_day.counted))
    reasons = _refusals(request, policy) or _quota_refusal(quota, left)
    if not reasons and left is not None:
        left -= 1
    return Decision(
        verdict=Verdict.REJECTED if reasons else Verdict.APPROVED,
        moderated_at=now,
        policy_version=policy.version,
        reasons=tuple(reasons),
        quota_left=left,
    ).of(request)


def evolve(state: State, event: RequestModerated | RequestDelivered) -> State:
    """Fold an event into ``state``, in place.  Idempotent; events may come in any order."""
    match event:
        case RequestModerated(request=request):
            if user_day := _kept_day(
                state, request.reply_to.user_id, request.requested_at, event.moderated_at
            ):
                _remember(user_day, event)
        case RequestDelivered(outcome=Outcome.SUCCEEDED):
            pass  # it was counted when it was approved
        case RequestDelivered():
            if user_day := _kept_day(state, event.user_id, event.requested_at, event.delivered_at):
                user_day.given_back.add(event.request_id)
                user_day.counted.discard(event.request_id)
    return state


def give_up(request: GenerationRequested, now: datetime) -> RequestModerated:
    """Refuse a request that cannot be decided, so that its user hears of it.

    The graph is left out: it may be what made the event too large to send.
    """
    return RequestModerated(
        request=replace(request, job=replace(request.job, graph="")),
        verdict=Verdict.REJECTED,
        moderated_at=now,
        policy_version="",
        reasons=[_reason(ErrorCode.INTERNAL_ERROR, "internal")],
    )


def _refusals(request: GenerationRequested, policy: Policy) -> list[Reason]:
    if request.reply_to.user_id in policy.banned_users:
        return [_reason(ErrorCode.USER_BANNED, "banned")]
    if request.reply_to.guild_id in policy.banned_guilds:
        return [_reason(ErrorCode.GUILD_BANNED, "banned")]
    limit = policy.max_prompt_characters
    if len(request.prompt) > limit:
        sentence = f"The prompt has {len(request.prompt)} characters; at most {limit} are allowed."
        return [_reason(ErrorCode.INVALID_COMMAND, "length", sentence)]
    gravest: dict[str, str] = {}
    for rule in policy.broken_rules(_shown_text(request)):
        gravest.setdefault(rule.category, rule.message)
    return [_reason(ErrorCode.PROMPT_REJECTED, *broken) for broken in gravest.items()]


def _shown_text(request: GenerationRequested) -> str:
    """The prompt and whatever other words a workflow binds, such as a style or the name of a LoRA."""
    others = (text for name, text in request.job.parameters.items() if name not in _NOT_ADDED)
    return "\n".join([request.prompt, *(text for text in others if any(map(str.isalpha, text)))])


def _quota_refusal(quota: int | None, left: int | None) -> list[Reason]:
    if left != 0:
        return []
    sentence = f"You have used your {quota} requests of today; the next day begins at 00:00 UTC."
    return [_reason(ErrorCode.QUOTA_EXCEEDED, "quota", sentence)]


def _reason(code: ErrorCode, category: str, message: str = "") -> Reason:
    return Reason(code=code.value, category=category, message=message or code.sentence)


def _remember(user_day: UserDay, event: RequestModerated) -> None:
    request_id = event.request.request_id
    if request_id in user_day.decisions:  # two moderators overlapped: the first record is the one that counts
        return
    user_day.decisions[request_id] = Decision(
        verdict=event.verdict,
        moderated_at=event.moderated_at,
        policy_version=event.policy_version,
        reasons=tuple(event.reasons),
        quota_left=event.quota_left,
    )
    if event.verdict is Verdict.APPROVED and request_id not in user_day.given_back:
        user_day.counted.add(request_id)


def _kept_day(state: State, user_id: str, requested_at: datetime, happened_at: datetime) -> UserDay | None:
    """The user's day, begun where it is missing; none for a day that is over and forgotten."""
    if happened_at.date() > state.today:
        state.today = happened_at.date()
        first = first_day_kept(happened_at)
        state.days = {day: users for day, users in state.days.items() if day >= first}
    if requested_at.date() < state.today - timedelta(days=DAYS_KEPT - 1):
        return None
    return state.days.setdefault(requested_at.date(), {}).setdefault(user_id, UserDay())
