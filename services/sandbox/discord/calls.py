"""What every call of the REST API goes through: counting, faults, the bot's token, refusals as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from services.sandbox.discord.bodies import json_answer
from services.sandbox.discord.faults import Fault, Route
from services.sandbox.discord.messages import Stamp
from services.sandbox.discord.refusal import Refusal, unauthorized
from services.sandbox.discord.world import World, stamp


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and when its head arrived."""

    request: web.Request
    at: Stamp

    def part(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]


Handler = Callable[[Call], Awaitable[web.Response]]


class Calls:
    """Wraps handlers into routes."""

    def __init__(self, world: World) -> None:
        self._world = world

    def route(
        self, method: str, path: str, name: Route, handler: Handler, *, for_bot: bool = True
    ) -> web.RouteDef:
        """A route that is counted, open to faults and, where it is only for the bot, closed to others."""

        async def run(request: web.Request) -> web.Response:
            self._world.counters[name] += 1
            call = Call(request, stamp())
            fault = self._fault(name, request)
            if fault is None:
                return await self._answer(call, handler, for_bot=for_bot)
            return await self._answer_faulty(call, handler, fault, for_bot=for_bot)

        return web.route(method, path, run)

    async def _answer(self, call: Call, handler: Handler, *, for_bot: bool) -> web.Response:
        try:
            given = call.request.headers.get("Authorization")
            if for_bot and given != f"Bot {self._world.settings.bot_token}":
                raise unauthorized()
            return await handler(call)
        except Refusal as refusal:
            return json_answer(refusal.body(), refusal.status)

    async def _answer_faulty(
        self, call: Call, handler: Handler, fault: Fault, *, for_bot: bool
    ) -> web.Response:
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.cut:
            return _break(call.request)
        if fault.lose_answer:
            await self._answer(call, handler, for_bot=for_bot)
            return _instead(fault) if fault.status else _break(call.request)
        if fault.status:
            await call.request.read()  # so that the client hears the answer instead of a broken pipe
            return _instead(fault)
        return await self._answer(call, handler, for_bot=for_bot)

    def _fault(self, name: Route, request: web.Request) -> Fault | None:
        parts = request.match_info
        interaction = self._world.interaction_for(parts.get("token") or parts.get("interaction") or "")
        return self._world.faults.take(name, interaction.id if interaction else "")


def _break(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody gets it


def _instead(fault: Fault) -> web.Response:
    return _rate_limited(fault) if fault.status == 429 else json_answer(fault.refusal().body(), fault.status)


def _rate_limited(fault: Fault) -> web.Response:
    """A 429; without ``Via`` discord.py takes it for a ban by Cloudflare."""
    headers = {
        "Via": "1.1 sandbox",
        "Retry-After": f"{fault.retry_after:g}",
        "X-RateLimit-Scope": "global" if fault.everywhere else "user",
    }
    if fault.everywhere:
        headers["X-RateLimit-Global"] = "true"
    else:
        headers |= {
            "X-RateLimit-Bucket": f"sandbox-{fault.route or 'any'}",
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": f"{stamp().epoch + fault.retry_after:.3f}",
            "X-RateLimit-Reset-After": f"{fault.retry_after:g}",
        }
    sentence = "You are being rate limited."
    body = {"message": sentence, "retry_after": fault.retry_after, "global": fault.everywhere}
    return json_answer(body, 429, headers)
