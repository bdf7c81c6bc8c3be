"""The loopback Discord's rules over time, on a world without server or bot."""

from __future__ import annotations

import pytest

from services.sandbox.discord import Refusal, SandboxSettings, Upload
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.places import DIRECT, GUILDS, channel_of
from services.sandbox.discord.registry import EVERYWHERE
from services.sandbox.discord.settings import Limits
from services.sandbox.discord.world import DEFERRED, MESSAGE, World, stamp

ADA = "100000000000000001"


def world(**settings: int) -> World:
    """A world whose bot has registered ``/serve``."""
    made = World(SandboxSettings(**settings))  # type: ignore[arg-type]  # only whole numbers are given here
    prompt = {"name": "prompt", "type": 3, "description": "What to draw"}
    image = {"name": "image", "type": 11, "description": "What to start from"}
    serve = {"name": "serve", "description": "Draw", "options": [prompt, image]}
    made.commands.overwrite(EVERYWHERE, [serve])
    return made


def deferred(made: World) -> Interaction:
    """An interaction that was deferred."""
    interaction = made.submit(ADA, "serve", {"prompt": "x"})
    made.answer(interaction.id, interaction.token, DEFERRED, {}, {}, stamp())
    return interaction


def test_ids_grow_and_tell_their_time() -> None:
    """Snowflakes: later is larger, and the upper bits are milliseconds since 2015."""
    made = world()
    ids = [int(made.new_id()) for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert abs((ids[0] >> 22) / 1000 + 1_420_070_400 - stamp().epoch) < 1


@pytest.mark.parametrize(("user_id", "guild_id"), [("Ada", ""), ("", ""), (ADA, "123")])
def test_nobody_and_nowhere_are_refused(user_id: str, guild_id: str) -> None:
    """A user's id is a number, and a server one of the world's."""
    with pytest.raises(Refusal, match="There is no"):
        world().submit(user_id, "serve", {"prompt": "x"}, guild_id=guild_id)


def test_a_user_cannot_attach_more_than_the_limit() -> None:
    """Discord's client refuses it before the bot hears of it."""
    made = world()
    made.limits = Limits(file_limit=3)
    made.submit(ADA, "serve", {}, uploads={"image": Upload(filename="x", body=b"123")})
    with pytest.raises(Refusal, match="3 bytes at most"):
        made.submit(ADA, "serve", {}, uploads={"image": Upload(filename="x", body=b"1234")})


@pytest.mark.parametrize("seconds", [2.9, 3.0])
def test_three_seconds_decide_over_an_answer(seconds: float) -> None:
    """Before, it counts; from then on the interaction is unknown and its user was told so."""
    made = world()
    interaction = made.submit(ADA, "serve", {"prompt": "x"})
    made.advance(seconds)
    assert interaction.failed is (seconds >= 3)
    if seconds < 3:
        made.answer(interaction.id, interaction.token, DEFERRED, {}, {}, stamp())
        made.advance(60)
        assert interaction.failed is False
    else:
        with pytest.raises(Refusal) as caught:
            made.answer(interaction.id, interaction.token, DEFERRED, {}, {}, stamp())
        assert caught.value.code == 10062


@pytest.mark.parametrize(
    ("token", "code"), [("right", 40060), ("wrong", 10062)]
)  # fmt: skip
def test_a_second_answer_and_a_wrong_token_differ(token: str, code: int) -> None:
    """40060 only for who knows the token."""
    made = world()
    interaction = deferred(made)
    given = interaction.token if token == "right" else token
    with pytest.raises(Refusal) as caught:
        made.answer(interaction.id, given, MESSAGE, {"content": "x"}, {}, stamp())
    assert caught.value.code == code


def test_an_answer_that_is_refused_answers_nothing() -> None:
    """The bot may try again with something that Discord accepts."""
    made = world()
    interaction = made.submit(ADA, "serve", {"prompt": "x"})
    for payload in ({"content": "  "}, {"content": "x" * 2001}):
        with pytest.raises(Refusal):
            made.answer(interaction.id, interaction.token, MESSAGE, payload, {}, stamp())
    made.answer(interaction.id, interaction.token, MESSAGE, {"content": "x"}, {}, stamp())
    assert [message.content for message in interaction.messages] == ["x"]


def test_a_token_lives_for_fifteen_minutes() -> None:
    """From the interaction's creation, not from its answer."""
    made = world()
    interaction = deferred(made)
    made.advance(15 * 60 - 1)
    assert made.interaction_of(interaction.token) is interaction
    made.advance(1)
    with pytest.raises(Refusal) as caught:
        made.interaction_of(interaction.token)
    assert (caught.value.status, caught.value.code) == (401, 50027)


def test_an_edit_leaves_what_it_does_not_name() -> None:
    """Content stays when only embeds come; null empties; nothing left at all is refused."""
    made = world()
    interaction = deferred(made)
    message = made.webhook_message(interaction.token, "@original")
    made.edit(message, {"content": "text"}, {}, "edit", stamp())
    made.edit(message, {"embeds": [{"title": "t"}]}, {}, "edit", stamp())
    assert (message.content, message.embeds) == ("text", [{"title": "t"}])
    made.edit(message, {"content": None}, {}, "edit", stamp())
    assert message.content == ""
    with pytest.raises(Refusal) as caught:
        made.edit(message, {"embeds": []}, {}, "edit", stamp())
    assert caught.value.code == 50006
    assert message.embeds == [{"title": "t"}]


def test_a_private_answer_is_in_no_channel() -> None:
    """Only the token reaches it."""
    made = world()
    interaction = made.submit(ADA, "serve", {"prompt": "x"})
    answer = {"content": "psst", "flags": 64}
    message = made.answer(interaction.id, interaction.token, MESSAGE, answer, {}, stamp())
    assert made.webhook_message(interaction.token, message.id) is message
    with pytest.raises(Refusal) as caught:
        made.channel_message(message.channel_id, message.id)
    assert caught.value.code == 10008


@pytest.mark.parametrize("flags", [0, 64])
def test_a_deferral_decides_over_privacy(flags: int) -> None:
    """What fills it is seen by whom the deferral was for, whatever the edit says."""
    made = world()
    interaction = made.submit(ADA, "serve", {"prompt": "x"})
    message = made.answer(interaction.id, interaction.token, DEFERRED, {"flags": flags}, {}, stamp())
    made.edit(message, {"content": "x", "flags": 64 - flags}, {}, "edit", stamp())
    assert message.ephemeral is bool(flags)


def test_a_channel_message_is_never_private() -> None:
    """Only answers to interactions can be."""
    assert not world().post(channel_of(GUILDS[0]), {"content": "x", "flags": 64}, {}, stamp()).ephemeral


def test_a_deleted_message_stays_in_the_interactions_history() -> None:
    """Tests can see what a user saw before."""
    made = world()
    interaction = deferred(made)
    made.delete(made.webhook_message(interaction.token, "@original"))
    assert (len(interaction.messages), made.messages) == (1, {})


def test_a_direct_channel_can_be_posted_to() -> None:
    """The bot may answer by message where the command came from in private."""
    made = world()
    interaction = made.submit("555", "serve", {"prompt": "x"}, guild_id=DIRECT)
    assert interaction.channel_id == channel_of(DIRECT, "555")
    assert made.post(interaction.channel_id, {"content": "x"}, {}, stamp()).content == "x"


def test_the_oldest_interactions_are_forgotten_with_their_messages() -> None:
    """Memory does not grow for ever."""
    made = world(kept_interactions=2)
    interactions = [deferred(made) for _ in range(3)]
    assert list(made.interactions) == [interaction.id for interaction in interactions[1:]]
    assert len(made.messages) == 2
    with pytest.raises(Refusal) as caught:
        made.interaction_of(interactions[0].token)
    assert caught.value.code == 10015


def test_a_nonce_counts_in_its_channel_and_only_when_enforced() -> None:
    """Otherwise the same nonce posts again."""
    made = world()
    here, there = channel_of(GUILDS[0]), channel_of(GUILDS[1])
    payload = {"content": "x", "nonce": 7, "enforce_nonce": True}
    first = made.post(here, payload, {}, stamp())
    assert made.post(here, payload, {}, stamp()) is first
    assert made.post(there, payload, {}, stamp()) is not first
    assert made.post(here, payload | {"enforce_nonce": False}, {}, stamp()) is not first
    with pytest.raises(Refusal):
        made.post(here, payload | {"nonce": "x" * 26}, {}, stamp())
