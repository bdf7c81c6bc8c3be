"""The loopback worlds: a Discord with a real discord.py bot, and a ComfyUI with the real renderer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.sandbox.comfyui import SandboxSettings as ComfyUISettings
from services.sandbox.comfyui import serve_in_thread
from services.sandbox.comfyui.thread import SandboxThread
from services.sandbox.discord import DiscordSandbox, SandboxSettings
from tests.ports.comfyui_rooms import connect
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


@pytest.fixture
def comfyui() -> Iterator[SandboxThread]:
    """A quick loopback ComfyUI."""
    with serve_in_thread(ComfyUISettings(step_seconds=0.005, image_seconds=0.0)) as served:
        yield served


@pytest.fixture
def renderers() -> Iterator[list[ComfyUIRenderer]]:
    """Renderers to close at the end."""
    made: list[ComfyUIRenderer] = []
    yield made
    for renderer in made:
        renderer.close()


@pytest.fixture
def renderer(comfyui: SandboxThread, renderers: list[ComfyUIRenderer]) -> ComfyUIRenderer:
    """A renderer on the loopback ComfyUI."""
    return connect(comfyui, renderers)
