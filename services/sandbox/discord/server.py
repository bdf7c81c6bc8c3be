"""The loopback Discord as a server: `DiscordSandbox` in this process, or ``python -m services.sandbox.discord``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aiohttp import web

from services.sandbox.discord.bodies import MOST_BYTES
from services.sandbox.discord.control import Control
from services.sandbox.discord.faults import Fault
from services.sandbox.discord.files import Upload
from services.sandbox.discord.gateway import Disturbance, Gateway
from services.sandbox.discord.page_routes import PageRoutes, loopback_only
from services.sandbox.discord.rest import API, Rest
from services.sandbox.discord.settings import SandboxSettings
from services.sandbox.discord.submissions import Submissions
from services.sandbox.discord.world import World

T = TypeVar("T")


class DiscordSandbox:
    """A loopback Discord in this process; `world` is its whole state, to be looked at."""

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.world = World(settings)
        self._gateway = Gateway(self.world)
        self._submissions = Submissions(self.world, self._gateway)
        self._runner: web.AppRunner | None = None
        self.url = ""  #: where it listens, such as ``http://127.0.0.1:8420``

    @property
    def api_base_url(self) -> str:
        """What a stage's DISCORD_API_BASE_URL must be, and discord.py's ``Route.BASE``."""
        return f"{self.url}{API}"

    @property
    def gateway_url(self) -> str:
        """What discord.py's ``DiscordWebSocket.DEFAULT_GATEWAY`` must be."""
        return self._gateway.url

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes any free one.

        Raises:
            ValueError: the host is not this machine's loopback.
            OSError: the port is taken.
        """
        if host not in ("127.0.0.1", "localhost"):
            raise ValueError(f"The sandbox listens on 127.0.0.1 only, not on {host}: it trusts whoever asks.")
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[loopback_only])
        app.add_routes(Rest(self.world, self._gateway).routes())
        app.add_routes(Control(self.world, self._gateway, self._submissions).routes())
        app.add_routes(PageRoutes(self.world).routes())
        app.router.add_get("/gw/", self._gateway.serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound = self._runner.addresses[0][1]
        self.url = self.world.files.url = f"http://127.0.0.1:{bound}"
        self._gateway.url = f"ws://127.0.0.1:{bound}/gw/"

    async def stop(self) -> None:
        """Close everything; what it knew stays in `world`."""
        self._submissions.stop()
        self.world.feed.close()
        await self._gateway.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def submit(
        self,
        user_id: str,
        command: str,
        options: Mapping[str, Any],
        *,
        guild_id: str = "",
        uploads: Mapping[str, Upload] | None = None,
    ) -> str:
        """Send a slash command as a user and return the interaction's id; ``uploads`` are files by option name.

        Raises:
            Refusal: the bot is away, or has registered no such command or option.
        """
        return self._submissions.submit(user_id, command, options, guild_id=guild_id, uploads=uploads).id

    async def press(self, user_id: str, message_id: str, custom_id: str) -> str:
        """Press a button as a user and return the interaction's id.

        Raises:
            Refusal: there is no such message or button.
        """
        return self._submissions.press(user_id, message_id, custom_id).id

    def arm(self, fault: Fault) -> None:
        """Let the next calls of a route fail."""
        self.world.faults.arm(fault)

    def disturb(self, how: Disturbance, shard: int | None = None) -> None:
        """Break the gateway's connections, or those of one shard."""
        self._gateway.disturb(how, shard)

    def connected(self, guild_id: str) -> bool:
        """Whether the shard of a server is connected."""
        return self._gateway.connected(guild_id)

    async def wait_for(self, condition: Callable[[World], T], seconds: float = 10.0) -> T:
        """Wait until ``condition`` of the world is true, looking at every change, and return its result.

        Raises:
            TimeoutError: the time passed first.
        """
        with self.world.feed.listening() as news:
            async with asyncio.timeout(seconds):
                while not (result := condition(self.world)):
                    await news.get()
                return result
