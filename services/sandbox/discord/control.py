"""The control surface under ``/sandbox``, the page and its live feed."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import Any

from aiohttp import BodyPartReader, web

from services.sandbox.discord.gateway import Gateway, start_waiting_for_answer
from services.sandbox.discord.rest import Files, _real_type, refuse, reply
from services.sandbox.discord.world import GUILDS, USERS, Fault, Interaction, Refusal, World, channel_of

_PAGE = files("services.sandbox.discord") / "page"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class Control:
    """Routes for people (the page) and for tests."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self._world = world
        self._gateway = gateway
        self._waits: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/", self._page),
            web.get("/page/{name}", self._page),
            web.get("/attachments/{id}/{name}", self._file),
            web.post("/sandbox/interactions", self._submit),
            web.get("/sandbox/interactions", self._interactions),
            web.get("/sandbox/messages", self._messages),
            web.get("/sandbox/state", self._state),
            web.get("/sandbox/events", self._events),
            web.get("/sandbox/counters", self._counters),
            web.post("/sandbox/faults", self._fault),
            web.delete("/sandbox/faults", self._no_faults),
            web.post("/sandbox/expire/{id}", self._expire),
            web.post("/sandbox/gateway/{how}", self._disturb),
            web.post("/sandbox/limits", self._limits),
        ]

    async def submit(
        self,
        user_id: str,
        command: str,
        options: dict[str, Any],
        *,
        guild_id: str = "",
        channel_id: str = "",
        uploads: Files | None = None,
    ) -> Interaction:
        """Send a slash command as a user; ``uploads`` are files by option name.

        Raises:
            Refusal: the bot is away, or has registered no such command or option.
        """
        typed = [_typed(name, value) for name, value in options.items()]
        for name, (file_name, body, content_type) in (uploads or {}).items():
            attachment = self._world.add_file(file_name, body, content_type)
            typed.append({"name": name, "type": 11, "value": attachment["id"]})
        interaction = self._world.submit(user_id, command, typed, guild_id, channel_id)
        self._world.tell({"kind": "submitted", "interaction": view_of(interaction)})
        await self._gateway.dispatch(interaction)
        wait = start_waiting_for_answer(self._world, interaction)
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)
        return interaction

    async def stop(self) -> None:
        """Let go of what waits."""
        for wait in self._waits:
            wait.cancel()

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in ("index.html", "app.js", "markdown.js", "style.css"):
            raise web.HTTPNotFound
        body = (_PAGE / name).read_bytes()
        return web.Response(body=body, content_type=_TYPES[name.rpartition(".")[2]], charset="utf-8")

    async def _file(self, request: web.Request) -> web.Response:
        found = self._world.files.get(request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found[0], content_type=found[1].partition(";")[0])

    async def _submit(self, request: web.Request) -> web.Response:
        uploads: Files = {}
        body: dict[str, Any] = {}
        if request.content_type.startswith("multipart/"):
            async for part in await request.multipart():
                assert isinstance(part, BodyPartReader)
                if part.name == "payload_json":
                    body = json.loads(await part.text())
                else:
                    data = bytes(await part.read())
                    declared = part.headers.get("Content-Type", "application/octet-stream")
                    uploads[part.name or ""] = (part.filename or "file", data, _real_type(data, declared))
        else:
            body = await request.json()
        try:
            interaction = await self.submit(
                str(body["user_id"]),
                str(body["command"]),
                body.get("options") or {},
                guild_id=str(body.get("guild_id") or ""),
                channel_id=str(body.get("channel_id") or ""),
                uploads=uploads,
            )
        except Refusal as refusal:
            return refuse(refusal)
        return reply({"id": interaction.id, "token": interaction.token}, 201)

    async def _interactions(self, request: web.Request) -> web.Response:
        wanted = request.query.get("id")
        found = [i for i in self._world.interactions.values() if wanted in (None, i.id)]
        return reply([view_of(i) | {"messages": [self._world.view(m) for m in i.messages]} for i in found])

    async def _messages(self, request: web.Request) -> web.Response:
        return reply([self._world.view(message) for message in self._world.messages.values()])

    async def _state(self, request: web.Request) -> web.Response:
        return reply(self._snapshot(100))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: a snapshot (with ``?all=1`` of every message, else the last 100), then every change."""
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        queue = self._world.listen()
        try:
            most = None if request.query.get("all") else 100
            await response.write(_sse({"kind": "snapshot", **self._snapshot(most)}))
            while True:
                await response.write(_sse(await queue.get()))
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._world.unlisten(queue)
        return response

    async def _counters(self, request: web.Request) -> web.Response:
        return reply(dict(self._world.counters))

    async def _fault(self, request: web.Request) -> web.Response:
        self._world.faults.append(Fault(**await request.json()))
        return reply({}, 201)

    async def _no_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear()
        return web.Response(status=204)

    async def _expire(self, request: web.Request) -> web.Response:
        self._world.interactions[request.match_info["id"]].expired = True
        return web.Response(status=204)

    async def _disturb(self, request: web.Request) -> web.Response:
        await self._gateway.disturb(request.match_info["how"])
        return web.Response(status=204)

    async def _limits(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._world.file_limit = int(body.get("file_limit", self._world.file_limit))
        self._world.token_seconds = float(body.get("token_seconds", self._world.token_seconds))
        return web.Response(status=204)

    def _snapshot(self, most: int | None) -> dict[str, Any]:
        world = self._world
        return {
            "connected": world.connected,
            "notice": world.notice,
            "users": USERS,
            "guild_id": GUILDS[0],
            "channel_id": channel_of(GUILDS[0]),
            "commands": list(world.commands.values()),
            "messages": [world.view(m) for m in list(world.messages.values())[-most if most else 0 :]],
        }


def view_of(interaction: Interaction) -> dict[str, Any]:
    """An interaction for tests and the page; its token is left out."""
    return {
        "id": interaction.id,
        "user_id": interaction.user_id,
        "user_name": USERS.get(interaction.user_id),
        "guild_id": interaction.guild_id,
        "channel_id": interaction.channel_id,
        "command": interaction.command,
        "options": interaction.options,
        "created_at": interaction.created_at,
        "created_epoch": interaction.created_epoch,
        "answered": interaction.answered,
        "answered_at": interaction.answered_at,
    }


def _typed(name: str, value: Any) -> dict[str, Any]:
    """An option with Discord's type number."""
    if isinstance(value, bool):
        return {"name": name, "type": 5, "value": value}
    if isinstance(value, int):
        return {"name": name, "type": 4, "value": value}
    if isinstance(value, float):
        return {"name": name, "type": 10, "value": value}
    return {"name": name, "type": 3, "value": str(value)}


def _sse(news: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(news).encode() + b"\n\n"
