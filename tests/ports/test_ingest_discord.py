"""The bot's Discord side, with the real discord.py against the loopback Discord."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord
import pytest
from aiohttp import web
from PIL import Image

from services.chassis.health import Health
from services.chassis.retry import SendFailed
from services.chassis.settings import SettingsError
from services.ingest_bot import wording
from services.ingest_bot.adapters.conversation import DiscordAttachment
from services.ingest_bot.adapters.discord_outage import discord_answers
from services.ingest_bot.refusals import CommandError
from services.launcher.brokers.ports import reserve_port
from services.sandbox.discord.faults import Fault, Route
from services.sandbox.discord.files import Upload
from services.sandbox.discord.gateway import Disturbance
from services.sandbox.discord.places import APPLICATION_ID, DIRECT, GUILDS, channel_of
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import SandboxSettings
from tests.harness.waiting import eventually_async
from tests.ports.ingest_bots import USER, RunningBot, answer_to, running


@pytest.fixture
async def sandbox() -> AsyncIterator[DiscordSandbox]:
    """A loopback Discord."""
    server = DiscordSandbox()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def bot(sandbox: DiscordSandbox) -> AsyncIterator[RunningBot]:
    """A connected bot."""
    async with running(sandbox) as connected:
        yield connected


def _options(sandbox: DiscordSandbox, command: str = "serve") -> dict[str, dict[str, Any]]:
    registered = sandbox.world.commands.in_guild(GUILDS[0])[command]
    return {option["name"]: option for option in registered["options"]}


def _picture(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


async def test_every_parameter_of_the_workflows_is_an_option(bot: RunningBot) -> None:
    """Types, limits and choices come from the manifests; only the prompt is required."""
    options = _options(bot.discord)
    kinds = {name: option["type"] for name, option in options.items()}
    assert kinds == {
        "prompt": 3, "model": 3, "image": 11, "imagedenoise": 10, "ar": 3, "neg": 3, "cfg": 10, "seed": 3, "images": 4,
        "steps": 4, "sampler": 3, "raw": 5,
    }  # fmt: skip
    assert [name for name, option in options.items() if option.get("required")] == ["prompt"]
    assert [choice["value"] for choice in options["model"]["choices"]] == ["sd15", "sdxl"]
    assert {"16:9", "21:9", "3:5"} <= {choice["value"] for choice in options["ar"]["choices"]}
    assert (options["images"]["min_value"], options["images"]["max_value"]) == (1, 4)
    assert options["cfg"]["description"] == "How closely to follow the prompt; 3 to 12 work best"


async def test_a_command_becomes_a_request_and_a_public_answer(bot: RunningBot) -> None:
    """The event says who, where and how to answer; the message says what was queued, and pings nobody."""
    interaction = await bot.serve("a boat @everyone --ar 27:18")
    [request] = bot.sent
    assert request.request_id == interaction.id
    reply_to = request.reply_to
    assert (reply_to.user_id, reply_to.guild_id) == (USER, GUILDS[0])
    assert (reply_to.channel_id, reply_to.application_id) == (channel_of(GUILDS[0]), APPLICATION_ID)
    assert reply_to.interaction_token == interaction.token
    assert reply_to.filesize_limit == bot.discord.world.limits.file_limit
    life = reply_to.token_expires_at - request.requested_at
    assert timedelta(minutes=14, seconds=50) < life < timedelta(minutes=15, seconds=10)
    message = answer_to(interaction)
    assert message.content == "Queued: **a boat @everyone --ar 3:2**\n-# ratio 27:18 became 3:2"
    assert (message.ephemeral, message.pinged) == (False, ())
    await eventually_async(lambda: bot.calls("callback", "2xx") == 1)


async def test_typed_options_reach_the_request(bot: RunningBot) -> None:
    """Numbers, choices, texts, a switch on and a switch off."""
    options = {
        "ar": "16:9", "cfg": 7.5, "images": 2, "seed": "9223372036854775000", "neg": "fog", "model": "sdxl",
        "raw": True,
    }  # fmt: skip
    await bot.serve("a boat", options=options)
    await bot.serve("a boat", options={"raw": False})
    assert [request.command_string for request in bot.sent] == [
        "a boat --model sdxl --ar 16:9 --neg fog --cfg 7.5 --seed 9223372036854775000 --images 2 --raw",
        "a boat",
    ]


async def test_a_refusal_is_seen_by_its_user_only(bot: RunningBot) -> None:
    """Typos are nobody else's business."""
    message = answer_to(await bot.serve("a boat --sed 5"))
    assert message.ephemeral
    assert message.content == "There is no flag `--sed`; did you mean `--seed`?"
    assert bot.sent == []


async def test_the_help_is_seen_by_its_user_only(bot: RunningBot) -> None:
    """A list that would fill a channel."""
    message = answer_to(await bot.send("serve-help", {}))
    assert message.ephemeral
    assert "`--imagedenoise`" in message.content


async def test_an_attachment_is_copied_before_the_request_is_sent(bot: RunningBot) -> None:
    """The object store has what the user sent; the user is answered before the download."""
    picture = _picture(640, 320)
    uploads = {"image": Upload(filename="holiday.png", body=picture)}
    interaction = await bot.serve("a boat --imagedenoise 0.4", uploads=uploads)
    await eventually_async(lambda: bot.sent)
    [request] = bot.sent
    [entry] = request.job.inputs
    assert bot.stored == {entry.object_key: (picture, "image/png")}
    assert "holiday" not in entry.object_key
    assert (request.job.workflow, request.job.parameters["ar"]) == ("image-to-image", "2:1")
    assert answer_to(interaction).content == "Queueing: **a boat --imagedenoise 0.4**"


async def test_an_attachment_that_is_no_image_takes_the_place_of_the_first_answer(bot: RunningBot) -> None:
    """The user reads what was wrong with it, and nothing is stored."""
    interaction = await bot.serve("a boat", uploads={"image": Upload(filename="a.png", body=b"<svg/>" * 50)})
    message = answer_to(interaction)
    await bot.discord.wait_for(lambda world: message.edited)
    assert message.content == "The attachment is no PNG, JPEG or WebP image."
    assert (bot.sent, bot.stored) == ([], {})


async def test_an_attachment_that_cannot_be_fetched_is_told(bot: RunningBot) -> None:
    """Discord's CDN is an outside like any other."""
    bot.discord.arm(Fault(route=Route.FILE, status=404))
    uploads = {"image": Upload(filename="a.png", body=_picture(64, 64))}
    message = answer_to(await bot.serve("a boat", uploads=uploads))
    await bot.discord.wait_for(lambda world: message.edited)
    assert "could not be fetched from Discord" in message.content


async def test_an_attachment_longer_than_discord_said_is_not_read_to_its_end() -> None:
    """A stream without end stops at the limit."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(65_536))
                sent += 65_536
        except ConnectionError:
            return response

    app = web.Application()
    app.router.add_get("/file.png", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/file.png"
    data: Any = {"id": "1", "filename": "file.png", "size": 10, "url": url, "proxy_url": url}
    state: Any = SimpleNamespace(http=None)  # only discord.py's own download, which is not used, needs it
    async with aiohttp.ClientSession() as session:
        file = DiscordAttachment("image", discord.Attachment(data=data, state=state), session)
        assert file.declared_size == (1, 1)
        with pytest.raises(CommandError, match="larger than 1 MiB"):
            await file.read(2**20)
    await runner.cleanup()
    assert sent < 2**26


async def test_a_slow_broker_is_answered_for_in_time(sandbox: DiscordSandbox) -> None:
    """Discord waits three seconds; the request is sent whenever the broker takes it, and then edits nothing."""
    async with running(sandbox, hold_seconds=0.2) as bot:
        bot.gate.clear()
        interaction = await bot.serve("a boat")
        assert answer_to(interaction).content == "Queueing: **a boat**"
        assert bot.sent == []
        bot.gate.set()
        await eventually_async(lambda: bot.sent)
        await bot.in_hand.close(5)
    assert [edit.content for edit in answer_to(interaction).history] == ["Queueing: **a boat**"]


async def test_a_broker_that_is_away_is_told_in_private(bot: RunningBot) -> None:
    """Nothing was queued, and the user can try again."""
    bot.error = SendFailed("no broker")
    message = answer_to(await bot.serve("a boat"))
    assert (message.ephemeral, message.content) == (True, wording.NOT_QUEUED)


async def test_a_broker_that_is_slow_and_then_away_edits_the_answer(sandbox: DiscordSandbox) -> None:
    """The user is not left with a promise."""
    async with running(sandbox, hold_seconds=0.1) as bot:
        bot.gate.clear()
        bot.error = SendFailed("no broker")
        message = answer_to(await bot.serve("a boat"))
        bot.gate.set()
        await bot.discord.wait_for(lambda world: message.edited)
        assert message.content == wording.NOT_QUEUED


async def test_a_fault_of_ours_ends_in_a_sentence_too(bot: RunningBot) -> None:
    """An error that nobody foresaw is logged, and the user reads that something went wrong."""
    bot.error = ZeroDivisionError()
    message = answer_to(await bot.serve("a boat"))
    assert (message.ephemeral, message.content) == (True, wording.BROKEN)


async def test_a_command_from_an_outdated_form_ends_in_a_sentence(bot: RunningBot) -> None:
    """A user's Discord can show an older form for a while after an update."""
    registered = bot.discord.world.commands.in_guild(GUILDS[0])["serve"]
    next(option for option in registered["options"] if option["name"] == "prompt")["required"] = False
    message = answer_to(await bot.send("serve", {}))
    assert (message.ephemeral, message.content) == (True, wording.OUTDATED)


async def test_a_refused_answer_does_not_undo_the_request(bot: RunningBot) -> None:
    """It is queued; the notifier has other ways to reach the user."""
    bot.discord.arm(Fault(route=Route.CALLBACK, status=404, code=10062))
    interaction_id = await bot.discord.submit(USER, "serve", {"prompt": "a boat"})
    await eventually_async(lambda: bot.calls("callback", "404") == 1)
    assert [request.request_id for request in bot.sent] == [interaction_id]


async def test_a_refusal_whose_answer_was_lost_is_still_read(bot: RunningBot) -> None:
    """discord.py tries again and is told that it had answered; the user reads it once."""
    bot.discord.arm(Fault(route=Route.CALLBACK, status=502, lose_answer=True))
    interaction = await bot.serve("a boat --sed 5")
    await eventually_async(lambda: bot.calls("edit", "2xx") + bot.calls("callback", "2xx") == 1, 20)
    assert [m.content for m in interaction.messages] == ["There is no flag `--sed`; did you mean `--seed`?"]


async def test_a_command_in_a_direct_message_is_taken(bot: RunningBot) -> None:
    """There is no server then, and the channel is the user's own."""
    await bot.serve("a boat", guild_id=DIRECT)
    assert bot.sent[0].reply_to.guild_id is None
    assert bot.sent[0].reply_to.channel_id == channel_of(DIRECT, USER)


async def test_commands_are_registered_once_and_again_only_when_they_differ(sandbox: DiscordSandbox) -> None:
    """Discord limits how many commands are created a day, and replacing them makes clients reload."""
    async with running(sandbox):
        versions = [c["version"] for c in sandbox.world.commands.of_scope("")]
    async with running(sandbox):
        assert [c["version"] for c in sandbox.world.commands.of_scope("")] == versions
    sandbox.world.commands.of_scope("")[0]["description"] = "Older"
    async with running(sandbox):
        again = sandbox.world.commands.of_scope("")
        assert [c["version"] for c in again] != versions
        assert again[0]["description"] == "Draw images from words"


@pytest.mark.parametrize(
    ("env", "scope", "count"),
    [
        ({"DISCORD_SYNC": "never"}, "", 0),
        ({"DISCORD_SYNC_GUILD": GUILDS[1]}, GUILDS[1], 3),
        ({"DISCORD_SYNC_GUILD": GUILDS[1]}, "", 0),
        ({"DISCORD_SHARD_COUNT": "3", "DISCORD_SHARD_IDS": "1"}, "", 0),
        ({"DISCORD_SHARD_COUNT": "3", "DISCORD_SHARD_IDS": "1", "DISCORD_SYNC": "always"}, "", 3),
    ],
)
async def test_settings_say_who_registers_commands_and_where(
    sandbox: DiscordSandbox, env: dict[str, str], scope: str, count: int
) -> None:
    """By default the process with shard 0, for all servers."""
    async with running(sandbox, env):
        assert len(sandbox.world.commands.of_scope(scope)) == count


async def test_three_processes_share_three_shards(sandbox: DiscordSandbox) -> None:
    """Each takes the commands of its own servers, and no command is taken twice."""
    env = [{"DISCORD_SHARD_COUNT": "3", "DISCORD_SHARD_IDS": str(shard)} for shard in range(3)]
    async with AsyncExitStack() as stack:
        bots = [await stack.enter_async_context(running(sandbox, each)) for each in env]
        for guild in GUILDS:
            await bots[0].serve("a boat", guild_id=guild)
        shares = [[request.reply_to.guild_id for request in bot.sent] for bot in bots]
    assert shares == [[guild] for guild in GUILDS]


async def test_one_process_runs_all_recommended_shards() -> None:
    """Without settings the shard count is Discord's."""
    server = DiscordSandbox(SandboxSettings(shards=2))
    await server.start()
    async with running(server) as bot:
        assert sorted(bot.bot.shards) == [0, 1]
        for guild in GUILDS:
            await bot.serve("a boat", guild_id=guild)
        assert len(bot.sent) == 3
    await server.stop()


@pytest.mark.parametrize("how", list(Disturbance))
async def test_a_broken_gateway_is_joined_again(bot: RunningBot, how: Disturbance) -> None:
    """After a reconnect, a lost session or a cut connection commands are taken as before."""
    await bot.serve("before")
    bot.discord.disturb(how)
    await eventually_async(lambda: "not connected to Discord: shards [0]" in bot.health.reasons, 20)
    await eventually_async(lambda: bot.health.readiness() is None, 20)
    await bot.serve("after")
    assert [request.prompt for request in bot.sent] == ["before", "after"]


async def test_a_wrong_token_ends_the_stage_with_a_sentence(sandbox: DiscordSandbox) -> None:
    """It names the setting and not the token."""
    with pytest.raises(SettingsError, match=r"DISCORD_TOKEN: Discord refuses it") as caught:
        async with running(sandbox, {"DISCORD_TOKEN": "stale"}):
            pass
    assert "stale" not in str(caught.value)


async def test_a_discord_that_is_away_at_the_start_is_waited_for() -> None:
    """Readiness says why meanwhile, with the address; nobody has to start the stage again."""
    port = reserve_port()
    server = DiscordSandbox()
    away = f"http://127.0.0.1:{port.number}/api/v10"

    async def come_back(bot: RunningBot) -> None:
        await eventually_async(lambda: away in (bot.health.readiness() or ""))
        await server.start(port=port.number)

    try:
        async with running(server, {"DISCORD_API_BASE_URL": away}, meanwhile=come_back) as bot:
            assert bot.health.readiness() is None
    finally:
        await server.stop()
        port.release()


async def test_a_bot_that_waits_for_discord_can_be_closed() -> None:
    """A stop must not wait for Discord's outage to end."""
    closing = asyncio.Event()
    waiting = asyncio.create_task(discord_answers("http://127.0.0.1:9/api/v10", Health(), closing))
    await asyncio.sleep(0)
    closing.set()
    assert not await waiting


async def test_a_stopping_bot_answers_newcomers_and_finishes_what_it_has(bot: RunningBot) -> None:
    """It stays connected while it drains, so nobody sees that the application did not respond."""
    bot.gate.clear()
    first_id = await bot.discord.submit(USER, "serve", {"prompt": "a boat"})
    await eventually_async(lambda: bot.in_hand.count == 1)
    closing = asyncio.create_task(bot.in_hand.close(10))
    await asyncio.sleep(0)
    late = answer_to(await bot.serve("a late boat"))
    assert (late.ephemeral, late.content) == (True, wording.RESTARTING)
    bot.gate.set()
    await closing
    assert [request.request_id for request in bot.sent] == [first_id]


async def test_a_request_is_sent_within_milliseconds_of_its_arrival(bot: RunningBot) -> None:
    """Parsing, binding and rendering cost far less than the broker's acknowledgement.

    The bound is ten times what an idle machine needs, Discord's loopback side included.
    """
    times = []
    for number in range(50):
        started = time.perf_counter()
        prompt = f"a lighthouse {number} at dusk --ar 16:9 --neg fog"
        await bot.discord.submit(USER, "serve", {"prompt": prompt})
        times.append(await bot.next_send() - started)
    assert sorted(times)[25] < 0.01
