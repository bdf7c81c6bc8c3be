"""What the notifier needs of Discord."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from services.contracts.events import ReplyTo


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a message."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A whole message: an edit to it leaves nothing of what was there."""

    text: str
    files: tuple[File, ...] = ()


class DiscordError(Exception):
    """Discord did not do what was asked."""


class TokenExpired(DiscordError):
    """The interaction cannot be answered any more."""


class NotAnsweredYet(DiscordError):
    """There is no message to edit: the bot's first answer has not arrived, or never will."""


class TooLarge(DiscordError):
    """The files are larger than Discord takes here."""


class Refused(DiscordError):
    """Discord refuses for good: channel gone, no permission, or malformed."""


class Away(DiscordError):
    """Discord does not answer, is broken or wants us to wait; ``after_seconds`` from now it may work."""

    def __init__(self, why: str, after_seconds: float = 1.0) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class Messenger(Protocol):
    """Writes messages.  Every method raises `Away`, `TooLarge` or `Refused` where Discord does so."""

    async def edit_original(self, to: ReplyTo, message: Message) -> str:
        """Make the interaction's first message read ``message``; idempotent.  Returns the message's id.

        Raises:
            TokenExpired: past 15 minutes.
            NotAnsweredYet: there is none.
        """

    async def post(self, to: ReplyTo, message: Message, *, nonce: str) -> str:
        """Write ``message`` into the channel, mentioning nobody but its user; once per ``nonce``.

        Returns the message's id.
        """

    @property
    def can_post(self) -> bool:
        """Whether `post` is possible: it needs the bot's token."""
