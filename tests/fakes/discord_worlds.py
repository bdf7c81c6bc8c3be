"""Two Discords behind the notifier's port, for one suite: the fake, and the loopback one behind discord.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from services.chassis.clock import system_clock
from services.contracts.events import ReplyTo
from services.notifier.adapters.discord_webhook import DiscordMessenger
from services.notifier.ports import DiscordBusy, Messenger
from services.sandbox.discord.faults import Fault
from services.sandbox.discord.messages import Message as SandboxMessage
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.world import stamp
from tests.fakes.discord import FakeMessenger, Shown

FILE_LIMIT = 50_000  #: bytes, in both worlds
USER = "100000000000000001"


@dataclass(slots=True)
class Seen:
    """A message as a user sees it."""

    content: str
    files: dict[str, bytes]
    notified: tuple[str, ...]
    cancels: str  #: the request that its button takes back; empty = it has none


class Outside(Protocol):
    """A Discord, seen from the other side of the port."""

    @property
    def messenger(self) -> Messenger:
        """The port."""

    def interact(self, *, answered: bool = True) -> ReplyTo:
        """A user sends a command; the bot answers it, or not yet."""

    def answer(self, reply_to: ReplyTo) -> None:
        """The bot's first answer arrives."""

    def expire(self, reply_to: ReplyTo) -> None:
        """The interaction's token ends."""

    def close_channel(self, reply_to: ReplyTo) -> ReplyTo:
        """The same interaction, of a channel that is gone."""

    def be_busy(self, seconds: float) -> None:
        """The next call is told to come again after so long."""

    def seen(self, message_id: str) -> Seen:
        """What a user sees of a message."""

    def count(self) -> int:
        """Messages in all."""


class FakeOutside:
    """The fake's other side."""

    def __init__(self) -> None:
        self.messenger = FakeMessenger(file_limit=FILE_LIMIT)
        self._number = 0

    def interact(self, *, answered: bool = True) -> ReplyTo:
        """See `Outside`."""
        self._number += 1
        reply_to = ReplyTo(
            user_id=USER,
            channel_id="9",
            application_id="8",
            interaction_token=f"t{self._number}",
            token_expires_at=system_clock() + timedelta(minutes=15),
        )
        if answered:
            self.answer(reply_to)
        return reply_to

    def answer(self, reply_to: ReplyTo) -> None:
        """See `Outside`."""
        self.messenger.answer(reply_to.interaction_token)

    def expire(self, reply_to: ReplyTo) -> None:
        """See `Outside`."""
        self.messenger.expired.add(reply_to.interaction_token)

    def close_channel(self, reply_to: ReplyTo) -> ReplyTo:
        """See `Outside`."""
        return replace(reply_to, channel_id="404")

    def be_busy(self, seconds: float) -> None:
        """See `Outside`."""
        self.messenger.fail_next.append(DiscordBusy("busy", "429", seconds))

    def seen(self, message_id: str) -> Seen:
        """See `Outside`."""
        shown = next(m for m in self._all() if m.id == message_id)
        return Seen(shown.content, shown.files, shown.notified, shown.cancels)

    def count(self) -> int:
        """See `Outside`."""
        return len(self._all())

    def _all(self) -> list[Shown]:
        return [*self.messenger.originals.values(), *self.messenger.posts.values()]


class SandboxOutside:
    """The loopback Discord's other side."""

    def __init__(self, sandbox: DiscordSandbox, messenger: DiscordMessenger) -> None:
        self.messenger = messenger
        self.sandbox = sandbox
        option = {"name": "prompt", "description": "what to draw", "type": 3}
        command = {"name": "serve", "description": "draw", "options": [option]}
        sandbox.world.commands.overwrite("", [command])

    def interact(self, *, answered: bool = True) -> ReplyTo:
        """See `Outside`."""
        made = self.sandbox.world.submit(USER, "serve", {"prompt": "cat"})
        reply_to = ReplyTo(
            user_id=USER,
            channel_id=made.channel_id,
            application_id="900000000000000001",
            interaction_token=made.token,
            token_expires_at=system_clock() + timedelta(minutes=15),
        )
        if answered:
            self.answer(reply_to)
        return reply_to

    def answer(self, reply_to: ReplyTo) -> None:
        """See `Outside`."""
        interaction = self.sandbox.world.interaction_for(reply_to.interaction_token)
        assert interaction is not None
        payload = {"content": "Queued"}
        self.sandbox.world.answer(interaction.id, interaction.token, 4, payload, {}, stamp())

    def expire(self, reply_to: ReplyTo) -> None:
        """See `Outside`."""
        interaction = self.sandbox.world.interaction_for(reply_to.interaction_token)
        assert interaction is not None
        self.sandbox.world.expire(interaction.id)

    def close_channel(self, reply_to: ReplyTo) -> ReplyTo:
        """See `Outside`."""
        return replace(reply_to, channel_id="404")

    def be_busy(self, seconds: float) -> None:
        """See `Outside`."""
        self.sandbox.arm(Fault(status=429, retry_after=seconds))

    def message(self, message_id: str) -> SandboxMessage:
        """The sandbox's own record of a message."""
        return self.sandbox.world.messages[message_id]

    def seen(self, message_id: str) -> Seen:
        """See `Outside`."""
        message = self.message(message_id)
        files = {str(a["filename"]): self._body(str(a["id"])) for a in message.attachments}
        buttons = [button for row in message.components for button in row["components"]]
        cancels = [str(button["custom_id"]).removeprefix("cancel:") for button in buttons]
        return Seen(message.content, files, message.pinged, "".join(cancels))

    def count(self) -> int:
        """See `Outside`."""
        return len(self.sandbox.world.messages)

    def _body(self, file_id: str) -> bytes:
        stored = self.sandbox.world.files.get(file_id)
        assert stored is not None
        return stored.body
