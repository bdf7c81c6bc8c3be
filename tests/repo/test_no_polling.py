"""Nothing on the request path waits for a time instead of an event."""

from __future__ import annotations

import re

from tests.repo import guards

STAGES = ("ingest_bot", "moderator", "dispatcher", "gpu_worker", "notifier", "chassis")
SLEEP = re.compile(r"\b(asyncio\.sleep|time\.sleep)\(")
#: Waits that are no polling, by file, each with its reason.
ALLOWED = {
    "services/chassis/edge.py": "between two tries of a record that failed",
    "services/chassis/faust_app.py": "the watchdog's thread, which nothing waits for",
    "services/chassis/follower.py": "before it connects anew after the brokers failed",
    "services/chassis/stage.py": "the heartbeat behind /healthz",
    "services/dispatcher/agents.py": "timers for what no event announces (silence, expiry), and between announcements",
    "services/ingest_bot/agents.py": "the timer that defers a slow answer",
    "services/ingest_bot/adapters/conversation.py": "the timer that defers a slow answer",
    "services/notifier/agents.py": "the sweep that forgets old requests",
    "services/notifier/conversation.py": "the spacing of progress edits",
    "services/notifier/delivery.py": "between two tries of an edit that came before the bot's answer",
}


def sleepers(sources: list[guards.Source]) -> list[str]:
    """Files of stages that sleep without being on the list."""
    folders = tuple(f"services/{stage}/" for stage in STAGES)
    return [
        source.path
        for source in sources
        if source.path.startswith(folders) and SLEEP.search(source.text) and source.path not in ALLOWED
    ]


def test_f8_no_stage_polls() -> None:
    """The original's queues were polled, at an interval that grew with load; ours push."""
    assert sleepers(guards.python_files()) == []


def test_f8_a_planted_poll_is_found() -> None:
    """The guard bites."""
    planted = guards.Source(
        path="services/moderator/agents.py", text="while True:\n    await asyncio.sleep(1)\n"
    )
    assert sleepers([planted]) == ["services/moderator/agents.py"]
