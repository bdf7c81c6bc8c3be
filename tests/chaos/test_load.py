"""The users of a run send the same for the same seed, and some of what they send is refused."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from services.sandbox.discord.places import GUILDS
from tests.chaos.load import orders


def test_the_same_seed_sends_the_same_commands() -> None:
    """Users, prompts and instants; another seed gives others."""
    assert orders(3, requests=50, users=7, seconds=10.0) == orders(3, requests=50, users=7, seconds=10.0)
    assert orders(3, requests=50, users=7, seconds=10.0) != orders(4, requests=50, users=7, seconds=10.0)


def test_commands_come_evenly_and_from_every_user_and_server() -> None:
    """So that every partition, shard and fault meets some."""
    sent = orders(1, requests=1000, users=20, seconds=100.0)
    gaps = {round(later.at - earlier.at, 6) for earlier, later in pairwise(sent)}
    assert gaps == {0.1}
    assert sent[-1].at < 100.0
    assert len({order.user_id for order in sent}) == 20
    assert {order.guild_id for order in sent} == set(GUILDS)


def test_a_user_stays_on_one_server() -> None:
    """A user's commands then have one shard and one partition, in whose order they are decided."""
    places = Counter(
        (order.user_id, order.guild_id) for order in orders(1, requests=500, users=30, seconds=1.0)
    )
    assert len(places) == 30


def test_some_commands_are_rejected_and_some_are_refused() -> None:
    """By the moderator's policy, and by the bot for a flag that it does not know."""
    prompts = [order.prompt for order in orders(1, requests=240, users=30, seconds=1.0)]
    assert sum(prompt.startswith("n u d e") for prompt in prompts) == 6
    assert sum("--sed " in prompt for prompt in prompts) == 2
