"""A `Messenger` that counts the calls of another."""

from __future__ import annotations

from collections.abc import Awaitable

from services.chassis import metrics as m
from services.contracts.events import ReplyTo
from services.notifier.ports import Message, Messenger, MessengerError


class CountingMessenger:
    """Passes calls on and counts each by kind and status."""

    def __init__(self, inner: Messenger, metrics: m.Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def edit_original(self, reply_to: ReplyTo, message: Message) -> str:
        """See `Messenger`."""
        call = "edit_final" if message.is_final else "edit_progress"
        return await self._counted(call, self._inner.edit_original(reply_to, message))

    async def post_to_channel(self, reply_to: ReplyTo, message: Message, nonce: str) -> str:
        """See `Messenger`."""
        return await self._counted("post", self._inner.post_to_channel(reply_to, message, nonce))

    async def _counted(self, call: str, sending: Awaitable[str]) -> str:
        try:
            message_id = await sending
        except MessengerError as error:
            self._metrics.count(m.DISCORD_CALLS, call, error.status)
            raise
        self._metrics.count(m.DISCORD_CALLS, call, "2xx")
        return message_id
