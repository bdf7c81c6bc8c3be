"""One final message and one ``delivered`` for each request, however often and from wherever its end comes.

The notifier on the fake and on discord.py against the loopback Discord.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import discord
import pytest

from services.chassis.retry import RetryLater, SendFailed
from services.chassis.settings import Secret
from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import DeliveryMethod, JobCompleted, Outcome, Phase
from services.notifier.adapters.discord_webhook import DiscordMessenger
from services.sandbox.discord.faults import Fault, Route
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import BOT_TOKEN
from tests.fakes.discord_worlds import FakeOutside, Outside, SandboxOutside, Seen
from tests.unit.notifier.world import REQUEST, World, cancelled, completed, failed, progressed

EXPIRED: dict[str, Any] = {"outcome": Outcome.EXPIRED, "images": [], "error": error_info(ErrorCode.EXPIRED)}
ENDS = {
    "succeeded": completed(),
    "failed": failed(),
    "cancelled": cancelled(),
    "expired": completed(**EXPIRED),
}


class Told:
    """A notifier in front of a Discord in which one request waits for its end."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.world = World(outside.messenger)
        self.world.store_images()
        self.reply_to = outside.interact()

    async def hears(self, event: JobCompleted) -> None:
        """The end arrives."""
        await self.world.handle(self._here(event))

    async def crashes_at(self, event: JobCompleted) -> None:
        """The end arrives, the user is told, and the process dies before it is recorded."""
        self.world.outbox.fail_next = 1
        with pytest.raises(SendFailed):
            await self.hears(event)
        self.world.restart()

    async def shows_progress(self) -> None:
        """Progress arrives and is shown."""
        await self.world.notifier._show(self._here(progressed(Phase.RUNNING, 50)))

    def delivered(self) -> list[tuple[Outcome, DeliveryMethod]]:
        """What is on the topic."""
        return [(event.outcome, event.method) for event in self.world.outbox.sent]

    def seen(self) -> Seen:
        """The one message that the recorded delivery names."""
        [event] = self.world.outbox.sent
        assert event.message_id is not None
        return self.outside.seen(event.message_id)

    def _here(self, event: Any) -> Any:
        return replace(event, reply_to=self.reply_to)


@pytest.fixture
async def loopback(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SandboxOutside]:
    """discord.py against the loopback Discord."""
    monkeypatch.setattr(discord.http.Route, "BASE", discord.http.Route.BASE)  # put back afterwards
    box = DiscordSandbox()
    await box.start()
    async with DiscordMessenger(Secret(BOT_TOKEN), box.api_base_url) as messenger:
        yield SandboxOutside(box, messenger)
    await box.stop()


@pytest.fixture(params=["fake", "discord.py"])
def told(request: pytest.FixtureRequest) -> Told:
    """On either Discord."""
    outside: Outside = FakeOutside() if request.param == "fake" else request.getfixturevalue("loopback")
    return Told(outside)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_f2_every_end_that_comes_again_leaves_the_message_as_it_was(
    told: Told, end: JobCompleted
) -> None:
    """F2: after a crash between the edit and its record; nothing is lost, and nothing is told twice."""
    await told.crashes_at(end)
    await told.hears(end)
    first = told.seen()
    told.world.restart()
    await told.hears(end)
    assert (told.seen(), told.outside.count()) == (first, 1)
    assert told.delivered() == [(end.outcome, DeliveryMethod.EDIT)]


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_f2_every_end_past_the_token_is_one_channel_message(told: Told, end: JobCompleted) -> None:
    """F2: the nonce is enforced, so the second post after a crash is the first one."""
    told.outside.expire(told.reply_to)
    await told.crashes_at(end)
    await told.hears(end)
    assert told.outside.count() == 2  # the bot's first answer, and the end
    assert told.delivered() == [(end.outcome, DeliveryMethod.CHANNEL_MESSAGE)]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("failed", "succeeded"), ("succeeded", "failed"), ("cancelled", "succeeded"), ("succeeded", "cancelled"),
        ("expired", "succeeded"),
    ],
)  # fmt: skip
async def test_of_two_ends_the_first_is_told_and_stands(
    told: Told, first: str, second: str, restarted: bool
) -> None:
    """A worker that was believed dead may still finish; its user was told already, and the quota is settled."""
    await told.hears(ENDS[first])
    before = told.seen()
    if restarted:
        told.world.restart()
    await told.hears(ENDS[second])
    assert (told.seen(), told.outside.count()) == (before, 1)
    assert told.delivered() == [(ENDS[first].outcome, DeliveryMethod.EDIT)]


async def test_attempts_that_fail_on_the_way_are_no_ends(told: Told) -> None:
    """Progress, a failed attempt, progress again, the images: one message, which loses its button at the end."""
    await told.shows_progress()
    await told.hears(failed(final=False))
    await told.shows_progress()
    await told.hears(completed(attempt=2))
    assert (told.outside.count(), len(told.seen().files), told.seen().cancels) == (1, 4, "")
    assert told.delivered() == [(Outcome.SUCCEEDED, DeliveryMethod.EDIT)]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_record_whose_acknowledgement_was_lost_is_one_in_effect(told: Told, restarted: bool) -> None:
    """After a restart it is found on the topic; without one it is written again under the same id."""
    told.world.outbox.lose_next = 1
    with pytest.raises(SendFailed):
        await told.hears(completed())
    if restarted:
        told.world.restart()
    await told.hears(completed())
    assert (len(told.world.outbox.ids), len(set(told.world.outbox.ids))) == (1 if restarted else 2, 1)
    assert told.outside.count() == 1


@pytest.mark.parametrize("way", [Route.EDIT, Route.POST])
async def test_an_answer_of_discords_that_was_lost_tells_nobody_twice(
    loopback: SandboxOutside, way: Route
) -> None:
    """The message is there though the connection broke; the next try finds it, or makes it the same."""
    told = Told(loopback)
    if way is Route.POST:
        loopback.expire(told.reply_to)
    loopback.sandbox.arm(Fault(route=way, lose_answer=True))
    with pytest.raises(RetryLater):
        await told.hears(completed())
    await told.hears(completed())
    assert loopback.count() == (1 if way is Route.EDIT else 2)
    assert len(told.seen().files) == 4
    assert len(told.delivered()) == 1


async def test_a_press_of_the_button_after_the_end_reaches_nobody(loopback: SandboxOutside) -> None:
    """The end took it away, so Discord has nothing to press."""
    told = Told(loopback)
    await told.shows_progress()
    await told.hears(completed())
    assert told.seen().cancels == ""
    assert REQUEST not in str([message.components for message in loopback.sandbox.world.messages.values()])
