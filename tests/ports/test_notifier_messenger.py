"""The notifier's Discord port: one suite on the fake and on discord.py against the loopback Discord."""

from __future__ import annotations

import gc
import io
from collections.abc import AsyncIterator
from dataclasses import replace

import discord
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.chassis.settings import Secret
from services.contracts.controls import CANCEL_LABEL, cancel_id
from services.notifier.adapters.discord_webhook import DiscordMessenger
from services.notifier.ports import (
    ChannelClosed,
    DiscordBusy,
    File,
    FilesTooLarge,
    InteractionOver,
    Message,
    MessageRefused,
    OriginalUnknown,
)
from services.sandbox.discord.faults import Fault, Route
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import BOT_TOKEN, Limits, SandboxSettings
from tests.fakes.discord_worlds import FILE_LIMIT, USER, FakeOutside, Outside, SandboxOutside

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
FILES = tuple(File(name=f"{number}.png", data=PNG + bytes([number])) for number in range(4))


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SandboxOutside]:
    """discord.py against the loopback Discord."""
    monkeypatch.setattr(
        discord.http.Route, "BASE", discord.http.Route.BASE
    )  # so that it is put back afterwards
    box = DiscordSandbox(SandboxSettings(limits=Limits(file_limit=FILE_LIMIT)))
    await box.start()
    try:
        async with DiscordMessenger(Secret(BOT_TOKEN), box.api_base_url) as messenger:
            yield SandboxOutside(box, messenger)
    finally:
        await box.stop()


@pytest.fixture(params=["fake", "discord.py"])
def outside(request: pytest.FixtureRequest) -> Outside:
    """Both, in turn."""
    if request.param == "fake":
        return FakeOutside()
    world: SandboxOutside = request.getfixturevalue("sandbox")
    return world


async def test_an_edit_replaces_text_and_files(outside: Outside) -> None:
    """However often it is repeated, the message reads the same."""
    reply_to = outside.interact()
    final = Message(content="<@1> done", files=FILES)
    first = await outside.messenger.edit_original(reply_to, final)
    again = await outside.messenger.edit_original(reply_to, final)
    assert first == again
    assert outside.seen(first).content == "<@1> done"
    assert outside.seen(first).files == {file.name: file.data for file in FILES}
    assert outside.count() == 1


async def test_a_progress_edit_leaves_files_alone_and_a_final_one_without_any_removes_them(
    outside: Outside,
) -> None:
    """None means leave, empty means remove."""
    reply_to = outside.interact()
    await outside.messenger.edit_original(reply_to, Message(content="a", files=FILES))
    message_id = await outside.messenger.edit_original(reply_to, Message(content="b"))
    assert len(outside.seen(message_id).files) == 4
    await outside.messenger.edit_original(reply_to, Message(content="c", files=()))
    assert outside.seen(message_id).files == {}


async def test_a_final_text_takes_the_button_away_and_leaves_the_files(outside: Outside) -> None:
    """What an edit that landed late had put there is gone, and nothing is uploaded again."""
    reply_to = outside.interact()
    await outside.messenger.edit_original(reply_to, Message(content="done", files=FILES))
    await outside.messenger.edit_original(reply_to, Message(content="late", cancels="123"))
    message_id = await outside.messenger.edit_original(reply_to, Message(content="done", ends=True))
    seen = outside.seen(message_id)
    assert (seen.content, seen.cancels, len(seen.files)) == ("done", "", 4)


async def test_progress_has_a_button_that_the_end_takes_away(outside: Outside) -> None:
    """While it is there, the request has not ended; progress without one of its own leaves what was there."""
    reply_to = outside.interact()
    message_id = await outside.messenger.edit_original(reply_to, Message(content="a", cancels="123"))
    assert outside.seen(message_id).cancels == "123"
    await outside.messenger.edit_original(reply_to, Message(content="b"))
    assert outside.seen(message_id).cancels == "123"
    await outside.messenger.edit_original(reply_to, Message(content="c", files=()))
    assert outside.seen(message_id).cancels == ""


async def test_the_button_is_the_one_that_the_bot_obeys(sandbox: SandboxOutside) -> None:
    """By its id, which the bot's own first answer has too."""
    message_id = await sandbox.messenger.edit_original(
        sandbox.interact(), Message(content="a", cancels="123")
    )
    [[button]] = [row["components"] for row in sandbox.message(message_id).components]
    assert (button["label"], button["custom_id"]) == (CANCEL_LABEL, cancel_id("123"))


async def test_an_edit_notifies_nobody(outside: Outside) -> None:
    """Not even its requester: they see the message change."""
    reply_to = outside.interact()
    message_id = await outside.messenger.edit_original(reply_to, Message(content=f"<@{USER}> hi"))
    assert outside.seen(message_id).notified == ()


async def test_an_interaction_that_is_not_answered_yet_has_no_original(outside: Outside) -> None:
    """And has one as soon as it is."""
    reply_to = outside.interact(answered=False)
    with pytest.raises(OriginalUnknown):
        await outside.messenger.edit_original(reply_to, Message(content="a"))
    outside.answer(reply_to)
    assert await outside.messenger.edit_original(reply_to, Message(content="a"))


async def test_an_expired_token_is_told_apart(outside: Outside) -> None:
    """There is another way then."""
    reply_to = outside.interact()
    outside.expire(reply_to)
    with pytest.raises(InteractionOver):
        await outside.messenger.edit_original(reply_to, Message(content="a"))


async def test_too_large_files_are_told_apart_by_either_way(outside: Outside) -> None:
    """They can be made smaller; the message stays as it was."""
    reply_to = outside.interact()
    large = Message(content="a", files=(File(name="1.png", data=PNG * 300),))
    with pytest.raises(FilesTooLarge):
        await outside.messenger.edit_original(reply_to, large)
    with pytest.raises(FilesTooLarge):
        await outside.messenger.post_to_channel(reply_to, large, "1")


async def test_a_post_notifies_its_requester_and_nobody_else(outside: Outside) -> None:
    """Whoever else the text names."""
    reply_to = outside.interact()
    text = f"<@{USER}> <@100000000000000002> @everyone"
    message_id = await outside.messenger.post_to_channel(reply_to, Message(content=text, files=FILES), "1")
    assert outside.seen(message_id).notified == (USER,)
    assert len(outside.seen(message_id).files) == 4


async def test_a_nonce_is_enforced(outside: Outside) -> None:
    """A repeated post is the first one."""
    reply_to = outside.interact()
    message = Message(content="a", files=())
    first = await outside.messenger.post_to_channel(reply_to, message, "1")
    assert await outside.messenger.post_to_channel(reply_to, message, "1") == first
    assert await outside.messenger.post_to_channel(reply_to, message, "2") != first


async def test_a_channel_that_is_gone_is_told_apart(outside: Outside) -> None:
    """No other try can help."""
    reply_to = outside.close_channel(outside.interact())
    with pytest.raises(ChannelClosed):
        await outside.messenger.post_to_channel(reply_to, Message(content="a", files=()), "1")


@pytest.mark.parametrize("way", ["edit", "post"])
async def test_a_rate_limit_is_handed_on_at_once_with_its_time(outside: Outside, way: str) -> None:
    """Not slept out inside: the caller lets others pass meanwhile."""
    reply_to = outside.interact()
    outside.be_busy(30.0)
    message = Message(content="a", files=())
    edit, post = outside.messenger.edit_original, outside.messenger.post_to_channel
    with pytest.raises(DiscordBusy) as caught:
        await (edit(reply_to, message) if way == "edit" else post(reply_to, message, "1"))
    assert (caught.value.after_seconds, caught.value.status) == (30.0, "429")


@pytest.mark.parametrize(
    ("fault", "error", "label"),
    [
        (Fault(status=500), DiscordBusy, "5xx"),
        (Fault(status=503), DiscordBusy, "5xx"),
        (Fault(cut=True), DiscordBusy, "error"),
        (Fault(status=404, code=10008), OriginalUnknown, "404"),
        (Fault(status=401), InteractionOver, "4xx"),
        (Fault(status=403), InteractionOver, "4xx"),
        (Fault(status=413), FilesTooLarge, "413"),
        (Fault(status=400, code=40005), FilesTooLarge, "413"),
        (Fault(status=400), MessageRefused, "4xx"),
    ],
)
async def test_each_failure_of_an_edit_has_its_kind(
    sandbox: SandboxOutside, fault: Fault, error: type[Exception], label: str
) -> None:
    """One call each: nothing is tried again inside."""
    reply_to = sandbox.interact()
    sandbox.sandbox.arm(fault)
    with pytest.raises(error) as caught:
        await sandbox.messenger.edit_original(reply_to, Message(content="a"))
    assert getattr(caught.value, "status", None) == label
    assert await sandbox.messenger.edit_original(reply_to, Message(content="a"))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(route=Route.POST, status=500), DiscordBusy),
        (Fault(route=Route.POST, cut=True), DiscordBusy),
        (Fault(route=Route.POST, status=403), ChannelClosed),
        (Fault(route=Route.POST, status=401), ChannelClosed),
        (Fault(route=Route.POST, status=400), MessageRefused),
    ],
)
async def test_each_failure_of_a_post_has_its_kind(
    sandbox: SandboxOutside, fault: Fault, error: type[Exception]
) -> None:
    """A wrong bot token closes every channel."""
    reply_to = sandbox.interact()
    sandbox.sandbox.arm(fault)
    with pytest.raises(error):
        await sandbox.messenger.post_to_channel(reply_to, Message(content="a", files=()), "1")


async def test_an_answer_that_is_not_discords_is_an_outage(sandbox: SandboxOutside) -> None:
    """A proxy's page with status 200 says nothing of the message."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with (
        TestServer(app) as server,
        DiscordMessenger(Secret(BOT_TOKEN), str(server.make_url("/api"))) as messenger,
    ):
        with pytest.raises(DiscordBusy):
            await messenger.edit_original(sandbox.interact(), Message(content="a"))


async def test_a_call_leaves_no_file_in_memory(sandbox: SandboxOutside) -> None:
    """aiohttp leaves a request's files in a reference cycle, which would hold megabytes until a full collection."""
    reply_to = sandbox.interact()
    gc.collect()
    gc.disable()
    try:
        await sandbox.messenger.edit_original(reply_to, Message(content="a", files=FILES))
        buffers = [o for o in gc.get_objects() if isinstance(o, io.BytesIO) and not o.closed]
    finally:
        gc.enable()
    assert not [buffer for buffer in buffers if buffer.getvalue().startswith(PNG)]


async def test_without_a_bot_token_every_channel_is_closed(sandbox: SandboxOutside) -> None:
    """It says which setting is missing."""
    reply_to = sandbox.interact()
    async with DiscordMessenger(Secret(""), sandbox.sandbox.api_base_url) as messenger:
        with pytest.raises(ChannelClosed, match="DISCORD_TOKEN"):
            await messenger.post_to_channel(reply_to, Message(content="a", files=()), "1")


async def test_ids_that_are_not_discords_are_refused(sandbox: SandboxOutside) -> None:
    """An event of another system must not crash the stage."""
    reply_to = replace(sandbox.interact(), application_id="app")
    with pytest.raises(MessageRefused):
        await sandbox.messenger.edit_original(reply_to, Message(content="a"))


async def test_no_error_repeats_the_interactions_token(sandbox: SandboxOutside) -> None:
    """Errors are logged; the token is a credential."""
    reply_to = sandbox.interact()
    sandbox.sandbox.arm(Fault(cut=True))
    with pytest.raises(DiscordBusy) as caught:
        await sandbox.messenger.edit_original(reply_to, Message(content="a"))
    assert reply_to.interaction_token not in f"{caught.value!r} {caught.value.__cause__!r}"
