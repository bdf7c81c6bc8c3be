"""A loopback Discord with a real discord.py bot, for the tests of either."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from services.sandbox.discord import DiscordSandbox, SandboxSettings
from tests.ports.discord_sandbox_bots import RealBot, loopback_discord, running


@pytest.fixture
def sandbox_settings() -> SandboxSettings:
    """How the loopback Discord behaves; a module may have its own."""
    return SandboxSettings()


@pytest.fixture
async def sandbox(
    monkeypatch: pytest.MonkeyPatch, sandbox_settings: SandboxSettings
) -> AsyncIterator[DiscordSandbox]:
    """A loopback Discord to which every client of this process is pointed."""
    async with loopback_discord(monkeypatch, sandbox_settings) as started:
        yield started


@pytest.fixture
async def bot(sandbox: DiscordSandbox) -> AsyncIterator[RealBot]:
    """A connected bot that defers."""
    async with running(sandbox, RealBot()) as started:
        yield started


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that is no bot."""
    async with aiohttp.ClientSession() as client:
        yield client
