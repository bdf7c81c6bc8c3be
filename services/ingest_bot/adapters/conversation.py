"""One Discord interaction and its attachments, as `ports` has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeAlias

import aiohttp
import discord

from services.chassis import metrics as m
from services.chassis.logs import get_logger
from services.contracts.events import ReplyTo
from services.ingest_bot.adapters.cancel_button import cancel_view
from services.ingest_bot.images import too_large
from services.ingest_bot.refusals import CommandError

log = get_logger()

Interaction: TypeAlias = discord.Interaction[Any]

NOBODY = discord.AllowedMentions.none()
TOKEN_LIFE = timedelta(minutes=15)
#: A second first answer: discord.py tries a call again whose answer was lost.
_ALREADY_ANSWERED = 40060
_CHUNK_BYTES = 64 * 1024
_FAILURES = (discord.HTTPException, discord.InteractionResponded, aiohttp.ClientError, OSError)


class DiscordConversation:
    """Answers one interaction."""

    def __init__(self, interaction: Interaction, metrics: m.Metrics) -> None:
        self._interaction = interaction
        self._metrics = metrics

    @property
    def request_id(self) -> str:
        """The interaction's snowflake."""
        return str(self._interaction.id)

    def reply_to(self) -> ReplyTo:
        """Where later answers go."""
        it = self._interaction
        created_at = it.created_at.replace(microsecond=it.created_at.microsecond // 1000 * 1000)
        return ReplyTo(
            user_id=str(it.user.id),
            channel_id=str(it.channel_id or 0),
            application_id=str(it.application_id),
            interaction_token=it.token,
            token_expires_at=created_at + TOKEN_LIFE,
            guild_id=str(it.guild_id) if it.guild_id else None,
            locale=it.locale.value,
            filesize_limit=it.filesize_limit,
        )

    def role_ids(self) -> tuple[str, ...]:
        """As Discord sent them; the objects of roles would need an intent and a cache."""
        return tuple(map(str, getattr(self._interaction.user, "_roles", ())))

    async def tell(self, text: str) -> None:
        """To the user alone, or as an edit of what was said before, which loses its button."""
        if not self._interaction.response.is_done():
            code = await self._answer(text, ephemeral=True)
            if code != _ALREADY_ANSWERED:
                return
        await self._edit(text)

    async def think(self) -> None:
        """A deferral that only the user sees, unless there was an answer."""
        response = self._interaction.response
        if response.is_done():
            return
        try:
            await response.defer(ephemeral=True, thinking=True)
        except _FAILURES as error:
            self._failed("callback", error)
        else:
            self._metrics.count(m.DISCORD_CALLS, "callback", "2xx")

    async def hold(self, text: str) -> None:
        """A first answer for everybody, unless there was one."""
        if not self._interaction.response.is_done():
            await self._answer(text, ephemeral=False, view=cancel_view(self.request_id))

    async def acknowledge(self, text: str) -> None:
        """A first answer for everybody, unless there was one."""
        await self.hold(text)

    async def _answer(self, text: str, **how: Any) -> int:
        """Returns Discord's error code; 0 where there was no error."""
        response = self._interaction.response
        try:
            await response.send_message(text, allowed_mentions=NOBODY, suppress_embeds=True, **how)
        except _FAILURES as error:
            return self._failed("callback", error)
        self._metrics.count(m.DISCORD_CALLS, "callback", "2xx")
        return 0

    async def _edit(self, text: str) -> None:
        try:
            await self._interaction.edit_original_response(content=text, view=None, allowed_mentions=NOBODY)
        except _FAILURES as error:
            self._failed("edit", error)
        else:
            self._metrics.count(m.DISCORD_CALLS, "edit", "2xx")

    def _failed(self, call: str, error: Exception) -> int:
        status, code = (error.status, error.code) if isinstance(error, discord.HTTPException) else (0, 0)
        self._metrics.count(m.DISCORD_CALLS, call, _status_label(status))
        log.warning(
            "answer_failed", request_id=self.request_id, call=call, status=status, code=code, why=str(error)
        )
        return code


class DiscordAttachment:
    """A file that came with an interaction."""

    def __init__(self, parameter: str, file: discord.Attachment, session: aiohttp.ClientSession) -> None:
        self.parameter = parameter
        self._file = file
        self._session = session

    @property
    def declared_size(self) -> tuple[int, int]:
        """As Discord says."""
        return self._file.width or 1, self._file.height or 1

    async def read(self, limit: int) -> bytes:
        """Fetch it from Discord's CDN, and stop where it turns out longer than Discord said."""
        if self._file.size > limit:
            raise too_large(limit)
        try:
            async with self._session.get(self._file.url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise aiohttp.ClientError(f"status {answer.status}")
                return await _read_up_to(answer.content, limit)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("attachment_failed", why=f"{type(error).__name__}: {error}")
            raise CommandError(
                "The attachment could not be fetched from Discord; please attach it again."
            ) from error


async def _read_up_to(stream: aiohttp.StreamReader, limit: int) -> bytes:
    data = bytearray()
    async for chunk in stream.iter_chunked(_CHUNK_BYTES):
        data += chunk
        if len(data) > limit:
            raise too_large(limit)
    return bytes(data)


def _status_label(status: int) -> str:
    """A closed set, as the metric's declaration has it."""
    if status in (404, 413, 429):
        return str(status)
    return f"{status // 100}xx" if status else "error"
