"""Discord by REST: edits with the interaction's token, channel messages with the bot's."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import discord
from discord.http import Route

from services.chassis import metrics as m
from services.chassis.settings import Secret
from services.contracts.events import ReplyTo
from services.notifier.ports import (
    Away,
    DiscordError,
    Message,
    NotAnsweredYet,
    Refused,
    TokenExpired,
    TooLarge,
)

T = TypeVar("T")
NOBODY = discord.AllowedMentions.none()
#: Discord's own codes: unknown webhook, unknown message, invalid webhook token.
_UNKNOWN, _INVALID_TOKEN = {10015, 10008}, 50027
CALL_SECONDS = 60.0


class DiscordRest:
    """The real `Messenger`.  Connections are kept; used from one event loop."""

    def __init__(self, token: Secret, metrics: m.Metrics) -> None:
        self._token = token
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None
        self._bot: discord.Client | None = None
        self._login = asyncio.Lock()

    @property
    def can_post(self) -> bool:
        """Whether there is a bot token."""
        return bool(self._token)

    async def edit_original(self, to: ReplyTo, message: Message) -> str:
        """See `Messenger.edit_original`."""
        webhook = discord.Webhook.partial(
            int(to.application_id), to.interaction_token, session=self._open_session()
        )

        async def edit() -> Any:
            return await webhook.edit_message(
                "@original", content=message.text, attachments=_files(message), allowed_mentions=NOBODY
            )

        return str((await self._call("edit", edit)).id)

    async def post(self, to: ReplyTo, message: Message, *, nonce: str) -> str:
        """See `Messenger.post`; discord.py enforces any nonce that it is given."""

        async def post() -> Any:
            bot = await self._open_bot()
            channel = bot.get_partial_messageable(int(to.channel_id))
            only = discord.AllowedMentions(
                everyone=False, roles=False, replied_user=False, users=[discord.Object(int(to.user_id))]
            )
            return await channel.send(message.text, files=_files(message), nonce=nonce, allowed_mentions=only)

        return str((await self._call("post", post)).id)

    async def close(self) -> None:
        """Close every connection."""
        if self._bot is not None:
            await self._bot.close()
        if self._session is not None:
            await self._session.close()

    async def _call(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                result = await call()
        except discord.HTTPException as error:
            self._metrics.count(m.DISCORD_CALLS, kind, _status_class(error.status))
            raise translated(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError, discord.LoginFailure) as error:
            self._metrics.count(m.DISCORD_CALLS, kind, "error")
            if isinstance(error, discord.LoginFailure):
                raise Refused("Discord refuses DISCORD_TOKEN.") from error
            raise Away(type(error).__name__) from error
        self._metrics.count(m.DISCORD_CALLS, kind, "2xx")
        return result

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))
        return self._session

    async def _open_bot(self) -> discord.Client:
        async with self._login:
            if self._bot is None:
                bot = discord.Client(intents=discord.Intents.none(), max_ratelimit_timeout=30.0)
                await bot.login(self._token.reveal())
                self._bot = bot
            return self._bot


def point_discord_at(api_base_url: str) -> None:
    """Let every client of this process talk to another Discord; empty = the real one."""
    if api_base_url:
        Route.BASE = api_base_url.rstrip("/")


def translated(error: discord.HTTPException) -> DiscordError:
    """Discord's answer as one of the port's errors.  Pure."""
    if error.code == _INVALID_TOKEN:
        return TokenExpired("the interaction's token has expired")
    if error.status == 404 and error.code in _UNKNOWN:
        return NotAnsweredYet(f"Discord knows no such message ({error.code})")
    if error.status == 413 or error.code == 40005:
        return TooLarge("the files are too large")
    if error.status == 429:
        return Away("rate limited", float(getattr(error, "retry_after", 0) or _retry_after(error)))
    if error.status >= 500:
        return Away(f"status {error.status}")
    return Refused(f"status {error.status}, code {error.code}")


def _retry_after(error: discord.HTTPException) -> float:
    headers = getattr(error.response, "headers", {})
    try:
        return float(headers.get("Retry-After", 1.0))
    except ValueError:
        return 1.0


def _files(message: Message) -> list[discord.File]:
    # Made anew for every try: a file object is read only once.
    return [discord.File(io.BytesIO(file.data), file.name) for file in message.files]


def _status_class(status: int) -> str:
    return str(status) if status in (404, 413, 429) else f"{status // 100}xx"
