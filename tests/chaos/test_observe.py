"""What is read off topics, Discord and ComfyUI becomes the facts that the checker judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from services.contracts.topics import load_topics
from services.sandbox.discord.places import GUILDS
from tests.chaos import observe as observed
from tests.chaos.checker import check
from tests.chaos.history import Buried, Commit, History, Lag, Place, Run, Shown, State
from tests.chaos.schedule import POISONED
from tests.unit.audit.journeys import REQUEST, USER, Journey, happy_journey


def history_of(journey: Journey) -> History:
    """The facts of a request's records."""
    found = observed.Facts()
    for seen in journey.seen():
        found.take(seen)
    return found.into(History())


def interaction(**changes: Any) -> dict[str, Any]:
    """A command as the loopback Discord tells of it."""
    made = {"id": REQUEST, "user_id": USER, "guild_id": GUILDS[1], "created_epoch": 5.0, "messages": []}
    return made | changes


def message(*edits: tuple[str, int]) -> dict[str, Any]:
    """A message with its states: text and how many images."""
    history = [{"content": content, "attachments": images} for content, images in edits]
    return {"id": "m", "history": history, "interaction_id": None, "nonce": REQUEST}


def test_a_whole_journey_is_a_clean_history_but_for_what_its_user_saw() -> None:
    """Every record becomes its fact, with what the checker compares."""
    found = history_of(happy_journey())
    assert [len(facts) for facts in (found.requested, found.moderated, found.completed, found.delivered)] == [
        1
    ] * 4
    assert {fact.request_id for fact in found.recorded} == {REQUEST}
    assert [fact.request_id for fact in found.dispatched] == [REQUEST]
    assert len(found.completed[0].images) == 4
    assert {violation.name for violation in check(found)} == {"lost", "success_lost"}


def test_a_dead_letter_names_the_stage_and_the_record_that_it_buried() -> None:
    """And an undecodable record is told by its place."""
    journey = Journey()
    original = journey.requested()
    journey.buried(original, 1.0, "KeyError", "'seed'")
    (letter,) = history_of(journey).buried
    assert letter == Buried(
        stage=letter.stage,
        source=Place("requests", original.partition, original.offset),
        error="KeyError: 'seed'",
    )


def test_what_a_user_saw_holds_every_state_and_what_the_channel_got() -> None:
    """A message that was posted for a request belongs to it by its nonce."""
    edited = message(("Queued: **a boat**", 0), (f"<@{USER}> **a boat**", 2))
    told = observed.told_of(interaction(messages=[edited]), [message((f"<@{USER}> late", 1))])
    assert (told.accepted, told.shard, told.sent_at) == (True, 1, 5.0)
    assert told.shown == (
        Shown(
            message_id="m",
            states=(
                State(text="Queued: **a boat**", final=False),
                State(text=f"<@{USER}> **a boat**", final=True, images=2),
            ),
        ),
        Shown(message_id="m", states=(State(text=f"<@{USER}> late", final=True, images=1),)),
    )


def test_a_command_that_was_refused_or_not_answered_was_not_accepted() -> None:
    """Only what the bot called queued is its promise."""
    refused = message(("I could not queue this", 0))
    assert not observed.told_of(interaction(messages=[refused]), []).accepted
    assert not observed.told_of(interaction(), []).accepted


def test_runs_are_read_from_every_journal(tmp_path: Path) -> None:
    """Of each ComfyUI, also of one that never ran anything."""
    journal = tmp_path / "comfyui-1.jsonl"
    lines = [json.dumps({"prompt_id": name, "posted_at": at}) for name, at in (("a", 1.5), ("b", 2.5))]
    journal.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = observed.runs({"comfyui-1": journal, "comfyui-2": tmp_path / "comfyui-2.jsonl"})
    assert found == tuple(
        Run(prompt_id=name, posted_at=at, comfyui="comfyui-1") for name, at in (("a", 1.5), ("b", 2.5))
    )


def test_a_group_lags_where_it_has_committed_less_than_there_is() -> None:
    """Every group of every topic that it reads, also one that has committed nothing."""
    commits = [Commit(at=1.0, group="notifier", topic="completed", offsets={0: 5})]
    found = observed.lags(commits, {"completed": {0: 5, 1: 0}, "delivered": {2: 9}})
    assert set(found) == {
        Lag(group="notifier", place=Place("completed", 0, 5), committed=5),
        Lag(group="dispatcher", place=Place("completed", 0, 5), committed=0),
        Lag(group="moderator", place=Place("delivered", 2, 9), committed=0),
    }


def test_every_group_of_a_topic_file_is_held_to_its_offsets_and_dead_letters() -> None:
    """But not audit, nor what is only read back, or followed without a group."""
    found = observed.readers()
    assert found["completed"] == ("dispatcher", "notifier")
    assert found["delivered"] == ("moderator",)
    assert found["cancellations"] == ("dispatcher",)
    assert found["workers"] == found["backlogs"] == ()
    assert set(found) == set(load_topics()) - {"jobs"}


def test_every_topic_that_chaos_poisons_has_somebody_to_bury_it() -> None:
    """And each that has somebody is poisoned."""
    assert {topic for topic, stages in observed.buriers().items() if stages} == set(POISONED)
