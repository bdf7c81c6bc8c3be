"""The sandbox's own HTTP surface under ``/sandbox``: send commands, read what came of them, break things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from services.sandbox.discord import views
from services.sandbox.discord.bodies import json_answer, read_body
from services.sandbox.discord.faults import Fault
from services.sandbox.discord.feed import News
from services.sandbox.discord.gateway import Disturbance, Gateway
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.places import CHANNEL_NAME, GUILD_NAMES, GUILDS, channel_of
from services.sandbox.discord.refusal import Refusal
from services.sandbox.discord.settings import Limits
from services.sandbox.discord.submissions import Submissions
from services.sandbox.discord.world import World

S = TypeVar("S", bound=msgspec.Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_ALIVE_SECONDS = 15.0


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user sends a slash command: either ``line``, as typed, or ``command`` with ``options``."""

    user_id: Annotated[str, Meta(description="Any id of digits; the demo's people are in the snapshot.")]
    line: Annotated[str, Meta(description="What was typed, such as `/serve a lighthouse --ar 16:9`.")] = ""
    command: Annotated[str, Meta(description="The command's name, without the slash.")] = ""
    options: Annotated[dict[str, Any], Meta(description="Values by option name.")] = {}
    guild_id: Annotated[
        str, Meta(description="A server, or @me for a direct message; empty = the first.")
    ] = ""


class Press(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user presses a button."""

    user_id: Annotated[str, Meta(description="Who presses.")]
    message_id: Annotated[str, Meta(description="The message that has the button.")]
    custom_id: Annotated[str, Meta(description="The button's own id, as the message view has it.")]


class Advance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time to let pass at once."""

    seconds: Annotated[float, Meta(description="Seconds.", ge=0)]


class Control:
    """Routes for the page and for tests."""

    def __init__(self, world: World, gateway: Gateway, submissions: Submissions) -> None:
        self._world = world
        self._gateway = gateway
        self._submissions = submissions

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "interactions", self._submit),
            ("GET", "interactions", self._interactions),
            ("POST", "presses", self._press),
            ("GET", "messages", self._messages),
            ("GET", "state", self._state),
            ("GET", "events", self._events),
            ("GET", "counters", self._counters),
            ("DELETE", "counters", self._no_counters),
            ("GET", "faults", self._faults),
            ("POST", "faults", self._arm),
            ("DELETE", "faults", self._disarm),
            ("POST", "expire/{id}", self._expire),
            ("POST", "gateway/{how}", self._disturb),
            ("POST", "limits", self._limits),
            ("POST", "clock", self._advance),
        ]
        return [web.route(method, f"/sandbox/{path}", _refusing(handler)) for method, path, handler in table]

    async def _submit(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        sent = _converted(body.payload, Submission)
        if sent.line:
            interaction = self._submissions.submit_line(
                sent.user_id, sent.line, guild_id=sent.guild_id, uploads=body.uploads
            )
        else:
            interaction = self._submissions.submit(
                sent.user_id, sent.command, sent.options, guild_id=sent.guild_id, uploads=body.uploads
            )
        return json_answer(views.interaction(interaction), 201)

    async def _press(self, request: web.Request) -> web.Response:
        sent = _converted((await read_body(request)).payload, Press)
        interaction = self._submissions.press(sent.user_id, sent.message_id, sent.custom_id)
        return json_answer(views.interaction(interaction), 201)

    async def _interactions(self, request: web.Request) -> web.Response:
        wanted = request.query.get("id")
        if wanted is not None and wanted not in self._world.interactions:
            raise Refusal(404, 0, f"There is no interaction {wanted}.")
        found = [self._world.interactions[wanted]] if wanted else self._world.interactions.values()
        return json_answer([self._with_messages(interaction) for interaction in found])

    async def _messages(self, request: web.Request) -> web.Response:
        return json_answer(self._message_views(_limit(request)))

    async def _state(self, request: web.Request) -> web.Response:
        return json_answer(self._snapshot(_limit(request)))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: a snapshot, then every change; `limit` cuts the snapshot to the last messages."""
        response = web.StreamResponse(
            headers={"Cache-Control": "no-store", "Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        with self._world.feed.listening() as news:
            try:
                await response.write(_frame(self._snapshot(_limit(request))))
                while (frames := await self._next_frames(news)) is not None:
                    await response.write(frames)
            except ConnectionError:
                pass  # the page was closed
        return response

    async def _next_frames(self, news: asyncio.Queue[News | None]) -> bytes | None:
        """All changes that wait, or after a while a comment, which finds out whether anybody still listens."""
        try:
            async with asyncio.timeout(_ALIVE_SECONDS):
                change = await news.get()
        except TimeoutError:
            return b":\n\n"
        frames = bytearray()
        while change is not None:
            frames += _frame(self._described(change))
            if news.empty():
                return bytes(frames)
            change = news.get_nowait()
        return None

    async def _counters(self, request: web.Request) -> web.Response:
        return json_answer(dict(self._world.counters))

    async def _no_counters(self, request: web.Request) -> web.Response:
        self._world.counters.clear()
        return web.Response(status=204)

    async def _faults(self, request: web.Request) -> web.Response:
        return json_answer(self._world.faults.armed())

    async def _arm(self, request: web.Request) -> web.Response:
        fault = _converted((await read_body(request)).payload, Fault)
        self._world.faults.arm(fault)
        return json_answer(fault, 201)

    async def _disarm(self, request: web.Request) -> web.Response:
        self._world.faults.disarm()
        return web.Response(status=204)

    async def _expire(self, request: web.Request) -> web.Response:
        if not self._world.expire(request.match_info["id"]):
            raise Refusal(404, 0, f"There is no interaction {request.match_info['id']}.")
        return web.Response(status=204)

    async def _disturb(self, request: web.Request) -> web.Response:
        how, shard = request.match_info["how"], request.query.get("shard", "")
        if how not in set(Disturbance) or not (shard.isdigit() or not shard):
            raise Refusal(
                400, 0, f"A gateway breaks by one of {', '.join(Disturbance)}, and shards are numbers."
            )
        self._gateway.disturb(Disturbance(how), int(shard) if shard else None)
        return web.Response(status=204)

    async def _limits(self, request: web.Request) -> web.Response:
        changes = (await read_body(request)).object()
        self._world.limits = _converted(msgspec.structs.asdict(self._world.limits) | changes, Limits)
        return json_answer(self._world.limits)

    async def _advance(self, request: web.Request) -> web.Response:
        self._world.advance(_converted((await read_body(request)).payload, Advance).seconds)
        return web.Response(status=204)

    def _snapshot(self, limit: int) -> News:
        guilds = [
            {
                "id": guild_id, "name": GUILD_NAMES[guild_id], "channel_id": channel_of(guild_id),
                "channel": CHANNEL_NAME, "commands": list(self._world.commands.in_guild(guild_id).values()),
            }
            for guild_id in GUILDS
        ]  # fmt: skip
        return {
            "kind": "snapshot",
            "notice": self._world.settings.notice,
            "users": views.people(),
            "guilds": guilds,
            "connected": [guild_id for guild_id in GUILDS if self._gateway.connected(guild_id)],
            "messages": self._message_views(limit),
            "interactions": [views.interaction(i) for i in self._unanswered()[-limit:]],
        }

    def _described(self, news: News) -> News:
        """Commands are read when they are told: a registration may change those of several servers."""
        if news["kind"] != "commands":
            return news
        by_guild = {guild_id: list(self._world.commands.in_guild(guild_id).values()) for guild_id in GUILDS}
        return news | {"commands": by_guild}

    def _unanswered(self) -> list[Interaction]:
        return [i for i in self._world.interactions.values() if i.answered is None]

    def _message_views(self, limit: int) -> list[dict[str, Any]]:
        messages = list(self._world.messages.values())[-limit:]
        return [views.message(message, self._world.interaction_behind(message)) for message in messages]

    def _with_messages(self, interaction: Interaction) -> dict[str, Any]:
        messages = [
            views.message(message, interaction) | {"deleted": message.id not in self._world.messages}
            for message in interaction.messages
        ]
        return views.interaction(interaction) | {"messages": messages}


def _refusing(handler: Handler) -> Handler:
    async def run(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as refusal:
            return json_answer(refusal.body(), refusal.status)

    return run


def _converted(payload: Any, kind: type[S]) -> S:
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, 0, f"{kind.__name__} expected: {error}. Nothing was done.") from None


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "")
    return int(text) if text.isdigit() and int(text) > 0 else 1_000_000


def _frame(news: News) -> bytes:
    return b"data: " + msgspec.json.encode(news) + b"\n\n"
