"""Requests and policies for the moderator's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.contracts.events import (
    DeliveryMethod,
    GenerationRequested,
    JobSpec,
    Outcome,
    ReplyTo,
    RequestDelivered,
)
from services.moderator.policy import Policy, parse_policy

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
#: A policy of one word, so that a test says all that it depends on.
SMALL = """
version: small
max_prompt_characters: 100
default_quota: 2
quotas: {patron: 5, staff: null}
banned_users: [666]
banned_guilds: ["777"]
innocent: [forbidden city]
terms:
  bad: {words: [forbidden], patterns: [" gr[ae]y zone "]}
  worse: {words: [worse]}
rules:
  - {category: both, all_of: [bad, worse], message: Not together.}
  - {category: bad, all_of: [bad], message: That is forbidden.}
"""


def a_policy(text: str = SMALL) -> Policy:
    """The small policy, or another."""
    return parse_policy(text, "small.yaml")


def a_request(
    request_id: str = "1",
    prompt: str = "a lighthouse",
    *,
    user: str = "42",
    guild: str | None = "7",
    plan: str = "free",
    at: datetime = NOON,
    negative: str = "",
    parameters: dict[str, str] | None = None,
) -> GenerationRequested:
    """A request of one user's, made at noon."""
    return GenerationRequested(
        request_id=request_id,
        requested_at=at,
        expires_at=at + timedelta(minutes=15),
        reply_to=ReplyTo(
            user_id=user,
            channel_id="9",
            application_id="8",
            interaction_token="token",
            token_expires_at=at + timedelta(minutes=15),
            guild_id=guild,
        ),
        command="serve",
        raw_input=prompt,
        command_string=prompt,
        prompt=prompt,
        negative_prompt=negative,
        job=JobSpec(
            workflow="sd15",
            workflow_version="v1",
            graph="{}",
            bindings={},
            seed=1,
            images=4,
            parameters={"prompt": prompt, "neg": negative, "ar": "1:1", "cfg": "6"} | (parameters or {}),
        ),
        plan=plan,
    )


def delivered(request: GenerationRequested, outcome: Outcome) -> RequestDelivered:
    """The end of a request, a minute after it was made."""
    return RequestDelivered(
        request_id=request.request_id,
        user_id=request.reply_to.user_id,
        outcome=outcome,
        method=DeliveryMethod.EDIT,
        delivered_at=request.requested_at + timedelta(minutes=1),
        requested_at=request.requested_at,
    )
