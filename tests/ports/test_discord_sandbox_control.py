"""The loopback Discord's own surface: the control API, its synchronous client, the live feed, the page, the process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import aiohttp
import pytest
import yarl

from services.sandbox.discord import DiscordSandbox, Limits, SandboxSettings
from services.sandbox.discord.client import SandboxDiscord, SandboxRefused
from services.sandbox.discord.places import GUILDS
from tests.harness.waiting import eventually_async
from tests.ports.discord_sandbox_bots import (
    ADA,
    RealBot,
    interaction_seen,
    nothing,
    picture,
    png,
    running,
)


@pytest.fixture
def sandbox_settings() -> SandboxSettings:
    """A loopback Discord that says what it is."""
    return SandboxSettings(notice="No GPU is used here.")


@pytest.fixture
async def http(sandbox: DiscordSandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the control surface."""
    async with aiohttp.ClientSession(sandbox.url) as session:
        yield session


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of one call."""
    async with http.request(method, f"/sandbox/{path}", json=body) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


async def next_event(stream: aiohttp.StreamReader) -> dict[str, Any]:
    """The next server-sent event."""
    while not (line := await stream.readline()).startswith(b"data: "):
        pass
    return dict(json.loads(line[6:]))


async def test_a_typed_line_is_sent_as_a_command(
    sandbox: DiscordSandbox, bot: RealBot, http: aiohttp.ClientSession
) -> None:
    """The page sends what was typed; free text is the prompt."""
    body = {"user_id": ADA, "line": "/serve a lighthouse --ar 16:9 images:2", "guild_id": GUILDS[1]}
    status, interaction = await call(http, "POST", "interactions", body)
    assert (status, interaction["user_name"], interaction["guild_id"]) == (201, "Ada", GUILDS[1])
    await interaction_seen(bot)
    assert bot.options[0] == {"prompt": "a lighthouse --ar 16:9", "images": 2, "model": None, "denoise": None}


async def test_the_token_is_never_shown(
    sandbox: DiscordSandbox, bot: RealBot, http: aiohttp.ClientSession
) -> None:
    """Neither the control surface nor the feed gives away the credential of an interaction."""
    _, sent = await call(
        http, "POST", "interactions", {"user_id": ADA, "command": "serve", "options": {"prompt": "x"}}
    )
    await interaction_seen(bot)
    token = sandbox.world.interactions[sent["id"]].token
    for path in ("interactions", "messages", "state"):
        _, shown = await call(http, "GET", path)
        assert sent["id"] in json.dumps(shown)
        assert token not in json.dumps(shown)


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        (
            "interactions",
            {"line": "/serve x"},
            "Submission expected: Object missing required field `user_id`. Nothing was done.",
        ),
        (
            "interactions",
            {"user_id": ADA, "line": "hello"},
            "Only slash commands work here; try /serve a lighthouse at dusk --ar 16:9.",
        ),
        (
            "faults",
            {"route": "edits"},
            "Fault expected: Invalid enum value 'edits' - at `$.route`. Nothing was done.",
        ),
        (
            "faults",
            {"route": "edit", "state": 500},
            "Fault expected: Object contains unknown field `state`. Nothing was done.",
        ),
        (
            "limits",
            {"file_limit": 0},
            "Limits expected: Expected `int` >= 1 - at `$.file_limit`. Nothing was done.",
        ),
        (
            "clock",
            {"seconds": -1},
            "Advance expected: Expected `float` >= 0.0 - at `$.seconds`. Nothing was done.",
        ),
        ("expire/123", None, "There is no interaction 123."),
        (
            "gateway/explode",
            None,
            "A gateway breaks by one of reconnect, invalidate, abort, and shards are numbers.",
        ),
    ],
)
async def test_a_wrong_request_is_told_what_is_wrong(
    bot: RealBot, http: aiohttp.ClientSession, path: str, body: Any, sentence: str
) -> None:
    """One sentence, and nothing happens."""
    status, answer = await call(http, "POST", path, body)
    assert status in (400, 404, 409)
    assert answer["message"] == sentence


async def test_faults_are_armed_shown_and_disarmed(
    sandbox: DiscordSandbox, http: aiohttp.ClientSession
) -> None:
    """Over HTTP as in process."""
    await call(http, "POST", "faults", {"route": "edit", "status": 503, "times": 3})
    _, armed = await call(http, "GET", "faults")
    assert [(fault["route"], fault["status"], fault["times"]) for fault in armed] == [("edit", 503, 3)]
    await call(http, "DELETE", "faults")
    assert await call(http, "GET", "faults") == (200, [])


async def test_limits_change_one_by_one(sandbox: DiscordSandbox, http: aiohttp.ClientSession) -> None:
    """What is not named stays."""
    await call(http, "POST", "limits", {"file_limit": 5})
    await call(http, "POST", "limits", {"token_seconds": 7})
    assert sandbox.world.limits == Limits(file_limit=5, token_seconds=7)


async def test_the_feed_begins_with_a_snapshot_and_tells_every_change(
    sandbox: DiscordSandbox, bot: RealBot, http: aiohttp.ClientSession
) -> None:
    """Snapshot, the command on its way, the deferral, the edit, the deletion: in order and without asking again."""
    async with http.get("/sandbox/events") as answer:
        snapshot = await next_event(answer.content)
        assert (snapshot["kind"], snapshot["notice"]) == ("snapshot", "No GPU is used here.")
        assert snapshot["connected"] == list(GUILDS)
        assert [command["name"] for command in snapshot["guilds"][0]["commands"]] == ["serve", "look"]
        await sandbox.submit(ADA, "serve", {"prompt": "x"})
        seen = await interaction_seen(bot)
        await seen.edit_original_response(content="done", attachments=[picture()])
        await seen.delete_original_response()
        events = [await next_event(answer.content) for _ in range(4)]
    assert [event["kind"] for event in events] == ["interaction", "message", "message", "deleted"]
    assert [(e["message"]["thinking"], e["message"]["content"]) for e in events[1:3]] == [
        (True, ""),
        (False, "done"),
    ]
    assert events[2]["message"]["attachments"][0]["url"].startswith(sandbox.url)


async def test_the_feed_tells_when_the_bot_comes_and_goes(
    sandbox: DiscordSandbox, http: aiohttp.ClientSession
) -> None:
    """The page shows whether commands can be sent, and which."""
    async with http.get("/sandbox/events") as answer:
        assert (await next_event(answer.content))["connected"] == []
        async with running(sandbox, RealBot()):
            commands = await next_event(answer.content)
            assert [command["name"] for command in commands["commands"][GUILDS[2]]] == ["serve", "look"]
            assert await next_event(answer.content) == {"kind": "status", "connected": list(GUILDS)}
        assert await next_event(answer.content) == {"kind": "status", "connected": []}


async def test_the_feed_tells_whom_nobody_answered(
    sandbox: DiscordSandbox, http: aiohttp.ClientSession
) -> None:
    """The page then says that the application did not respond."""
    async with running(sandbox, RealBot(nothing)), http.get("/sandbox/events?limit=1") as answer:
        await next_event(answer.content)
        await sandbox.submit(ADA, "serve", {"prompt": "x"})
        sandbox.world.advance(3)
        events = [await next_event(answer.content) for _ in range(2)]
        assert [event["interaction"]["failed"] for event in events] == [False, True]


async def test_the_client_goes_through_a_whole_request(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """The synchronous client, as tests and benchmarks use it from another process."""

    def request() -> tuple[str, dict[str, Any], dict[str, int]]:
        client = SandboxDiscord(sandbox.url)
        assert client.wait_until_connected() == list(GUILDS)
        interaction_id = client.submit(ADA, "a lighthouse", images=2)
        client.wait_until(
            lambda messages: any(m["interaction_id"] == interaction_id for m in messages.values())
        )
        return interaction_id, client.interaction(interaction_id), client.counters()

    interaction_id, interaction, counters = await asyncio.to_thread(request)
    assert interaction["id"] == interaction_id
    assert interaction["answered_at"] >= interaction["created_at"]
    assert [(m["thinking"], m["deleted"], len(m["history"])) for m in interaction["messages"]] == [
        (True, False, 1)
    ]
    assert counters["callback"] == 1


async def test_the_client_attaches_files(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """A file goes to the option that it is named for."""
    client = SandboxDiscord(sandbox.url)
    await asyncio.to_thread(client.submit, ADA, command="look", uploads={"file": ("a.png", png(3))})
    await interaction_seen(bot)
    assert await bot.options[0]["file"].read() == png(3)


async def test_the_client_breaks_things(sandbox: DiscordSandbox, bot: RealBot) -> None:
    """Faults, limits, expiry, clock and gateway, as in process."""
    interaction_id = await sandbox.submit(ADA, "serve", {"prompt": "x"})
    await interaction_seen(bot)

    def disturb() -> None:
        client = SandboxDiscord(sandbox.url)
        client.arm("edit", 500, times=2)
        client.limits(file_limit=9)
        client.expire(interaction_id)
        client.advance(60)
        client.disturb_gateway("reconnect", shard=0)

    await asyncio.to_thread(disturb)
    await eventually_async(lambda: bot.resumes == 1)
    assert [(fault.route, fault.status) for fault in sandbox.world.faults.armed()] == [("edit", 500)]
    assert sandbox.world.limits.file_limit == 9
    assert sandbox.world.interactions[interaction_id].expired


async def test_the_clients_refusals_and_deadlines_speak(sandbox: DiscordSandbox) -> None:
    """The sandbox's own sentence, and what was there when the time was over."""
    client = SandboxDiscord(sandbox.url)
    with pytest.raises(SandboxRefused, match="not connected"):
        await asyncio.to_thread(client.submit, ADA, "x")
    with pytest.raises(AssertionError, match=r"Not so within 0\.05 s"):
        await asyncio.to_thread(client.wait_until, lambda messages: False, 0.05)
    with pytest.raises(AssertionError, match=r"No bot connected within 0\.05 s"):
        await asyncio.to_thread(client.wait_until_connected, 0.05)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.test"}, {"Host": "evil.test"}, {"Origin": "null"}]
)
async def test_other_sites_pages_are_refused(http: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    """A page of another origin, or of a name that was made to point here, can neither read nor send."""
    async with http.get("/sandbox/messages", headers=headers) as answer:
        assert answer.status == 403


async def test_the_page_runs_nothing_but_its_own_files(
    sandbox: DiscordSandbox, http: aiohttp.ClientSession
) -> None:
    """Its policy allows this server's files alone, and every file that it names is there."""
    async with http.get("/") as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert answer.content_type == "text/html"
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    waiting, seen = re.findall(r'"(/page/[\w.]+)"', page), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        async with http.get(path) as answer:
            assert answer.status == 200, path
            waiting += re.findall(r'from "(/page/[\w.]+)"', await answer.text())
    assert {path.removeprefix("/page/") for path in seen} | {"index.html"} == _page_files()


def test_the_page_never_reads_text_as_html() -> None:
    """No script makes HTML of text, evaluates it, or asks again and again instead of listening."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|DOMParser|setInterval"
    )
    folder = files("services.sandbox.discord") / "page"
    found = {name: forbidden.findall((folder / name).read_text(encoding="utf-8")) for name in _page_files()}
    assert {name: words for name, words in found.items() if words} == {}


async def test_an_attachment_is_served_as_what_it_is(
    sandbox: DiscordSandbox, http: aiohttp.ClientSession
) -> None:
    """A picture is shown; whatever else is only downloaded, and a browser does not guess its type."""
    body = {"user_id": ADA, "command": "look"}
    kinds = {
        "a.png": ("image/png", "inline", png()),
        "b.html": ("text/html", "attachment", b"<script>1</script>"),
    }
    async with running(sandbox, RealBot()) as bot:
        for number, (name, (kind, shown, data)) in enumerate(kinds.items()):
            form = aiohttp.FormData({"payload_json": json.dumps(body)})
            form.add_field("file", data, filename=name)
            async with http.post("/sandbox/interactions", data=form) as answer:
                assert answer.status == 201
            await interaction_seen(bot, number + 1)
            async with http.get(yarl.URL(bot.options[number]["file"].url).path) as answer:
                assert (answer.content_type, await answer.read()) == (kind, data)
                assert answer.headers["Content-Disposition"].startswith(shown)
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with http.get(f"/attachments/1/{sandbox.world.new_id()}/x.png") as answer:
        assert answer.status == 404


async def test_only_loopback_is_listened_on() -> None:
    """It trusts whoever asks, so it listens nowhere else."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 only"):
        await DiscordSandbox().start(host="0.0.0.0")  # noqa: S104 - what is refused


def test_the_process_says_where_it_listens_and_ends_when_told() -> None:
    """``python -m`` with any free port: one line, a page that answers, a clean end at SIGTERM."""
    argv = [sys.executable, "-m", "services.sandbox.discord", "--port", "0", "--notice", "Hello."]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        client = SandboxDiscord(line.rsplit(" ", 1)[1].strip())
        assert client.connected() == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def _page_files() -> set[str]:
    return {entry.name for entry in (files("services.sandbox.discord") / "page").iterdir()}
