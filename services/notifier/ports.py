"""What the notifier asks of Discord: a port of two calls, its values and its failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.contracts.errors import DistilleryError, PermanentError, RetryableError
from services.contracts.events import ReplyTo


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to attach."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a message shall look like."""

    content: str  #: at most 2,000 characters
    #: What is attached afterwards, in place of all that was; a final message also loses its button.
    #: None = progress: files stay as they are.
    files: tuple[File, ...] | None = None
    cancels: str = ""  #: the request that progress's button takes back; empty = the message keeps what it has
    ends: bool = False  #: a final text without files loses its button too, and keeps the files that are there

    @property
    def is_final(self) -> bool:
        """Whether nothing shall follow it."""
        return self.ends or self.files is not None


class MessengerError(DistilleryError):
    """Discord did not take a message; ``status`` is the label of ``distillery_discord_calls_total``."""

    def __init__(self, why: str, status: str) -> None:
        super().__init__(why)
        self.status = status


class DiscordBusy(MessengerError, RetryableError):
    """A rate limit, an outage or a broken connection: the same call succeeds later."""

    def __init__(self, why: str, status: str, after_seconds: float) -> None:
        super().__init__(why, status)
        self.after_seconds = after_seconds  #: the least wait

    @property
    def may_land(self) -> bool:
        """Whether the call may still take effect: neither silence nor a gateway's word for it is Discord's answer."""
        return self.status != "429"


class OriginalUnknown(MessengerError):
    """There is no original response: the bot has not answered yet, or somebody deleted the message."""


class InteractionOver(MessengerError):
    """The interaction's token answers nothing any more."""


class FilesTooLarge(MessengerError):
    """The files together are more than may be attached here."""


class ChannelClosed(MessengerError):
    """The bot cannot write to that channel: gone, no permission, or no bot token is set."""


class MessageRefused(MessengerError, PermanentError):
    """Discord finds fault with the message itself."""


class Messenger(Protocol):
    """Writes to users.  Every call is repeatable without a visible effect, and raises `MessengerError`."""

    async def edit_original(self, reply_to: ReplyTo, message: Message) -> str:
        """Edit the original response of an interaction; nobody is notified.  Returns the message's id.

        Raises:
            OriginalUnknown: not answered yet, or deleted.
            InteractionOver: the token has expired.
            FilesTooLarge: send less.
            DiscordBusy: later.
        """

    async def post_to_channel(self, reply_to: ReplyTo, message: Message, nonce: str) -> str:
        """Post to the channel as the bot; notifies the requester only.  Returns the message's id.

        Args:
            nonce: at most 25 characters; a second post with it within minutes returns the first one's id.

        Raises:
            ChannelClosed: this channel, or any, is out of reach.
            FilesTooLarge: send less.
            DiscordBusy: later.
        """
