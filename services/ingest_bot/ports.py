"""What the bot's shell needs of the outside: conversations, topics, a place for images, a look at messages."""

from __future__ import annotations

from typing import Protocol

from services.contracts.events import CancellationRequested, GenerationRequested, ReplyTo


class RequestSink(Protocol):
    """Takes requests."""

    async def __call__(self, request: GenerationRequested, /) -> None:
        """Return when the broker has it.

        Raises:
            SendFailed: the broker did not acknowledge.
            EventTooLarge: the request is over what the bus carries.
        """


class CancellationSink(Protocol):
    """Takes cancellations."""

    async def __call__(self, cancellation: CancellationRequested, /) -> None:
        """Return when the broker has it.

        Raises:
            SendFailed: the broker did not acknowledge.
        """


class OpenMessages(Protocol):
    """Knows how requests stand, as far as their users were told."""

    async def is_open(self, reply_to: ReplyTo) -> bool:
        """Whether the request's message still has its button; also where Discord does not say.  Never raises."""


class InputStore(Protocol):
    """Keeps attachments, since Discord's links expire."""

    async def __call__(self, key: str, data: bytes, content_type: str) -> None:
        """Return when it is stored.

        Raises:
            ObjectStoreError: it is not.
        """


class Attachment(Protocol):
    """A file that a user attached to a command."""

    @property
    def parameter(self) -> str:
        """The image parameter that it is for."""

    @property
    def declared_size(self) -> tuple[int, int]:
        """Width and height in pixels as Discord says, which its bytes may belie; 1 x 1 where it says nothing."""

    async def read(self, limit: int) -> bytes:
        """Its bytes.

        Raises:
            CommandError: they are more than ``limit``, or cannot be fetched.
        """


class Conversation(Protocol):
    """One interaction.  Nothing here raises: an answer that Discord refuses is logged."""

    @property
    def request_id(self) -> str:
        """The interaction's id."""

    def reply_to(self) -> ReplyTo:
        """Where later answers go."""

    def role_ids(self) -> tuple[str, ...]:
        """The user's roles in the server where it is; none in a direct message."""

    async def tell(self, text: str) -> None:
        """Say something to the user alone, or in place of what was said before, which then offers nothing any more."""

    async def think(self) -> None:
        """Answer in time that something will be said to the user alone; nothing where it was answered before."""

    async def hold(self, text: str) -> None:
        """Answer in time that the command is being worked on; nothing where it was answered before.

        The message offers to cancel, as its successors do until the end.
        """

    async def acknowledge(self, text: str) -> None:
        """Answer that the request is queued; nothing where it was answered before.

        From the moment that the request is on its topic the message is the notifier's: an edit of ours could
        come after the final one, and a rejection takes milliseconds.
        """
