"""What the loopback Discord knows: users, servers, channels, commands, interactions, messages, files.  In memory."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EPOCH_MS = 1_420_070_400_000  #: Discord's, 2015-01-01
TOKEN_SECONDS = 15 * 60.0
ANSWER_SECONDS = 3.0
FILE_LIMIT = 10 * 1024 * 1024  #: bytes, of one request's files together
APPLICATION_ID = "900000000000000001"
BOT_TOKEN = "sandbox-bot-token"  # noqa: S105 - opens nothing but this sandbox
EPHEMERAL = 1 << 6
LOADING = 1 << 7

#: Servers spread over shards: ``(id >> 22) % 3`` is 0, 1 and 2.
GUILDS = tuple(str((1_000_000_000_002 + shard) << 22) for shard in range(3))
USERS = {
    "100000000000000001": "Ada",
    "100000000000000002": "Grace",
    "100000000000000003": "Linus",
    "100000000000000004": "Margaret",
}


class Refusal(Exception):
    """An answer that is not a success: HTTP status, Discord's code, its sentence."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(slots=True)
class Message:
    """A message as it stands, and how it came to stand so."""

    id: str
    channel_id: str
    author: dict[str, Any]
    content: str = ""
    attachments: list[dict[str, Any]] = field(default_factory=list)
    flags: int = 0
    interaction_id: str | None = None
    nonce: str | None = None
    allowed_mentions: Any = None
    created_at: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Interaction:
    """A slash command that a user sent."""

    id: str
    token: str
    user_id: str
    guild_id: str
    channel_id: str
    command: str
    options: list[dict[str, Any]]
    created_at: float  #: monotonic
    created_epoch: float
    answered: bool = False
    answered_at: float | None = None
    expired: bool = False
    original: Message | None = None
    messages: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class Fault:
    """The next ``times`` calls whose route contains ``route`` are answered with ``status`` instead, or delayed."""

    route: str
    status: int = 0
    times: int = 1
    retry_after: float = 0.5
    delay: float = 0.0
    code: int = 0


class World:
    """The state, its rules, and who wants to hear of changes.  Used from one event loop."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self.interactions: dict[str, Interaction] = {}
        self.by_token: dict[str, Interaction] = {}
        self.messages: dict[str, Message] = {}
        self.files: dict[str, tuple[bytes, str]] = {}
        self.commands: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.counters: Counter[str] = Counter()
        self.nonces: dict[tuple[str, str], Message] = {}
        self.url = ""
        self.notice = ""
        self.connected = False
        self.file_limit = FILE_LIMIT
        self.token_seconds = TOKEN_SECONDS
        self._ids = itertools.count(1)
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._changed = asyncio.Condition()

    def new_id(self) -> str:
        """A snowflake of now."""
        millis = int(time.time() * 1000) - EPOCH_MS
        return str((millis << 22) | (next(self._ids) & 0x3FFFFF))

    def submit(
        self,
        user_id: str,
        command: str,
        options: list[dict[str, Any]],
        guild_id: str = "",
        channel_id: str = "",
    ) -> Interaction:
        """A user sends a slash command.

        Raises:
            Refusal: the bot is away, or has registered no such command or option.
        """
        if not self.connected:
            raise Refusal(409, 0, "The bot is not connected, so Discord has nobody to ask.")
        known = self.commands.get(command)
        if known is None:
            names = ", ".join(f"/{name}" for name in self.commands) or "none"
            raise Refusal(409, 0, f"The bot has registered no /{command}; it has {names}.")
        _check_options(known, options)
        interaction_id = self.new_id()
        interaction = Interaction(
            id=interaction_id,
            token=f"token-{interaction_id}",
            user_id=user_id,
            guild_id=guild_id or GUILDS[0],
            channel_id=channel_id or channel_of(guild_id or GUILDS[0]),
            command=command,
            options=options,
            created_at=self.monotonic(),
            created_epoch=time.time(),
        )
        self.interactions[interaction_id] = interaction
        self.by_token[interaction.token] = interaction
        return interaction

    def answer(self, interaction_id: str, token: str, kind: int, data: dict[str, Any]) -> Message:
        """The bot's first answer, type 4 (a message) or 5 (thinking).

        Raises:
            Refusal: unknown, answered already, or after 3 s.
        """
        interaction = self.interactions.get(interaction_id)
        if interaction is None or interaction.token != token:
            raise Refusal(404, 10062, "Unknown interaction")
        if interaction.answered:
            raise Refusal(400, 40060, "Interaction has already been acknowledged.")
        if self.monotonic() - interaction.created_at > ANSWER_SECONDS:
            raise Refusal(404, 10062, "Unknown interaction")
        interaction.answered = True
        interaction.answered_at = self.monotonic()
        flags = int(data.get("flags", 0)) | (LOADING if kind == 5 else 0)
        message = self._new_message(interaction.channel_id, interaction, flags)
        interaction.original = message
        self.change(message, data, "callback")
        return message

    def interaction_of(self, token: str) -> Interaction:
        """The interaction whose webhook token this is.

        Raises:
            Refusal: unknown, expired, or not answered yet.
        """
        interaction = self.by_token.get(token)
        if interaction is None:
            raise Refusal(404, 10015, "Unknown Webhook")
        if interaction.expired or self.monotonic() - interaction.created_at > self.token_seconds:
            raise Refusal(401, 50027, "Invalid Webhook Token")
        if not interaction.answered:
            raise Refusal(404, 10015, "Unknown Webhook")
        return interaction

    def original_of(self, token: str) -> Message:
        """The original response.

        Raises:
            Refusal: as `interaction_of`, or deleted.
        """
        message = self.interaction_of(token).original
        if message is None:
            raise Refusal(404, 10008, "Unknown Message")
        return message

    def follow_up(
        self, token: str, data: dict[str, Any], files: dict[str, tuple[str, bytes, str]]
    ) -> Message:
        """A further message of the interaction's."""
        interaction = self.interaction_of(token)
        message = self._new_message(interaction.channel_id, interaction, int(data.get("flags", 0)))
        self.change(message, data, "follow_up", files)
        return message

    def post(
        self, channel_id: str, data: dict[str, Any], files: dict[str, tuple[str, bytes, str]]
    ) -> Message:
        """A message of the bot's in a channel; an enforced nonce that was seen gives the earlier message.

        Raises:
            Refusal: no such channel.
        """
        if channel_id not in {channel_of(guild) for guild in GUILDS}:
            raise Refusal(404, 10003, "Unknown Channel")
        nonce = str(data.get("nonce", ""))
        if nonce and data.get("enforce_nonce") and (channel_id, nonce) in self.nonces:
            return self.nonces[channel_id, nonce]
        message = self._new_message(channel_id, None, 0)
        message.nonce = nonce or None
        self.change(message, data, "post", files)
        if nonce:
            self.nonces[channel_id, nonce] = message
        return message

    def change(
        self,
        message: Message,
        data: dict[str, Any],
        how: str,
        files: dict[str, tuple[str, bytes, str]] | None = None,
    ) -> None:
        """Create or edit ``message`` and let everybody know.

        Raises:
            Refusal: too long, or files too large.
        """
        files = files or {}
        content = data.get("content", message.content) or ""
        if len(content) > 2000:
            raise Refusal(400, 50035, "Invalid Form Body: content must be 2000 or fewer in length.")
        if sum(len(body) for _, body, _ in files.values()) > self.file_limit:
            raise Refusal(413, 40005, "Request entity too large")
        message.content = content
        if how != "callback":
            message.flags &= ~LOADING
        if "attachments" in data or files:
            message.attachments = self._attachments(message, data.get("attachments"), files)
        if "allowed_mentions" in data:
            message.allowed_mentions = data["allowed_mentions"]
        message.history.append(
            {
                "how": how,
                "content": content,
                "attachments": len(message.attachments),
                "at": self.monotonic(),
                "epoch": time.time(),
            }
        )
        self.tell({"kind": "message", "message": self.view(message)})

    def delete(self, token: str) -> None:
        """Delete the original response."""
        message = self.original_of(token)
        interaction = self.by_token[token]
        interaction.original = None
        self.messages.pop(message.id, None)
        self.tell({"kind": "deleted", "id": message.id})

    def view(self, message: Message) -> dict[str, Any]:
        """A message as the page and the tests see it."""
        interaction = self.interactions.get(message.interaction_id or "")
        return {
            "id": message.id,
            "channel_id": message.channel_id,
            "content": message.content,
            "attachments": message.attachments,
            "ephemeral": bool(message.flags & EPHEMERAL),
            "thinking": bool(message.flags & LOADING),
            "interaction_id": message.interaction_id,
            "nonce": message.nonce,
            "allowed_mentions": message.allowed_mentions,
            "user_id": interaction.user_id if interaction else None,
            "user_name": USERS.get(interaction.user_id, f"user {interaction.user_id[-4:]}")
            if interaction
            else None,
            "command": interaction.command if interaction else None,
            "created_at": message.created_at,
            "history": message.history,
        }

    def api_view(self, message: Message) -> dict[str, Any]:
        """A message as the REST API gives it to the bot."""
        return {
            "id": message.id,
            "channel_id": message.channel_id,
            "author": message.author,
            "content": message.content,
            "attachments": message.attachments,
            "embeds": [],
            "mentions": [],
            "mention_roles": [],
            "mention_everyone": False,
            "pinned": False,
            "tts": False,
            "type": 20 if message.interaction_id else 0,
            "flags": message.flags,
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "components": [],
            "nonce": message.nonce,
        }

    def tell(self, news: dict[str, Any]) -> None:
        """Something changed."""
        for queue in self._listeners:
            queue.put_nowait(news)

    def listen(self) -> asyncio.Queue[dict[str, Any]]:
        """A queue of everything that changes from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.add(queue)
        return queue

    def unlisten(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """End a `listen`."""
        self._listeners.discard(queue)

    def fault_for(self, route: str) -> Fault | None:
        """The armed fault that strikes this call, using up one strike."""
        for fault in self.faults:
            if fault.route in route:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def _new_message(self, channel_id: str, interaction: Interaction | None, flags: int) -> Message:
        message = Message(
            id=self.new_id(),
            channel_id=channel_id,
            author=bot_user(),
            flags=flags,
            interaction_id=interaction.id if interaction else None,
            created_at=self.monotonic(),
        )
        self.messages[message.id] = message
        if interaction is not None:
            interaction.messages.append(message)
        return message

    def _attachments(
        self, message: Message, wanted: list[dict[str, Any]] | None, files: dict[str, tuple[str, bytes, str]]
    ) -> list[dict[str, Any]]:
        """As Discord: ``attachments`` names what stays by id; new files come under their index."""
        kept = {a["id"]: a for a in message.attachments}
        result = [kept[str(a["id"])] for a in wanted or () if str(a["id"]) in kept]
        for name, body, content_type in files.values():
            result.append(self.add_file(name, body, content_type))
        return result

    def add_file(self, name: str, body: bytes, content_type: str) -> dict[str, Any]:
        """Keep a file and describe it as an attachment."""
        file_id = self.new_id()
        self.files[file_id] = (body, content_type)
        url = f"{self.url}/attachments/{file_id}/{name}"
        return {
            "id": file_id,
            "filename": name,
            "size": len(body),
            "url": url,
            "proxy_url": url,
            "content_type": content_type,
        }


def channel_of(guild_id: str) -> str:
    """A server's one channel."""
    return str(int(guild_id) + 1)


def bot_user() -> dict[str, Any]:
    """The bot's own account."""
    return {"id": APPLICATION_ID, "username": "Distillery", "discriminator": "0", "avatar": None, "bot": True}


def user_view(user_id: str) -> dict[str, Any]:
    """A person's account."""
    name = USERS.get(user_id, f"user{user_id[-4:]}")
    return {
        "id": user_id,
        "username": name.lower(),
        "global_name": name,
        "discriminator": "0",
        "avatar": None,
    }


def _check_options(command: dict[str, Any], options: list[dict[str, Any]]) -> None:
    known = {option["name"]: option for option in command.get("options") or ()}
    given = {option["name"] for option in options}
    if unknown := given - set(known):
        raise Refusal(409, 0, f"/{command['name']} has no option {min(unknown)}; it has {', '.join(known)}.")
    missing = [name for name, option in known.items() if option.get("required") and name not in given]
    if missing:
        raise Refusal(409, 0, f"/{command['name']} needs the option {missing[0]}.")
