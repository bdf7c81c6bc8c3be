"""The notifier and discord.py behind a network that is late, silent or half cut, before the loopback Discord."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta

import discord
import pytest

from services.chassis.retry import RetryLater
from services.chassis.settings import Secret
from services.contracts.events import Event, Phase
from services.notifier.adapters.discord_webhook import ANSWER_SECONDS, DiscordMessenger, open_socket
from services.notifier.ports import DiscordBusy, File, Message
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import BOT_TOKEN, SandboxSettings
from tests.chaos.proxy import Mode, Proxy
from tests.fakes.discord_worlds import SandboxOutside, Seen
from tests.harness.waiting import eventually_async
from tests.unit.notifier.world import NOON, World, completed, progressed

LINK = "discord"
PROGRESS_SECONDS = 0.3
SILENCE = 1.0
FINAL = Message(content="done", files=())


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy without links."""
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
async def outside(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SandboxOutside]:
    """discord.py, a link, and the loopback Discord."""
    monkeypatch.setattr(
        discord.http.Route, "BASE", discord.http.Route.BASE
    )  # so that it is put back afterwards
    box = DiscordSandbox(SandboxSettings())
    await box.start()
    far_port = int(box.api_base_url.split(":")[2].split("/")[0])
    near = box.api_base_url.replace(str(far_port), str(proxy.open(LINK, far_port)))
    try:
        async with DiscordMessenger(
            Secret(BOT_TOKEN), near, progress_seconds=PROGRESS_SECONDS, answer_seconds=SILENCE
        ) as messenger:
            yield SandboxOutside(box, messenger)
    finally:
        await box.stop()


class Told:
    """One request's message, and the notifier that edits it."""

    def __init__(self, outside: SandboxOutside) -> None:
        self.world = World(outside.messenger)
        self.world.store_images()
        self._outside = outside
        self._reply_to = replace(outside.interact(), token_expires_at=NOON + timedelta(minutes=15))
        [self._message_id] = outside.sandbox.world.messages

    def seen(self) -> Seen:
        """The message."""
        return self._outside.seen(self._message_id)

    def end(self) -> Event:
        """The request's success."""
        return completed(reply_to=self._reply_to)

    async def progress(self, percent: int) -> None:
        """News arrives, and its edit is begun."""
        await self.world.handle(progressed(Phase.RUNNING, percent, reply_to=self._reply_to))
        self.world.timers.advance(2.1)


async def shown(told: Told, percent: int) -> None:
    """Progress arrives and is shown."""
    await told.progress(percent)
    await eventually_async(lambda: f"{percent} %" in told.seen().content)


async def ended(told: Told) -> None:
    """The request's end is told, however often that has to be tried, up to the wait for what may land."""
    async with asyncio.timeout(20.0):
        while told.world.outbox.sent == []:
            try:
                await told.world.handle(told.end())
            except RetryLater as later:
                if later.after_seconds >= 1.0:
                    return


def is_the_end(seen: Seen) -> bool:
    """Whether it is the final message."""
    return "(12.3 seconds)" in seen.content and seen.cancels == "" and len(seen.files) == 4


async def test_a_progress_edit_that_the_network_held_does_not_stand_over_the_images(
    proxy: Proxy, outside: SandboxOutside
) -> None:
    """It lands after the final edit, and the final edit is repeated after it."""
    told = Told(outside)
    await shown(told, 10)
    proxy.turn(LINK, Mode.PASS, 1.5)
    await told.progress(20)
    await told.world.notifier.stop()  # returns when the edit is given up
    proxy.turn(LINK, Mode.PASS)
    await ended(told)
    assert is_the_end(told.seen())
    await eventually_async(lambda: "20 %" in told.seen().content)
    assert told.world.outbox.sent == []
    told.world.timers.advance(told.world.policy.settling)
    await told.world.handle(told.end())
    assert is_the_end(told.seen())
    assert len(told.world.outbox.sent) == 1


async def test_a_blackhole_over_the_last_edits_of_a_message_leaves_its_end(
    proxy: Proxy, outside: SandboxOutside
) -> None:
    """Whichever of them the network lets go first."""
    told = Told(outside)
    await shown(told, 10)
    proxy.turn(LINK, Mode.BLACKHOLE)
    await told.progress(20)
    ending = asyncio.create_task(ended(told))
    await told.world.notifier.stop()
    proxy.turn(LINK, Mode.PASS)
    await ending
    assert told.world.outbox.sent == []
    told.world.timers.advance(told.world.policy.settling)
    await told.world.handle(told.end())
    assert is_the_end(told.seen())


async def test_a_connection_whose_far_end_is_gone_is_left_soon(proxy: Proxy, outside: SandboxOutside) -> None:
    """The call is made again on another one, long before the time that an upload may take is over."""
    reply_to = outside.interact()
    await outside.messenger.edit_original(reply_to, FINAL)
    proxy.turn(LINK, Mode.HALF_OPEN)
    began = time.monotonic()
    with pytest.raises(DiscordBusy) as caught:
        await outside.messenger.edit_original(reply_to, FINAL)
    assert time.monotonic() - began < SILENCE + 2.0
    assert caught.value.may_land
    proxy.turn(LINK, Mode.PASS)
    assert await outside.messenger.edit_original(reply_to, FINAL)


async def test_an_upload_that_gets_stuck_is_given_up_soon(proxy: Proxy, outside: SandboxOutside) -> None:
    """It waits for no answer yet: the kernel sees that nothing of it is taken."""
    reply_to = outside.interact()
    await outside.messenger.edit_original(reply_to, FINAL)
    proxy.turn(LINK, Mode.BLACKHOLE)
    large = Message(content="done", files=(File(name="1.png", data=bytes(9 * 1024 * 1024)),))
    began = time.monotonic()
    with pytest.raises(DiscordBusy):
        await outside.messenger.edit_original(reply_to, large)
    assert time.monotonic() - began < SILENCE + 5.0


def test_an_idle_connection_is_asked_whether_its_far_end_is_there() -> None:
    """Else each of a pool whose far ends are gone would cost a delivery its wait."""
    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))
    with open_socket(address, ANSWER_SECONDS) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == ANSWER_SECONDS
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == ANSWER_SECONDS / 3


def test_a_connection_that_is_given_up_is_reset() -> None:
    """Else the kernel sends for minutes what was taken for lost, and it lands when nobody counts on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = server.getsockname()
        with open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", to), ANSWER_SECONDS) as opened:
            opened.connect(to)
            far, _ = server.accept()
        with far, pytest.raises(ConnectionResetError):
            far.recv(1)
