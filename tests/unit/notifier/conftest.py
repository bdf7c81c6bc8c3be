"""The notifier's world, new for each test."""

from __future__ import annotations

import pytest

from tests.unit.notifier.world import REQUEST, World


@pytest.fixture
def world() -> World:
    """A notifier, with the request answered at Discord and its images in the store."""
    world = World()
    world.discord.answer(f"token-{REQUEST}")
    world.store_images()
    return world
