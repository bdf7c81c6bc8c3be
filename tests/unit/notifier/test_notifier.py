"""The shell: what arrives, in whatever order and however often, ends in one state and one ``delivered``."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.chassis.retry import RetryLater, SendFailed
from services.contracts.errors import ErrorCode
from services.contracts.events import DeliveryMethod, JobCompleted, Outcome, Phase, Reason
from services.notifier import wording
from services.notifier.agents import by_request
from services.notifier.ports import DiscordBusy, InteractionOver, MessageRefused, OriginalUnknown
from tests.harness.waiting import eventually_async
from tests.unit.notifier.world import (
    NOON,
    REQUEST,
    World,
    cancelled,
    completed,
    delivered,
    failed,
    moderated,
    progressed,
    received,
)

TOKEN = f"token-{REQUEST}"
REASON = Reason(code="prompt_rejected", category="both", message="No.")


async def show(world: World, percent: int) -> None:
    """Progress arrives and is shown."""
    before = len(world.discord.edits)
    await world.handle(progressed(Phase.RUNNING, percent))
    world.timers.advance(2.1)
    await eventually_async(lambda: len(world.discord.edits) > before)


async def test_a_rejection_is_told_and_recorded(world: World) -> None:
    """With its code, as the moderator's quota wants it."""
    await world.handle(moderated(REASON))
    assert world.discord.originals[TOKEN].content == "<@42> No. [prompt_rejected]"
    event = world.outbox.sent[0]
    assert (event.outcome, event.error_code) == (Outcome.REJECTED, "prompt_rejected")


async def test_a_request_taken_back_is_told_and_recorded(world: World) -> None:
    """With its outcome, by which the moderator gives the quota back."""
    await world.handle(cancelled())
    assert (
        world.discord.originals[TOKEN].content == "<@42> **a lighthouse --ar 16:9**\nCancelled. [cancelled]"
    )
    event = world.outbox.sent[0]
    assert (event.outcome, event.error_code) == (Outcome.CANCELLED, "cancelled")


async def test_an_attempt_that_is_not_final_changes_nothing(world: World) -> None:
    """The dispatcher may try again, and then says so."""
    await world.handle(replace(failed(), final=False))
    assert world.discord.calls == 0
    assert world.outbox.sent == []


async def test_progress_is_acknowledged_before_it_is_shown(world: World) -> None:
    """The handler returns at once, though Discord does not answer."""
    world.discord.gate.clear()
    await world.handle(progressed(Phase.RUNNING, 10))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.calls == 1)
    await world.handle(progressed(Phase.RUNNING, 20))
    assert world.discord.edits == []


async def test_a_progress_edit_leaves_files_alone_and_offers_to_cancel(world: World) -> None:
    """A final edit replaces the files and takes the button away."""
    await show(world, 10)
    assert (world.discord.edits[0].files, world.discord.edits[0].cancels) == (None, REQUEST)
    await world.handle(failed())
    assert (world.discord.edits[-1].files, world.discord.edits[-1].cancels) == ((), "")


@pytest.mark.parametrize(
    "error",
    [DiscordBusy("429", "429", 30.0), OriginalUnknown("404", "404"), MessageRefused("400", "4xx")],
    ids=["429", "404", "400"],
)
async def test_a_failed_progress_edit_is_dropped(
    world: World, error: DiscordBusy | OriginalUnknown | MessageRefused
) -> None:
    """Newer progress or the end follows anyway."""
    world.discord.fail_next = [error]
    await world.handle(progressed(Phase.RUNNING, 10))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.calls == 1)
    await world.handle(completed())
    assert world.outbox.sent[0].method is DeliveryMethod.EDIT


async def test_a_rate_limit_of_a_progress_edit_is_waited_out(world: World) -> None:
    """By that message alone, and without a word to anybody."""
    world.discord.fail_next = [DiscordBusy("429", "429", 30.0)]
    await world.handle(progressed(Phase.RUNNING, 10))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.calls == 1)
    await asyncio.sleep(0)
    await world.handle(progressed(Phase.RUNNING, 20))
    world.timers.advance(29.0)
    await asyncio.sleep(0)
    assert world.discord.calls == 1
    world.timers.advance(2.0)
    await eventually_async(lambda: world.discord.calls == 2)


async def test_an_expired_interaction_ends_its_progress(world: World) -> None:
    """No edit after it can succeed."""
    world.discord.fail_next = [InteractionOver("401", "4xx")]
    await world.handle(progressed(Phase.RUNNING, 10))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.calls == 1)
    await asyncio.sleep(0)
    await world.handle(progressed(Phase.RUNNING, 20))
    assert world.timers.pending == []


async def test_the_final_edit_waits_for_a_progress_edit_under_way(world: World) -> None:
    """So that the images are the last thing that Discord is told."""
    world.discord.gate.clear()
    await world.handle(progressed(Phase.RUNNING, 50))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.calls == 1)
    finishing = asyncio.create_task(world.handle(completed()))
    await asyncio.sleep(0)
    assert world.discord.calls == 1
    world.discord.gate.set()
    await finishing
    assert [edit.files is None for edit in world.discord.edits] == [True, False]


@pytest.mark.parametrize("restarted", [False, True])
async def test_late_progress_does_not_touch_a_finished_message(world: World, restarted: bool) -> None:
    """Terminal wins, also for a notifier that has only read back what was delivered."""
    await world.handle(completed())
    if restarted:
        world.restart()
    await world.handle(progressed(Phase.RUNNING, 99))
    world.timers.advance(60.0)
    await asyncio.sleep(0)
    assert len(world.discord.edits) == 1


async def test_progress_during_a_retried_delivery_is_silent(world: World) -> None:
    """Between two tries of the final edit the message is already closed."""
    world.discord.fail_next = [DiscordBusy("429", "429", 1.0)]
    with pytest.raises(RetryLater):
        await world.handle(completed())
    await world.handle(progressed(Phase.RUNNING, 99))
    world.timers.advance(60.0)
    await asyncio.sleep(0)
    assert world.discord.calls == 1


async def test_f2_a_crash_between_the_edit_and_delivered_redelivers_to_the_same_state(world: World) -> None:
    """F2: the result is not lost, and the user sees what was there."""
    world.outbox.fail_next = 1
    with pytest.raises(SendFailed):
        await world.handle(completed())
    before = replace(world.discord.originals[TOKEN])
    world.restart()
    await world.handle(completed())
    assert world.discord.originals[TOKEN] == before
    assert len(world.outbox.sent) == 1


async def test_f2_a_crash_after_a_channel_message_does_not_post_it_twice(world: World) -> None:
    """F2: the nonce is enforced."""
    world.now = NOON + timedelta(minutes=20)
    world.outbox.fail_next = 1
    with pytest.raises(SendFailed):
        await world.handle(completed())
    world.restart()
    await world.handle(completed())
    assert len(world.discord.posts) == 1
    assert world.outbox.sent[0].message_id == f"post-{REQUEST}"


async def test_a_broker_that_is_away_does_not_cause_a_second_edit(world: World) -> None:
    """While the process lives it remembers what the user was told."""
    world.outbox.fail_next = 2
    for _ in range(2):
        with pytest.raises(SendFailed):
            await world.handle(completed())
    await world.handle(completed())
    assert len(world.discord.edits) == 1
    assert len(world.outbox.sent) == 1


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("again", [completed(), completed(reused=True, attempt=2), failed()])
async def test_a_request_that_was_delivered_is_not_told_again(
    world: World, again: JobCompleted, restarted: bool
) -> None:
    """A replay of an old event changes nothing that a user can see."""
    await world.handle(completed())
    if restarted:
        world.restart()
    await world.handle(again)
    assert len(world.discord.edits) == 1
    assert len(world.outbox.sent) == 1


async def test_two_ends_at_the_same_time_are_told_as_one(world: World) -> None:
    """Records with different envelopes are not ordered by the edge."""
    await asyncio.gather(world.handle(completed()), world.handle(completed(reused=True)))
    assert len(world.discord.edits) == 1
    assert len(world.outbox.sent) == 1


async def test_a_request_older_than_the_known_deliveries_is_skipped(world: World) -> None:
    """It may have been told, and nobody could say so; it is counted."""
    world.now = NOON + timedelta(hours=49)
    await world.handle(completed())
    assert world.discord.calls == 0
    assert world.outbox.sent == []
    counted = world.metrics.registry.get_sample_value(
        "distillery_deliveries_total", {"stage": "notifier", "outcome": "SUCCEEDED", "method": "STALE"}
    )
    assert counted == 1.0


async def test_notes_of_the_request_are_shown_with_progress_and_result(world: World) -> None:
    """They come with the moderator's approval."""
    await world.handle(moderated(notes=("ratio 27:18 became 3:2",)))
    await show(world, 10)
    assert world.discord.edits[0].content.endswith("\n-# ratio 27:18 became 3:2")
    await world.handle(completed())
    assert world.discord.originals[TOKEN].content.endswith("\n-# ratio 27:18 became 3:2")


async def test_a_final_message_that_fails_for_good_becomes_a_sentence(world: World) -> None:
    """Whatever Discord had against the first message."""
    await world.notifier.give_up(received(completed()), MessageRefused("400", "4xx"))
    code = ErrorCode.INTERNAL_ERROR
    assert world.discord.originals[TOKEN].content.endswith(f"{code.sentence} [{code.value}]")
    assert world.outbox.sent[0].outcome is Outcome.FAILED


async def test_a_final_message_that_cannot_be_sent_at_all_is_recorded(world: World) -> None:
    """``delivered`` says that the user was not told."""
    world.discord.fail_next = [MessageRefused("400", "4xx")]
    await world.notifier.give_up(received(completed()), MessageRefused("400", "4xx"))
    assert world.outbox.sent[0].method is DeliveryMethod.UNDELIVERABLE


async def test_a_passing_outage_of_discord_does_not_end_in_silence(world: World) -> None:
    """The last word on a request is tried again by the edge until Discord takes it."""
    world.discord.fail_next = [DiscordBusy("slow down", "429", 7.5)]
    with pytest.raises(RetryLater):
        await world.notifier.give_up(received(completed()), ValueError("bug"))
    assert world.outbox.sent == []
    await world.notifier.give_up(received(completed()), ValueError("bug"))
    assert [event.method for event in world.outbox.sent] == [DeliveryMethod.EDIT]


async def test_giving_up_takes_nothing_back_from_a_user_who_has_the_images(world: World) -> None:
    """What failed then was only the record of it."""
    world.outbox.fail_next = 1
    with pytest.raises(SendFailed):
        await world.handle(completed())
    await world.notifier.give_up(received(completed()), ValueError("bug"))
    assert len(world.discord.edits) == 1
    assert [event.outcome for event in world.outbox.sent] == [Outcome.SUCCEEDED]


async def test_giving_up_on_progress_or_on_what_was_delivered_does_nothing(world: World) -> None:
    """There is nothing to tell."""
    await world.notifier.give_up(received(progressed()), ValueError("bug"))
    await world.handle(completed())
    await world.notifier.give_up(received(completed()), ValueError("bug"))
    assert len(world.outbox.sent) == 1


async def test_revoked_partitions_end_their_progress(world: World) -> None:
    """Another notifier owns the message next, and its edits must be the last."""
    await world.handle(progressed(Phase.RUNNING, 10))
    await world.notifier.revoked()
    world.timers.advance(60.0)
    await asyncio.sleep(0)
    assert world.discord.calls == 0


async def test_a_partition_that_comes_back_has_its_progress_shown_again(world: World) -> None:
    """Most rebalances give every process what it had."""
    await world.handle(progressed(Phase.RUNNING, 10))
    await world.notifier.revoked()
    await show(world, 20)
    assert "20 %" in world.discord.originals[TOKEN].content


async def test_events_wait_until_the_deliveries_of_new_partitions_are_known(world: World) -> None:
    """Faust lets them flow beside the reading back, and one that was delivered would be delivered again."""
    gate = asyncio.Event()
    handling = asyncio.create_task(world.edge(gate).settle(received(completed()).record))
    await asyncio.sleep(0)
    world.notifier.apply(received(delivered(REQUEST)))
    gate.set()
    await handling
    assert world.discord.calls == 0


async def test_a_stopping_notifier_begins_no_progress_edit(world: World) -> None:
    """It could land after its successor's final edit."""
    await world.handle(progressed(Phase.RUNNING, 10))
    await world.notifier.stop()
    await world.handle(progressed(Phase.RUNNING, 20))
    await world.handle(progressed(Phase.RUNNING, 20, request_id="2"))
    world.timers.advance(60.0)
    await asyncio.sleep(0)
    assert world.discord.calls == 0


async def test_a_lost_partition_is_forgotten(world: World) -> None:
    """What its new owner delivers, this process does not know."""
    await world.handle(completed())
    world.notifier.apply(received(moderated(notes=("note",))))
    world.notifier.forget_partition(3)
    assert (world.notifier.open_requests(), world.notifier.known_deliveries()) == (0, 0)
    await world.handle(completed())
    assert len(world.outbox.sent) == 2


async def test_progress_past_the_token_is_not_tried(world: World) -> None:
    """It cannot be shown."""
    world.now = NOON + timedelta(minutes=15)
    await world.handle(progressed(Phase.RUNNING, 10))
    assert world.timers.pending == []


async def test_sweeping_forgets_what_is_too_old_to_matter(world: World) -> None:
    """Requests that never end do not fill the memory, and delivered ones are known for two days."""
    await world.handle(moderated(notes=("note",)))
    await world.handle(progressed(Phase.RUNNING, 10, request_id="2"))
    world.notifier.apply(received(delivered()))
    world.notifier.sweep()
    assert (world.notifier.open_requests(), world.notifier.known_deliveries()) == (2, 1)
    world.now = NOON + timedelta(hours=2)
    world.notifier.sweep()
    assert (world.notifier.open_requests(), world.notifier.known_deliveries()) == (0, 1)
    world.now = NOON + timedelta(hours=50)
    world.notifier.sweep()
    assert world.notifier.known_deliveries() == 0


async def test_nothing_is_kept_of_a_delivered_request_but_that_it_was(world: World) -> None:
    """Whether this process delivered it or read so."""
    await world.handle(moderated(notes=("note",)))
    await show(world, 10)
    await world.handle(completed())
    assert world.notifier.open_requests() == 0
    world.restart()
    world.notifier.apply(received(moderated(notes=("note",))))
    world.notifier.apply(received(world.outbox.sent[0]))
    assert world.notifier.open_requests() == 0


def test_records_are_ordered_by_request_and_foreign_ones_by_user() -> None:
    """One message's rate limit holds up no other request, not even its own user's."""
    record = received(completed()).record
    assert by_request(record) == by_request(received(progressed()).record) == REQUEST.encode()
    assert by_request(replace(record, headers={})) == record.key


async def test_a_process_whose_partitions_may_be_anothers_shows_no_progress(world: World) -> None:
    """Thawed after a freeze, it would put "place 1" over the images that its sibling has shown."""
    world.is_owner = False
    await world.handle(progressed(Phase.RUNNING, 10))
    world.timers.advance(1.0)
    await asyncio.sleep(0)
    world.is_owner = True
    await show(world, 20)
    assert [edit.content for edit in world.discord.edits] == [wording.progress(progressed(Phase.RUNNING, 20))]
