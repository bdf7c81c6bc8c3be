"""A `Messenger` in memory: messages, how they came to be, and the refusals of Discord that the notifier knows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.contracts.events import ReplyTo
from services.notifier.ports import (
    ChannelClosed,
    FilesTooLarge,
    InteractionOver,
    Message,
    MessengerError,
    OriginalUnknown,
)


@dataclass(slots=True)
class Shown:
    """A message as users see it."""

    id: str
    content: str
    files: dict[str, bytes] = field(default_factory=dict)
    notified: tuple[str, ...] = ()
    cancels: str = ""  #: the request that its button takes back


@dataclass(slots=True)
class FakeMessenger:
    """Interactions by token; ``fail_next`` queues what the next calls raise, or none for those that work.

    ``gate``, while cleared, holds every call before it takes effect.
    """

    file_limit: int = 10 * 1024 * 1024  #: bytes of each file
    request_limit: int = 25_000_000  #: bytes of all files of a call
    has_bot_token: bool = True
    channels: set[str] = field(default_factory=lambda: {"9"})
    fail_next: list[MessengerError | None] = field(default_factory=list)
    originals: dict[str, Shown] = field(default_factory=dict)
    posts: dict[str, Shown] = field(default_factory=dict)  #: by nonce
    expired: set[str] = field(default_factory=set)
    edits: list[Message] = field(default_factory=list)  #: that took effect, in order
    calls: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def answer(self, token: str, content: str = "Queued") -> Shown:
        """The bot's first answer to an interaction."""
        self.originals[token] = Shown(id=f"original-{token}", content=content)
        return self.originals[token]

    async def edit_original(self, reply_to: ReplyTo, message: Message) -> str:
        """See `Messenger`."""
        await self._begin()
        if reply_to.interaction_token in self.expired:
            raise InteractionOver("The fake's token has expired.", "4xx")
        shown = self.originals.get(reply_to.interaction_token)
        if shown is None:
            raise OriginalUnknown("The fake has no such message.", "404")
        self._fill(shown, message)
        self.edits.append(message)
        return shown.id

    async def post_to_channel(self, reply_to: ReplyTo, message: Message, nonce: str) -> str:
        """See `Messenger`."""
        await self._begin()
        if not self.has_bot_token or reply_to.channel_id not in self.channels:
            raise ChannelClosed("The fake's channel is closed.", "4xx")
        if nonce in self.posts:
            return self.posts[nonce].id
        post = Shown(id=f"post-{nonce}", content="", notified=(reply_to.user_id,))
        self._fill(post, message)
        self.posts[nonce] = post
        return post.id

    async def _begin(self) -> None:
        self.calls += 1
        await self.gate.wait()
        error = self.fail_next.pop(0) if self.fail_next else None
        if error is not None:
            raise error

    def _fill(self, shown: Shown, message: Message) -> None:
        files = message.files or ()
        sizes = [len(file.data) for file in files]
        if sum(sizes) > self.request_limit or any(size > self.file_limit for size in sizes):
            raise FilesTooLarge("The fake's limit is smaller.", "413")
        shown.content = message.content
        if message.files is not None:
            shown.files = {file.name: file.data for file in files}
        if message.is_final or message.cancels:
            shown.cancels = message.cancels
