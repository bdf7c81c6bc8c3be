"""`Messenger` on Discord's REST API by discord.py: interaction webhooks, and the bot's own messages.

discord.py retries 429 and 5xx inside a call, asleep for up to minutes.  A final edit would wait for a progress edit
that does so, and a stage that sleeps cannot give its partitions away.  So a failure leaves aiohttp as an exception
before discord.py sees the response, and the caller decides when to try again.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

import aiohttp
import discord
from discord.http import MultipartParameters, Route, handle_message_parameters

from services.chassis.settings import Secret
from services.contracts.controls import CANCEL_LABEL, cancel_id
from services.contracts.events import ReplyTo
from services.notifier.ports import (
    ChannelClosed,
    DiscordBusy,
    FilesTooLarge,
    InteractionOver,
    Message,
    MessageRefused,
    MessengerError,
    OriginalUnknown,
)

#: A progress edit that hangs delays the final one by so long at most.
PROGRESS_SECONDS = 5.0
#: For 10 MiB on a slow line.
FINAL_SECONDS = 90.0
#: For the answer once a request is sent, and for each part of it to be taken: a connection whose far end is gone is
#: left alone after so long, and the call is made again on another.
ANSWER_SECONDS = 15.0
#: Above what the pool of Discord's front servers keeps idle connections for, they close them.
KEEP_ALIVE_SECONDS = 60.0
_TOO_LARGE = 40005
_TOKEN_INVALID = 50027
_OUTAGE_WAIT = 1.0
_NETWORK_WAIT = 0.25
_NOBODY = discord.AllowedMentions.none()
#: In the form that Discord asks of bots.
_USER_AGENT = f"DiscordBot (https://github.com/Rapptz/discord.py {discord.__version__})"


class _Failure(Exception):
    """A response that is no success, on its way through discord.py."""

    def __init__(self, status: int, body: dict[str, Any], retry_after: str | None) -> None:
        super().__init__(f"{status} {body.get('code', 0)} {body.get('message', '')}".strip())
        self.status = status
        self.code = body.get("code", 0)
        self.retry_after = body.get("retry_after", retry_after)


class DiscordMessenger:
    """One connection pool for a process's life; enter it before use."""

    def __init__(
        self,
        token: Secret,
        api_base_url: str = "",
        *,
        progress_seconds: float = PROGRESS_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._token = token
        self._answer_seconds = answer_seconds
        self._connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            socket_factory=partial(open_socket, silence=answer_seconds),
        )
        self._progress = self._session(progress_seconds)
        self._final = self._session(FINAL_SECONDS)
        if api_base_url:
            Route.BASE = api_base_url.rstrip("/")  # the one place where discord.py takes it from

    async def __aenter__(self) -> DiscordMessenger:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._progress.close()
        await self._final.close()
        await self._connector.close()

    async def edit_original(self, reply_to: ReplyTo, message: Message) -> str:
        """See `Messenger`."""
        session = self._final if message.is_final else self._progress
        route = Route(
            "PATCH",
            "/webhooks/{webhook_id}/{webhook_token}/messages/@original",
            webhook_id=_number(reply_to.application_id),
            webhook_token=reply_to.interaction_token,
        )
        with _attached(message) as files:
            more: dict[str, Any] = {"view": None} if message.is_final else {}
            if message.files is not None:
                more["attachments"] = files
            if message.cancels:  # discord.py's own ``Webhook`` takes no button where there is no gateway
                more["view"] = _cancel_button(message.cancels)
            body = handle_message_parameters(content=message.content, allowed_mentions=_NOBODY, **more)
            try:
                return await _send(session, route, body)
            except _Failure as failure:
                raise _edit_error(failure) from failure
            except (aiohttp.ClientError, OSError) as error:
                raise _network_error(error) from error

    async def post_to_channel(self, reply_to: ReplyTo, message: Message, nonce: str) -> str:
        """See `Messenger`."""
        if not self._token:
            raise ChannelClosed("No DISCORD_TOKEN is set, so nothing can be posted to a channel.", "error")
        requester = discord.Object(_number(reply_to.user_id))
        only = discord.AllowedMentions(everyone=False, users=[requester], roles=False)
        route = Route("POST", "/channels/{channel_id}/messages", channel_id=_number(reply_to.channel_id))
        with _attached(message) as files:
            body = handle_message_parameters(
                content=message.content, files=files, nonce=nonce, allowed_mentions=only
            )
            headers = {"Authorization": f"Bot {self._token.reveal()}"}
            try:
                return await _send(self._final, route, body, headers)
            except _Failure as failure:
                raise _post_error(failure) from failure
            except (aiohttp.ClientError, OSError) as error:
                raise _network_error(error) from error

    def _session(self, seconds: float) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._connector,
            connector_owner=False,
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=5.0, sock_read=self._answer_seconds),
            headers={"User-Agent": _USER_AGENT},
            raise_for_status=_raise_failure,
        )


def open_socket(address: aiohttp.AddrInfoType, silence: float) -> socket.socket:
    """A socket for one connection to ``address``, which ends after some ``silence`` seconds without its far end."""
    family, kind, protocol, *_ = address
    opened = socket.socket(family, kind, protocol)
    # Closed is only what is idle or given up.  By a reset: the kernel would go on for minutes to send what was given
    # up, and `doubt` counts on nobody doing that.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if sys.platform == "linux":
        # An upload that gets stuck waits for no answer yet, and an idle connection for nothing.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence * 1000))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(silence)))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(silence / 3)))
    return opened


async def _send(
    session: aiohttp.ClientSession,
    route: Route,
    message: MultipartParameters,
    headers: dict[str, str] | None = None,
) -> str:
    """Make one call; returns the message's id."""
    body: dict[str, Any] = {"json": message.payload}
    if message.multipart:
        form = aiohttp.FormData(quote_fields=False)
        for part in message.multipart:
            form.add_field(**part)
        body = {"data": form}
    async with session.request(route.method, route.url, headers=headers, **body) as response:
        return str((await response.json())["id"])


def _cancel_button(request_id: str) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    return view.add_item(discord.ui.Button(label=CANCEL_LABEL, custom_id=cancel_id(request_id)))


async def _raise_failure(response: aiohttp.ClientResponse) -> None:
    if response.status < 400 and response.content_type == "application/json":
        return
    text = await response.text(errors="replace")
    try:
        body = json.loads(text)
    except ValueError:  # a proxy's page
        body = {}
    status = response.status if response.status >= 400 else 502
    raise _Failure(status, body if isinstance(body, dict) else {}, response.headers.get("Retry-After"))


def _number(snowflake: str) -> int:
    if not (snowflake.isascii() and snowflake.isdecimal()):
        raise MessageRefused("The event's ids are not Discord's, so there is nobody to tell.", "error")
    return int(snowflake)


@contextmanager
def _attached(message: Message) -> Iterator[list[discord.File]]:
    """The message's files as discord.py takes them, for one call."""
    buffers = [io.BytesIO(file.data) for file in message.files or ()]
    try:
        yield [
            discord.File(buffer, filename=file.name)
            for buffer, file in zip(buffers, message.files or (), strict=True)
        ]
    finally:
        # aiohttp made each buffer a copy of its own and leaves it in a reference cycle: megabytes until the next
        # full garbage collection.
        for buffer in buffers:
            io.BytesIO.close(buffer)  # discord.py has replaced the instance's own ``close``


def _edit_error(failure: _Failure) -> MessengerError:
    if failure.status == 404:
        return OriginalUnknown(f"Discord knows no original response ({failure}).", "404")
    if failure.status in (401, 403) or failure.code == _TOKEN_INVALID:
        return InteractionOver(f"The interaction can not be answered any more ({failure}).", "4xx")
    return _common_error(failure)


def _post_error(failure: _Failure) -> MessengerError:
    if failure.status in (401, 403, 404):
        label = "404" if failure.status == 404 else "4xx"
        return ChannelClosed(f"The bot may not post to the channel ({failure}).", label)
    return _common_error(failure)


def _common_error(failure: _Failure) -> MessengerError:
    if failure.status == 429:
        after = _seconds(failure.retry_after)
        return DiscordBusy(f"Discord's rate limit is reached for {after:g} s.", "429", after)
    if failure.status >= 500:
        return DiscordBusy(f"Discord is out of order ({failure.status}).", "5xx", _OUTAGE_WAIT)
    if failure.status == 413 or failure.code == _TOO_LARGE:
        return FilesTooLarge("Discord takes no request of this size here.", "413")
    return MessageRefused(f"Discord refuses the message ({failure}).", "4xx")


def _network_error(error: Exception) -> DiscordBusy:
    # A timeout has no text of its own.
    return DiscordBusy(f"Discord does not answer ({type(error).__name__}).", "error", _NETWORK_WAIT)


def _seconds(retry_after: Any) -> float:
    try:
        return max(0.05, float(retry_after))
    except (TypeError, ValueError):
        return _OUTAGE_WAIT
