"""Fakes of the bot's ports: a user who is told things, a topic, a store, attachments."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta
from typing import Any, Generic, TypeVar

from PIL import Image

from services.chassis.clock import system_clock
from services.chassis.metrics import Metrics
from services.contracts.events import CancellationRequested, GenerationRequested, ReplyTo
from services.ingest_bot.agents import Intake
from services.ingest_bot.decide import Command
from services.ingest_bot.images import too_large
from services.ingest_bot.in_hand import InHand
from services.ingest_bot.policy import Policy
from services.ingest_bot.recall import Recall
from services.ingest_bot.recent import RecentRequests
from services.ingest_bot.refusals import CommandError
from services.ingest_bot.templates.load import load_catalogue

CATALOGUE = load_catalogue()
E = TypeVar("E")


def picture(format: str = "PNG", size: tuple[int, int] = (64, 32)) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format)
    return buffer.getvalue()


class FakeConversation:
    """Remembers what its user was told, in order, as ``(how, text)``."""

    def __init__(self, request_id: str = "9", user_id: str = "1", roles: tuple[str, ...] = ()) -> None:
        self.request_id = request_id
        self.told: list[tuple[str, str]] = []
        self.user_id = user_id
        self.roles = roles
        self.thinking = False
        self.heard = asyncio.Event()

    def reply_to(self) -> ReplyTo:
        """Somewhere."""
        expires_at = system_clock() + timedelta(minutes=15)
        return ReplyTo(
            user_id=self.user_id,
            channel_id="2",
            application_id="3",
            interaction_token=f"token-{self.request_id}",
            token_expires_at=expires_at,
        )

    def role_ids(self) -> tuple[str, ...]:
        """As the test says."""
        return self.roles

    async def tell(self, text: str) -> None:
        """Alone, or as an edit."""
        self._tell("edit" if self.told else "private", text)

    async def think(self) -> None:
        """Once, if nothing was said."""
        self.thinking = self.thinking or not self.told
        self.heard.set()

    async def hold(self, text: str) -> None:
        """Once."""
        if not self.told:
            self._tell("hold", text)

    async def acknowledge(self, text: str) -> None:
        """Once."""
        if not self.told:
            self._tell("queued", text)

    def _tell(self, how: str, text: str) -> None:
        self.told.append((how, text))
        self.heard.set()


class FakeAttachment:
    """A file that Discord describes truly, unless told otherwise."""

    def __init__(
        self,
        data: bytes,
        *,
        parameter: str = "image",
        declared_size: tuple[int, int] = (64, 32),
        error: CommandError | None = None,
    ) -> None:
        self.parameter = parameter
        self.declared_size = declared_size
        self.reads = 0
        self._data = data
        self._error = error

    async def read(self, limit: int) -> bytes:
        """Its bytes, its error, or too large."""
        self.reads += 1
        if self._error:
            raise self._error
        if len(self._data) > limit:
            raise too_large(limit)
        return self._data


class FakeTopic(Generic[E]):
    """A sink that remembers; ``open`` lets sends through, ``error`` fails them."""

    def __init__(self) -> None:
        self.sent: list[E] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def __call__(self, event: E, /) -> None:
        """Send."""
        await self.open.wait()
        if self.error:
            raise self.error
        self.sent.append(event)


class FakeMessages:
    """Messages that have their button, but for those of ``ended`` requests."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.looks: list[str] = []

    async def is_open(self, reply_to: ReplyTo) -> bool:
        """By the token, which the fake conversation names after the request."""
        request_id = reply_to.interaction_token.removeprefix("token-")
        self.looks.append(request_id)
        return request_id not in self.ended


class FakeStore:
    """An input store that remembers."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, str]] = {}
        self.error: Exception | None = None

    async def __call__(self, key: str, data: bytes, content_type: str) -> None:
        """Store."""
        if self.error:
            raise self.error
        self.kept[key] = (data, content_type)


class World:
    """An intake and a recall between the fakes."""

    def __init__(self, *, policy: Policy | None = None, hold_seconds: float = 60.0) -> None:
        self.policy = policy or Policy()
        self.topic = FakeTopic[GenerationRequested]()
        self.cancellations = FakeTopic[CancellationRequested]()
        self.messages = FakeMessages()
        self.store = FakeStore()
        self.metrics = Metrics("ingest_bot")
        self.recent = RecentRequests()
        self.in_hand = InHand()
        self.now = system_clock()
        self.intake = Intake(
            CATALOGUE,
            self.policy,
            self.topic,
            self.store,
            self.metrics,
            system_clock,
            self.recent,
            self.in_hand,
            hold_seconds=hold_seconds,
        )
        self.recall = Recall(
            self.cancellations,
            self.messages,
            self.recent,
            self.in_hand,
            self.policy,
            self.metrics,
            lambda: self.now,
            hold_seconds=hold_seconds,
        )

    async def serve(self, prompt: str, *attached: FakeAttachment, **talk: Any) -> FakeConversation:
        """Send a command and wait for its end."""
        talking = FakeConversation(**talk)
        await self.intake.take(serve(prompt), talking, attached)
        return talking

    def counted(self, outcome: str, command: str = "serve") -> float:
        """How many commands ended so."""
        labels = {"stage": "ingest_bot", "command": command, "outcome": outcome}
        return self.metrics.registry.get_sample_value("distillery_commands_total", labels) or 0.0


def serve(prompt: str) -> Command:
    """A ``/serve``."""
    return Command(name="serve", prompt=prompt, options={}, images={})
