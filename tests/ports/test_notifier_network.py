"""discord.py behind a network that is late, silent or half cut, before the loopback Discord."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator

import discord
import pytest

from services.chassis.settings import Secret
from services.notifier.adapters.discord_webhook import ANSWER_SECONDS, DiscordMessenger, open_socket
from services.notifier.ports import DiscordBusy, File, Message
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import BOT_TOKEN, SandboxSettings
from tests.chaos.proxy import Mode, Proxy
from tests.fakes.discord_worlds import SandboxOutside

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


async def test_a_connection_whose_far_end_is_gone_is_left_soon(proxy: Proxy, outside: SandboxOutside) -> None:
    """The call is made again on another one, long before the time that an upload may take is over."""
    reply_to = outside.interact()
    await outside.messenger.edit_original(reply_to, FINAL)
    proxy.turn(LINK, Mode.HALF_OPEN)
    began = time.monotonic()
    with pytest.raises(DiscordBusy):
        await outside.messenger.edit_original(reply_to, FINAL)
    assert time.monotonic() - began < SILENCE + 2.0
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
