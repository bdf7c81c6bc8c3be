"""The loopback Discord as a server: `DiscordSandbox` in this process, or ``python -m services.sandbox.discord``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from services.sandbox.discord.control import Control
from services.sandbox.discord.gateway import Gateway
from services.sandbox.discord.rest import Files, Rest
from services.sandbox.discord.world import World

MAX_REQUEST_BYTES = 64 * 1024 * 1024  #: above every limit that it answers 413 for itself


class DiscordSandbox:
    """A loopback Discord in this process."""

    def __init__(self, *, notice: str = "") -> None:
        self.world = World()
        self.world.notice = notice
        self._gateway = Gateway(self.world)
        self._control = Control(self.world, self._gateway)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.world.url

    @property
    def api_base_url(self) -> str:
        """What a stage's DISCORD_API_BASE_URL must be."""
        return f"{self.world.url}/api/v10"

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.add_routes(Rest(self.world).routes())
        app.add_routes(self._control.routes())
        app.router.add_get("/gw/", self._gateway.serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.world.url = f"http://127.0.0.1:{bound}"

    async def stop(self) -> None:
        """Close everything."""
        await self._control.stop()
        await self._gateway.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def submit(self, user_id: str, command: str, options: dict[str, Any], **more: Any) -> str:
        """Send a slash command as a user and return the interaction's id; see `Control.submit`."""
        return (await self._control.submit(user_id, command, options, **more)).id

    async def disturb(self, how: str) -> None:
        """Break the gateway: ``reconnect``, ``invalidate`` or ``abort``."""
        await self._gateway.disturb(how)

    async def wait_for(self, condition: Callable[[World], Any], seconds: float = 10.0) -> Any:
        """Wait until ``condition`` of the world is true and return it.

        Raises:
            TimeoutError: the deadline passed first.
        """
        queue = self.world.listen()
        try:
            async with asyncio.timeout(seconds):
                while not (result := condition(self.world)):
                    await queue.get()
                return result
        finally:
            self.world.unlisten(queue)


__all__ = ["DiscordSandbox", "Files"]
