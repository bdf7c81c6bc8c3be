"""What ``distillery serve`` prints of an event, and what it says when it cannot serve."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.audit.describe import event_line
from services.contracts.events import (
    DeliveryMethod,
    Event,
    JobDispatched,
    JobProgressed,
    Outcome,
    Phase,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.launcher.demo import RunningDemo
from services.launcher.serve import ServeError, serve
from tests.contract.examples import Example, load_examples
from tests.unit.moderator.requests import a_request

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
REQUEST = a_request("1", "a boat")
EVENTS: list[tuple[Event, tuple[str, ...]]] = [
    (REQUEST, ("requested", "/serve", "plan free")),
    (
        RequestModerated(request=REQUEST, verdict=Verdict.APPROVED, moderated_at=NOW, policy_version="7"),
        ("approved", "policy 7"),
    ),
    (
        JobDispatched(
            request_id="1",
            dispatch_id="d",
            attempt=2,
            worker_id="w",
            incarnation="i",
            dispatched_at=NOW,
            deadline_at=NOW + timedelta(minutes=6),
            requested_at=NOW,
            reply_to=REQUEST.reply_to,
            command_string="a boat",
            job=REQUEST.job,
        ),
        ("attempt 2 to w", "lane 3"),
    ),
    (
        JobProgressed(
            request_id="1",
            phase=Phase.RUNNING,
            progressed_at=NOW,
            reply_to=REQUEST.reply_to,
            command_string="a boat",
            percent=40,
        ),
        ("running", "40 %"),
    ),
    (
        RequestDelivered(
            request_id="1",
            user_id="42",
            outcome=Outcome.SUCCEEDED,
            method=DeliveryMethod.EDIT,
            images=1,
            requested_at=NOW,
            delivered_at=NOW,
        ),
        ("delivered", "succeeded by edit", "1 image"),
    ),
]


@pytest.mark.parametrize(("event", "words"), EVENTS, ids=[type(event).__name__ for event, _ in EVENTS])
def test_each_step_of_a_journey_is_told_in_words(event: Event, words: tuple[str, ...]) -> None:
    """By who decided what, on which lane, and how it ended."""
    line = event_line(event, 3)
    for word in words:
        assert word in line


@pytest.mark.parametrize("example", load_examples(), ids=str)
def test_every_event_is_one_printable_line_without_its_token(example: Example) -> None:
    """Hostile ones too: a prompt cannot colour the terminal, add lines, or show a credential."""
    event = example.event()
    line = event_line(event, 0)
    assert line
    assert line.isprintable()
    request = getattr(event, "request", event)
    token = getattr(getattr(request, "reply_to", None), "interaction_token", "")
    assert not token or token not in line


def test_with_the_real_discord_a_person_must_type_the_command() -> None:
    """No one but Discord can make an interaction."""
    demo = RunningDemo(
        pid=1, page_url="", bootstrap="127.0.0.1:1", topic_prefix="", objects="objects", broker="a broker"
    )
    said: list[str] = []
    with pytest.raises(ServeError, match="real Discord"):
        serve(demo, "a boat", said.append)
    assert said == []
