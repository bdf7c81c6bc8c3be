"""Commands and pressed buttons on their way from a user to the bot, and what the user is told where no answer comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.sandbox.discord.composer import parse_line
from services.sandbox.discord.files import Upload
from services.sandbox.discord.gateway import Gateway
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.places import GUILDS
from services.sandbox.discord.refusal import not_sent
from services.sandbox.discord.world import World


class Submissions:
    """Sends slash commands and presses buttons as users."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self._world = world
        self._gateway = gateway
        self._waits: dict[str, asyncio.TimerHandle] = {}

    def submit(
        self,
        user_id: str,
        command: str,
        options: Mapping[str, Any],
        *,
        guild_id: str = "",
        uploads: Mapping[str, Upload] | None = None,
    ) -> Interaction:
        """Send a slash command; ``uploads`` are files by option name.

        Raises:
            Refusal: the bot is away, or has registered no such command or option.
        """
        guild_id = guild_id or GUILDS[0]
        if not self._gateway.reachable(guild_id):
            raise not_sent("The bot is not connected to this server, so nobody would answer.")
        interaction = self._world.submit(user_id, command, options, guild_id=guild_id, uploads=uploads)
        self._gateway.dispatch(interaction)
        self._wait_for_answer(interaction)
        return interaction

    def submit_line(
        self, user_id: str, line: str, *, guild_id: str = "", uploads: Mapping[str, Upload] | None = None
    ) -> Interaction:
        """Send what a user typed, such as ``/serve a lighthouse --ar 16:9``.

        Raises:
            Refusal: as `submit`, or not a command.
        """
        guild_id = guild_id or GUILDS[0]
        if not self._gateway.reachable(guild_id):
            raise not_sent("The bot is not connected yet; try again when it is.")
        command, options = parse_line(line, self._world.commands.in_guild(guild_id))
        return self.submit(user_id, command, options, guild_id=guild_id, uploads=uploads)

    def press(self, user_id: str, message_id: str, custom_id: str) -> Interaction:
        """Press a button under a message.

        Raises:
            Refusal: the bot is away, or there is no such message or button.
        """
        interaction = self._world.press(user_id, message_id, custom_id)
        self._gateway.dispatch(interaction)
        self._wait_for_answer(interaction)
        return interaction

    def stop(self) -> None:
        """Let go of what waits."""
        for handle in self._waits.values():
            handle.cancel()
        self._waits.clear()

    def _wait_for_answer(self, interaction: Interaction) -> None:
        def check() -> None:
            del self._waits[interaction.id]
            if interaction.answered is None and not interaction.failed:
                self._world.fail(interaction)

        seconds = self._world.limits.answer_seconds
        self._waits[interaction.id] = asyncio.get_running_loop().call_later(seconds, check)
