"""What the loopback Discord knows and how it changes: Discord's rules, in memory.  Used from one event loop."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from services.sandbox.discord import refusal, views
from services.sandbox.discord.commands import typed_options
from services.sandbox.discord.components import pressable
from services.sandbox.discord.faults import Faults
from services.sandbox.discord.feed import Feed
from services.sandbox.discord.files import FileStore, Upload
from services.sandbox.discord.interactions import Interaction, new_token, overdue
from services.sandbox.discord.messages import (
    EPHEMERAL,
    LOADING,
    Edit,
    Message,
    Stamp,
    Uploads,
    check_not_empty,
    check_payload,
    merged_attachments,
    pinged_by,
    settable_flags,
)
from services.sandbox.discord.places import DIRECT, GUILDS, USERS, channel_of, guild_of
from services.sandbox.discord.registry import CommandRegistry
from services.sandbox.discord.settings import SandboxSettings

_EPOCH_MS = 1_420_070_400_000  # Discord's, 2015-01-01
MESSAGE, DEFERRED = 4, 5  #: callback types: a message, and "is thinking"
QUIET, UPDATE = 6, 7  #: callback types of a button: nothing to see, and an edit of its message


class World:
    """The state, its rules, and the feed of its changes."""

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.settings = settings or SandboxSettings()
        self.limits = self.settings.limits
        self.faults = Faults()
        self.counters: Counter[str] = Counter()
        self.feed = Feed()
        self.files = FileStore(self.settings.kept_bytes)
        self.commands = CommandRegistry(self.new_id)
        self.interactions: dict[str, Interaction] = {}
        self.messages: dict[str, Message] = {}
        self._by_token: dict[str, Interaction] = {}
        self._nonces: dict[tuple[str, str], tuple[float, Message]] = {}
        self._direct_channels = {channel_of(DIRECT, user_id) for user_id in USERS}
        self._ids = itertools.count(1)
        self._advanced = 0.0

    def clock(self) -> float:
        """Seconds that only grow, by which tokens live: this machine's monotonic clock plus what tests add."""
        return time.monotonic() + self._advanced

    def advance(self, seconds: float) -> None:
        """Let time pass at once for tokens, answers and nonces; recorded instants stay real."""
        self._advanced += seconds
        self.fail_overdue()

    def new_id(self) -> str:
        """A snowflake of now."""
        millis = int(time.time() * 1000) - _EPOCH_MS
        return str((millis << 22) | (next(self._ids) & 0x3FFFFF))

    def submit(
        self,
        user_id: str,
        command: str,
        values: Mapping[str, Any],
        *,
        guild_id: str = "",
        uploads: Mapping[str, Upload] | None = None,
    ) -> Interaction:
        """A user sends a slash command; ``uploads`` are files by option name.

        Raises:
            Refusal: no such place, command or option.
        """
        guild_id = guild_id or GUILDS[0]
        if not user_id.isdigit() or guild_id not in (*GUILDS, DIRECT):
            raise refusal.not_sent(f"There is no user {user_id!r} or no server {guild_id!r}.")
        known = self.commands.in_guild(guild_id)
        if command not in known:
            names = ", ".join(f"/{name}" for name in known) or "none"
            raise refusal.not_sent(f"The bot has registered no /{command}; it has {names}.")
        uploads = uploads or {}
        if any(len(upload.body) > self.limits.file_limit for upload in uploads.values()):
            raise refusal.not_sent(f"Files may have {self.limits.file_limit:,} bytes at most.")
        file_ids = {name: self.new_id() for name in uploads}
        options = typed_options(known[command], values, file_ids)
        channel_id = channel_of(guild_id, user_id)
        attached = {
            file_ids[name]: self.files.add(file_ids[name], upload, channel_id=channel_id)
            | {"ephemeral": True}
            for name, upload in uploads.items()
        }
        name, command_id = known[command]["name"], known[command]["id"]
        return self._begin(
            user_id, guild_id, command=name, command_id=command_id, options=options, attachments=attached
        )

    def press(self, user_id: str, message_id: str, custom_id: str) -> Interaction:
        """A user presses a button under a message.

        Raises:
            Refusal: the user sees no such message or no such button.
        """
        message = self.messages.get(message_id)
        if message is None or not self._sees(user_id, message):
            raise refusal.not_sent("This message is not there any more.")
        pressable(message.components, custom_id)
        guild_id = guild_of(message.channel_id) or DIRECT
        return self._begin(user_id, guild_id, pressed=message, custom_id=custom_id)

    def _sees(self, user_id: str, message: Message) -> bool:
        asked = self.interaction_behind(message)
        if message.ephemeral and (asked is None or asked.user_id != user_id):
            return False
        return guild_of(message.channel_id) is not None or message.channel_id == channel_of(DIRECT, user_id)

    def _begin(self, user_id: str, guild_id: str, **what: Any) -> Interaction:
        interaction = Interaction(
            id=self.new_id(),
            token=new_token(),
            user_id=user_id,
            guild_id=guild_id,
            channel_id=channel_of(guild_id, user_id),
            created=stamp(),
            created_on_clock=self.clock(),
            **what,
        )
        self.interactions[interaction.id] = interaction
        self._direct_channels.add(channel_of(DIRECT, user_id))
        self._by_token[interaction.token] = interaction
        self._forget_old()
        self.feed.tell({"kind": "interaction", "interaction": views.interaction(interaction)})
        return interaction

    def answer(
        self, interaction_id: str, token: str, kind: int, payload: dict[str, Any], uploads: Uploads, at: Stamp
    ) -> Message:
        """The bot's first answer: `MESSAGE` or `DEFERRED`, to a button also `QUIET` or `UPDATE`.

        Raises:
            Refusal: unknown, answered already, after 3 s, or not a message that Discord accepts.
        """
        interaction = self.interactions.get(interaction_id)
        if interaction is None or interaction.token != token:
            raise refusal.unknown_interaction()
        if interaction.answered is not None:
            raise refusal.already_acknowledged()
        if self.clock() - interaction.created_on_clock >= self.limits.answer_seconds:
            raise refusal.unknown_interaction()
        if kind in (QUIET, UPDATE) and interaction.pressed is not None:
            return self._answer_in_place(interaction, kind, payload, uploads, at)
        if kind not in (MESSAGE, DEFERRED):
            sentence = "The sandbox knows 4 and 5, and for a button 6 and 7."
            raise refusal.invalid_form("type", "BASE_TYPE_CHOICES", sentence)
        message = self._new_message(interaction.channel_id, payload, at, interaction)
        if kind == DEFERRED:
            message.flags = message.flags & EPHEMERAL | LOADING
            self._record(message, "callback", at)
        else:
            self._fill(message, payload, uploads, "callback", at)
        interaction.answered = at
        interaction.original = message
        self._keep(message, interaction)
        return message

    def _answer_in_place(
        self, interaction: Interaction, kind: int, payload: dict[str, Any], uploads: Uploads, at: Stamp
    ) -> Message:
        message = interaction.pressed
        if message is None or message.id not in self.messages:
            raise refusal.unknown_message()
        if kind == UPDATE:
            self.edit(message, payload, uploads, "callback", at)
        interaction.answered = at
        interaction.original = message
        return message

    def interaction_of(self, token: str) -> Interaction:
        """The interaction whose webhook token this is.

        Raises:
            Refusal: unknown, expired, or not answered yet.
        """
        interaction = self._by_token.get(token)
        if interaction is None:
            raise refusal.unknown_webhook()
        age = self.clock() - interaction.created_on_clock
        if interaction.expired or age >= self.limits.token_seconds:
            raise refusal.invalid_webhook_token()
        if interaction.answered is None:
            raise refusal.unknown_webhook()
        return interaction

    def webhook_message(self, token: str, message_id: str) -> Message:
        """The original response, by ``@original`` or its id, or a follow-up.

        Raises:
            Refusal: as `interaction_of`, or no such message.
        """
        interaction = self.interaction_of(token)
        if message_id == "@original":
            found = interaction.original
        else:
            found = next((message for message in interaction.messages if message.id == message_id), None)
        if found is None or found.id not in self.messages:
            raise refusal.unknown_message()
        return found

    def channel_message(self, channel_id: str, message_id: str) -> Message:
        """A message of a channel that everybody sees.

        Raises:
            Refusal: no such message there.
        """
        message = self.messages.get(message_id)
        if message is None or message.channel_id != channel_id or message.ephemeral:
            raise refusal.unknown_message()
        return message

    def follow_up(self, token: str, payload: dict[str, Any], uploads: Uploads, at: Stamp) -> Message:
        """A further message of the interaction's; right after a deferral it fills the deferred one, as Discord does.

        Raises:
            Refusal: as `interaction_of`, or not a message that Discord accepts.
        """
        interaction = self.interaction_of(token)
        if interaction.original is not None and interaction.original.thinking:
            return self.edit(interaction.original, payload, uploads, "follow_up", at)
        message = self._new_message(interaction.channel_id, payload, at, interaction)
        self._fill(message, payload, uploads, "follow_up", at)
        return self._keep(message, interaction)

    def post(self, channel_id: str, payload: dict[str, Any], uploads: Uploads, at: Stamp) -> Message:
        """A message of the bot's in a channel; an enforced nonce that was seen gives the earlier message.

        Raises:
            Refusal: no such channel, or not a message that Discord accepts.
        """
        if guild_of(channel_id) is None and channel_id not in self._direct_channels:
            raise refusal.unknown_channel()
        nonce = "" if payload.get("nonce") is None else str(payload["nonce"])
        seen = self._nonces.get((channel_id, nonce)) if nonce and payload.get("enforce_nonce") else None
        if seen is not None and self.clock() - seen[0] < self.limits.nonce_seconds:
            return seen[1]
        message = self._new_message(channel_id, payload, at, None)
        message.flags &= ~EPHEMERAL
        message.nonce = nonce or None
        self._fill(message, payload, uploads, "post", at)
        if nonce:
            self._nonces[channel_id, nonce] = (self.clock(), message)
        return self._keep(message, None)

    def edit(
        self, message: Message, payload: dict[str, Any], uploads: Uploads, how: str, at: Stamp
    ) -> Message:
        """Change a message; what the payload leaves out stays.

        Raises:
            Refusal: not a message that Discord accepts; it stays as it was.
        """
        was_thinking = message.thinking
        self._fill(message, payload, uploads, how, at)
        message.flags &= ~LOADING
        # Filling what was deferred does not count as an edit that readers are told of.
        message.edited = message.edited if was_thinking else at
        self._tell(message)
        return message

    def delete(self, message: Message) -> None:
        """Take a message away; the interaction's history keeps it."""
        self.messages.pop(message.id, None)
        interaction = self.interactions.get(message.interaction_id or "")
        if interaction is not None and interaction.original is message:
            interaction.original = None
        self.feed.tell({"kind": "deleted", "id": message.id})

    def expire(self, interaction_id: str) -> bool:
        """Let a token be past its life; whether there is such an interaction."""
        interaction = self.interactions.get(interaction_id)
        if interaction is not None:
            interaction.expired = True
        return interaction is not None

    def fail_overdue(self) -> None:
        """Tell the users of whatever nobody answered in time."""
        for interaction in overdue(self.interactions.values(), self.clock(), self.limits.answer_seconds):
            self.fail(interaction)

    def fail(self, interaction: Interaction) -> None:
        """Tell a user that the application did not respond."""
        interaction.failed = True
        self.counters["failed"] += 1
        self.feed.tell({"kind": "interaction", "interaction": views.interaction(interaction)})

    def interaction_for(self, token_or_id: str) -> Interaction | None:
        """The interaction that a call is about, whatever its state."""
        return self._by_token.get(token_or_id) or self.interactions.get(token_or_id)

    def interaction_behind(self, message: Message) -> Interaction | None:
        """The interaction that a message answers."""
        return self.interactions.get(message.interaction_id or "")

    def _new_message(
        self, channel_id: str, payload: dict[str, Any], at: Stamp, interaction: Interaction | None
    ) -> Message:
        return Message(
            id=self.new_id(),
            channel_id=channel_id,
            created=at,
            flags=settable_flags(payload),
            interaction_id=interaction.id if interaction else None,
            pinged=pinged_by(payload.get("content") or "", payload.get("allowed_mentions")),
        )

    def _fill(self, message: Message, payload: dict[str, Any], uploads: Uploads, how: str, at: Stamp) -> None:
        """All or nothing: nothing is stored before everything is accepted."""
        check_payload(payload, uploads, self.limits.file_limit)
        content = (payload.get("content") or "") if "content" in payload else message.content
        embeds = payload["embeds"] or [] if "embeds" in payload else message.embeds
        components = payload["components"] or [] if "components" in payload else message.components
        attachments = message.attachments
        if uploads or "attachments" in payload:
            attachments = merged_attachments(
                message.attachments, payload.get("attachments"), uploads,
                lambda upload, text: self.files.add(
                    self.new_id(), upload, channel_id=message.channel_id, description=text
                ),
            )  # fmt: skip
        check_not_empty(content, attachments, embeds, components)
        message.content, message.attachments = content, attachments
        message.embeds, message.components = embeds, components
        if "allowed_mentions" in payload:
            message.allowed_mentions = payload["allowed_mentions"]
        self._record(message, how, at)

    def _record(self, message: Message, how: str, at: Stamp) -> None:
        edit = Edit(
            how=how, content=message.content, attachments=len(message.attachments), at=at.at, epoch=at.epoch
        )
        message.history.append(edit)

    def _keep(self, message: Message, interaction: Interaction | None) -> Message:
        self.messages[message.id] = message
        if interaction is not None:
            interaction.messages.append(message)
        self._tell(message)
        return message

    def _tell(self, message: Message) -> None:
        if self.feed.heard():
            view = views.message(message, self.interaction_behind(message))
            self.feed.tell({"kind": "message", "message": view})

    def _forget_old(self) -> None:
        while len(self.interactions) > self.settings.kept_interactions:
            oldest = self.interactions.pop(next(iter(self.interactions)))
            del self._by_token[oldest.token]
            for message in oldest.messages:
                self.messages.pop(message.id, None)


def stamp() -> Stamp:
    """Now."""
    return Stamp(time.monotonic(), time.time())
