"""The REST API, version 10, as far as a slash-command bot uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import BodyPartReader, web

from services.sandbox.discord.world import APPLICATION_ID, BOT_TOKEN, Refusal, World, bot_user

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Files = dict[str, tuple[str, bytes, str]]


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON with exactly ``application/json``: discord.py takes any charset parameter for plain text."""
    response = web.Response(body=json.dumps(body).encode(), status=status, headers=headers)
    response.headers["Content-Type"] = "application/json"
    return response


def refuse(refusal: Refusal) -> web.Response:
    """A failure in Discord's shape."""
    return reply({"message": str(refusal), "code": refusal.code}, refusal.status)


def rate_limited(retry_after: float) -> web.Response:
    """A 429; without ``Via`` discord.py takes it for a ban by Cloudflare."""
    headers = {
        "Via": "1.1 sandbox",
        "Retry-After": str(retry_after),
        "X-RateLimit-Bucket": "sandbox",
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset-After": str(retry_after),
        "X-RateLimit-Scope": "user",
    }
    body = {"message": "You are being rate limited.", "retry_after": retry_after, "global": False}
    return reply(body, 429, headers)


class Rest:
    """The routes under ``/api/v10``."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """All of them, each counted and open to faults under its name."""
        api = "/api/v10"
        webhook = f"{api}/webhooks/{{app}}/{{token}}"
        table: list[tuple[str, str, str, Handler, bool]] = [
            ("GET", f"{api}/users/@me", "me", self._me, True),
            ("GET", f"{api}/oauth2/applications/@me", "application", self._application, True),
            ("GET", f"{api}/gateway/bot", "gateway", self._gateway, True),
            ("GET", f"{api}/gateway", "gateway", self._gateway, False),
            ("PUT", f"{api}/applications/{{app}}/commands", "commands", self._commands, True),
            (
                "PUT",
                f"{api}/applications/{{app}}/guilds/{{guild}}/commands",
                "commands",
                self._commands,
                True,
            ),
            ("POST", f"{api}/interactions/{{id}}/{{token}}/callback", "callback", self._callback, False),
            ("PATCH", f"{webhook}/messages/@original", "edit", self._edit, False),
            ("GET", f"{webhook}/messages/@original", "original", self._original, False),
            ("DELETE", f"{webhook}/messages/@original", "delete", self._delete, False),
            ("POST", webhook, "follow_up", self._follow_up, False),
            ("POST", f"{api}/channels/{{channel}}/messages", "post", self._post, True),
        ]
        return [
            web.route(method, path, self._guarded(name, handler, with_token))
            for method, path, name, handler, with_token in table
        ]

    def _guarded(self, name: str, handler: Handler, with_token: bool) -> Handler:
        async def run(request: web.Request) -> web.StreamResponse:
            world = self._world
            world.counters[name] += 1
            fault = world.fault_for(name)
            if fault is not None and fault.delay:
                await asyncio.sleep(fault.delay)
            if fault is not None and fault.status == 429:
                return rate_limited(fault.retry_after)
            if fault is not None and fault.status:
                return refuse(Refusal(fault.status, fault.code, "The sandbox was told to answer so."))
            if with_token and request.headers.get("Authorization") != f"Bot {BOT_TOKEN}":
                return refuse(Refusal(401, 0, "401: Unauthorized"))
            try:
                return await handler(request)
            except Refusal as refusal:
                return refuse(refusal)

        return run

    async def _me(self, request: web.Request) -> web.Response:
        return reply(bot_user())

    async def _application(self, request: web.Request) -> web.Response:
        return reply(
            {
                "id": APPLICATION_ID,
                "name": "Distillery",
                "description": "",
                "icon": None,
                "bot_public": True,
                "bot_require_code_grant": False,
                "verify_key": "0" * 64,
                "flags": 0,
                "owner": bot_user(),
                "team": None,
                "rpc_origins": [],
            }
        )

    async def _gateway(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        url = self._world.url.replace("http", "ws") + "/gw/"
        return reply({"url": url, "shards": 1, "session_start_limit": limit})

    async def _commands(self, request: web.Request) -> web.Response:
        registered = []
        for command in await request.json():
            full = {
                "id": self._world.new_id(),
                "application_id": APPLICATION_ID,
                "version": "1",
                "default_member_permissions": None,
                "nsfw": False,
                "name_localizations": None,
                "description_localizations": None,
                "type": 1,
                **command,
            }
            registered.append(full)
            self._world.commands[full["name"]] = full
        self._world.tell({"kind": "commands", "commands": registered})
        return reply(registered)

    async def _callback(self, request: web.Request) -> web.Response:
        payload, _ = await _body(request)
        kind = int(payload.get("type", 0))
        if kind not in (4, 5):
            raise Refusal(400, 50035, "Invalid Form Body: the sandbox knows callback types 4 and 5.")
        identity = request.match_info
        message = self._world.answer(identity["id"], identity["token"], kind, payload.get("data") or {})
        interaction = {
            "id": identity["id"],
            "type": 2,
            "response_message_id": message.id,
            "response_message_loading": kind == 5,
            "response_message_ephemeral": bool(message.flags & 64),
        }
        resource = {"type": kind, "message": self._world.api_view(message)}
        return reply({"interaction": interaction, "resource": resource})

    async def _edit(self, request: web.Request) -> web.Response:
        message = self._world.original_of(request.match_info["token"])
        payload, files = await _body(request)
        self._world.change(message, payload, "edit", files)
        return reply(self._world.api_view(message))

    async def _original(self, request: web.Request) -> web.Response:
        return reply(self._world.api_view(self._world.original_of(request.match_info["token"])))

    async def _delete(self, request: web.Request) -> web.Response:
        self._world.delete(request.match_info["token"])
        return web.Response(status=204)

    async def _follow_up(self, request: web.Request) -> web.Response:
        payload, files = await _body(request)
        return reply(self._world.api_view(self._world.follow_up(request.match_info["token"], payload, files)))

    async def _post(self, request: web.Request) -> web.Response:
        payload, files = await _body(request)
        return reply(self._world.api_view(self._world.post(request.match_info["channel"], payload, files)))


async def _body(request: web.Request) -> tuple[dict[str, Any], Files]:
    """The JSON payload and the files of a request, multipart or not."""
    if not request.content_type.startswith("multipart/"):
        return (await request.json() if request.can_read_body else {}), {}
    payload: dict[str, Any] = {}
    files: Files = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        if part.name == "payload_json":
            payload = json.loads(await part.text())
        else:
            content_type = part.headers.get("Content-Type", "application/octet-stream")
            body = bytes(await part.read())
            files[part.name or ""] = (part.filename or "file", body, _real_type(body, content_type))
    return payload, files


def _real_type(body: bytes, declared: str) -> str:
    """The content type by the first bytes, as Discord has it."""
    if body.startswith(b"\x89PNG"):
        return "image/png"
    if body.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    return declared
