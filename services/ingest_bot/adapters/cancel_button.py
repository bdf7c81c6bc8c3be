"""The Cancel button: drawn under the first answer, and heard of again by its id alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import discord

from services.contracts.controls import CANCEL_LABEL, CANCEL_PATTERN, cancel_id

if TYPE_CHECKING:
    from services.ingest_bot.adapters.discord_bot import Bot


class CancelButton(discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]], template=CANCEL_PATTERN):
    """Made anew at every press, so that it outlives restarts and works in whatever process has the shard."""

    def __init__(self, request_id: str) -> None:
        super().__init__(discord.ui.Button(label=CANCEL_LABEL, custom_id=cancel_id(request_id)))
        self.request_id = request_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> CancelButton:
        """discord.py's way to make it of a press."""
        return cls(match["request_id"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """It was pressed."""
        bot: Bot = interaction.client  # the only client that knows this button
        await bot.cancel_pressed(interaction, self.request_id)


def cancel_view(request_id: str) -> discord.ui.View:
    """The button as a message takes it."""
    return discord.ui.View(timeout=None).add_item(CancelButton(request_id))
