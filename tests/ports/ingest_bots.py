"""The real bot on discord.py, connected to a loopback Discord, between fakes of its other ports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from services.chassis.clock import system_clock
from services.chassis.health import Health
from services.chassis.metrics import Metrics
from services.chassis.settings import load
from services.contracts.events import CancellationRequested, GenerationRequested
from services.ingest_bot.adapters.discord_bot import Bot
from services.ingest_bot.adapters.open_messages import OriginalMessages
from services.ingest_bot.agents import Intake
from services.ingest_bot.in_hand import InHand
from services.ingest_bot.recall import Recall
from services.ingest_bot.recent import RecentRequests
from services.ingest_bot.settings import IngestSettings
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.load import load_catalogue
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.messages import Message
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import BOT_TOKEN
from tests.harness.waiting import eventually_async

CATALOGUE = load_catalogue()
USER = "100000000000000001"


class RememberingHealth(Health):
    """Keeps every reason not to be ready; its main loop never counts as stale."""

    def __init__(self) -> None:
        super().__init__(monotonic=lambda: 0.0)
        self.reasons: list[str] = []

    def not_ready(self, why: str) -> None:
        """Remember it."""
        self.reasons.append(why)
        super().not_ready(why)


class RunningBot:
    """A bot, what it sent and stored, and its health; ``gate`` holds sends back, ``error`` fails them."""

    def __init__(
        self, discord: DiscordSandbox, env: Mapping[str, str], catalogue: Catalogue, hold_seconds: float
    ) -> None:
        self.discord = discord
        self.sent: list[GenerationRequested] = []
        self.cancelled: list[CancellationRequested] = []
        self.sends: asyncio.Queue[float] = asyncio.Queue()
        self.stored: dict[str, tuple[bytes, str]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.health = RememberingHealth()
        self.metrics = Metrics("ingest_bot")
        settings = load(
            IngestSettings,
            {
                "DISCORD_TOKEN": BOT_TOKEN,
                **env,
                # One that is not started yet has no address of its own.
                "DISCORD_API_BASE_URL": env.get("DISCORD_API_BASE_URL") or discord.api_base_url,
            },
        )
        self._build(settings, catalogue, hold_seconds)
        self.bot = Bot(self.intake, self.recall, catalogue, settings, self.metrics, self.health)

    def _build(self, settings: IngestSettings, catalogue: Catalogue, hold_seconds: float) -> None:
        policy, recent, metrics = settings.policy(), RecentRequests(), self.metrics
        self.in_hand, self.messages = InHand(), OriginalMessages()
        self.intake = Intake(
            catalogue, policy, self._send, self._store, metrics, system_clock, recent, self.in_hand,
            hold_seconds=hold_seconds,
        )  # fmt: skip
        self.recall = Recall(
            self._cancel, self.messages, recent, self.in_hand, policy, metrics, system_clock,
            hold_seconds=hold_seconds,
        )  # fmt: skip

    async def serve(self, prompt: str, **more: Any) -> Interaction:
        """Send ``/serve`` as a user and wait until it is answered."""
        return await self.send("serve", {"prompt": prompt, **more.pop("options", {})}, **more)

    async def send(self, command: str, options: Mapping[str, Any], **more: Any) -> Interaction:
        """Send a command as a user and wait until it is answered, or Discord gave up."""
        interaction_id = await self.discord.submit(USER, command, options, **more)
        interaction = self.discord.world.interactions[interaction_id]
        await self.discord.wait_for(lambda world: interaction.original or interaction.failed)
        return interaction

    async def press(self, user: str, message: Message) -> Interaction:
        """Press the button of a message as a user and wait until that is answered."""
        [[button]] = [row["components"] for row in message.components]
        interaction_id = await self.discord.press(user, message.id, button["custom_id"])
        interaction = self.discord.world.interactions[interaction_id]
        await self.discord.wait_for(lambda world: interaction.original or interaction.failed)
        return interaction

    async def ready(self) -> None:
        """Wait until it is ready."""
        await eventually_async(lambda: self.health.readiness() is None)

    async def next_send(self) -> float:
        """Wait for the next send; returns its instant on ``time.perf_counter``."""
        return await self.sends.get()

    def calls(self, call: str, status: str) -> float:
        """How many calls to Discord it counted."""
        labels = {"stage": "ingest_bot", "call": call, "status": status}
        return self.metrics.registry.get_sample_value("distillery_discord_calls_total", labels) or 0.0

    async def _send(self, request: GenerationRequested) -> None:
        await self.gate.wait()
        if self.error:
            raise self.error
        self.sent.append(request)
        self.sends.put_nowait(time.perf_counter())

    async def _cancel(self, cancellation: CancellationRequested) -> None:
        await self.gate.wait()
        if self.error:
            raise self.error
        self.cancelled.append(cancellation)

    async def _store(self, key: str, data: bytes, content_type: str) -> None:
        self.stored[key] = (data, content_type)


@asynccontextmanager
async def running(
    discord: DiscordSandbox,
    env: Mapping[str, str] | None = None,
    *,
    catalogue: Catalogue = CATALOGUE,
    hold_seconds: float = 2.0,
    meanwhile: Callable[[RunningBot], Awaitable[None]] | None = None,
) -> AsyncIterator[RunningBot]:
    """A bot that is connected, and closed in the end; ``meanwhile`` happens while it is not connected yet."""
    bot = RunningBot(discord, env or {}, catalogue, hold_seconds)
    task = asyncio.create_task(bot.bot.run_until_closed())
    try:
        if meanwhile is not None:
            await meanwhile(bot)
        ready = asyncio.create_task(bot.ready())
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            ready.cancel()
            task.result()
        await ready
        yield bot
    finally:
        bot.gate.set()
        await bot.bot.close()
        await bot.messages.close()
        await asyncio.wait({task})


def answer_to(interaction: Interaction) -> Message:
    """The original response."""
    assert interaction.original is not None, "Discord told the user that the application did not respond"
    return interaction.original
