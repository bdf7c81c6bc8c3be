"""Fakes of the bot's ports: a user who is told things, a topic, a store, attachments."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta

from PIL import Image

from services.chassis.clock import system_clock
from services.chassis.metrics import Metrics
from services.contracts.events import GenerationRequested, ReplyTo
from services.ingest_bot.agents import Intake
from services.ingest_bot.decide import Command
from services.ingest_bot.images import too_large
from services.ingest_bot.policy import Policy
from services.ingest_bot.refusals import CommandError
from services.ingest_bot.templates.load import load_catalogue

CATALOGUE = load_catalogue()


def picture(format: str = "PNG", size: tuple[int, int] = (64, 32)) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, format)
    return buffer.getvalue()


class FakeConversation:
    """Remembers what its user was told, in order, as ``(how, text)``."""

    def __init__(self, request_id: str = "9") -> None:
        self.request_id = request_id
        self.told: list[tuple[str, str]] = []
        self.heard = asyncio.Event()

    def reply_to(self) -> ReplyTo:
        """Somewhere."""
        expires_at = system_clock() + timedelta(minutes=15)
        return ReplyTo(
            user_id="1",
            channel_id="2",
            application_id="3",
            interaction_token="token",
            token_expires_at=expires_at,
        )

    async def refuse(self, text: str) -> None:
        """Alone, or as an edit."""
        self._tell("edit" if self.told else "private", text)

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


class FakeTopic:
    """A sink that remembers; ``open`` lets sends through, ``error`` fails them."""

    def __init__(self) -> None:
        self.sent: list[GenerationRequested] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def __call__(self, request: GenerationRequested) -> None:
        """Send."""
        await self.open.wait()
        if self.error:
            raise self.error
        self.sent.append(request)


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
    """An intake between the fakes."""

    def __init__(self, *, policy: Policy | None = None, hold_seconds: float = 60.0) -> None:
        self.topic = FakeTopic()
        self.store = FakeStore()
        self.metrics = Metrics("ingest_bot")
        self.intake = Intake(
            CATALOGUE,
            policy or Policy(),
            self.topic,
            self.store,
            self.metrics,
            system_clock,
            hold_seconds=hold_seconds,
        )

    async def serve(self, prompt: str, *attached: FakeAttachment) -> FakeConversation:
        """Send a command and wait for its end."""
        talk = FakeConversation()
        await self.intake.take(serve(prompt), talk, attached)
        return talk

    def counted(self, outcome: str) -> float:
        """How many commands ended so."""
        labels = {"stage": "ingest_bot", "command": "serve", "outcome": outcome}
        return self.metrics.registry.get_sample_value("distillery_commands_total", labels) or 0.0


def serve(prompt: str) -> Command:
    """A ``/serve``."""
    return Command(name="serve", prompt=prompt, options={}, images={})
