"""Slash commands of the loopback Discord: registrations, options and typed lines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from services.sandbox.discord.commands import Option, check_registration, typed_options
from services.sandbox.discord.composer import parse_line
from services.sandbox.discord.places import GUILDS
from services.sandbox.discord.refusal import Refusal
from services.sandbox.discord.registry import EVERYWHERE, CommandRegistry


def option(name: str, kind: int, **more: Any) -> dict[str, Any]:
    """An option's registration."""
    return {"name": name, "type": kind, "description": "What it is", **more}


def command(name: str, *options: dict[str, Any]) -> dict[str, Any]:
    """A command's registration."""
    return {"name": name, "description": "What it does", "options": list(options)}


SERVE = command(
    "serve",
    option("prompt", 3, required=True, min_length=1, max_length=20),
    option("model", 3, choices=[{"name": "SD 1.5", "value": "sd15"}]),
    option("images", 4, min_value=1, max_value=4),
    option("denoise", 10, min_value=0, max_value=1),
    option("seed", 4),
    option("raw", 5),
    option("friend", 6),
    option("image", 11),
)
COMMANDS = {"serve": SERVE, "help": command("help")}


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        ({"prompt": "a cat"}, [("prompt", 3, "a cat")]),
        ({"images": "3", "prompt": "x"}, [("prompt", 3, "x"), ("images", 4, 3)]),
        ({"prompt": "x", "model": "SD 1.5"}, [("prompt", 3, "x"), ("model", 3, "sd15")]),
        ({"prompt": "x", "model": "sd15"}, [("prompt", 3, "x"), ("model", 3, "sd15")]),
        ({"prompt": "x", "denoise": "0.5"}, [("prompt", 3, "x"), ("denoise", 10, 0.5)]),
        ({"prompt": "x", "raw": True}, [("prompt", 3, "x"), ("raw", 5, True)]),
        ({"prompt": "x", "raw": "False"}, [("prompt", 3, "x"), ("raw", 5, False)]),
        ({"prompt": "x", "friend": "<@42>"}, [("prompt", 3, "x"), ("friend", 6, "42")]),
    ],
)
def test_values_take_the_registered_type(values: dict[str, Any], sent: list[tuple[str, int, Any]]) -> None:
    """Options go out in the registration's order, with its type numbers and the choices' values."""
    assert typed_options(SERVE, values, {}) == tuple(Option(*each) for each in sent)


def test_a_file_is_sent_by_its_id() -> None:
    """An attachment's value is the id under which it is resolved."""
    assert typed_options(SERVE, {"prompt": "x"}, {"image": "77"})[-1] == Option("image", 11, "77")


@pytest.mark.parametrize(
    ("values", "files", "sentence"),
    [
        ({}, {}, "/serve needs the option prompt."),
        ({"prompt": ""}, {}, "The option prompt must have 1 to 20 characters, not 0."),
        ({"prompt": "x" * 21}, {}, "The option prompt must have 1 to 20 characters, not 21."),
        ({"prompt": "x", "model": "sdxl"}, {}, "The option model must be one of SD 1.5, not 'sdxl'."),
        ({"prompt": "x", "images": "0"}, {}, "The option images must be an integer from 1 to 4, not '0'."),
        (
            {"prompt": "x", "images": "2.5"},
            {},
            "The option images must be an integer from 1 to 4, not '2.5'.",
        ),
        (
            {"prompt": "x", "denoise": "nan"},
            {},
            "The option denoise must be a number from 0 to 1, not 'nan'.",
        ),
        (
            {"prompt": "x", "seed": 2**53 + 1},
            {},
            "The option seed must be an integer that is not so far from 0, not '9007199254740993'.",
        ),
        ({"prompt": "x", "raw": "yes"}, {}, "The option raw must be true or false, not 'yes'."),
        ({"prompt": "x", "friend": "Ada"}, {}, "The option friend must be an id or a mention, not 'Ada'."),
        ({"prompt": "x", "image": "a.png"}, {}, "The option image takes an attached file."),
        ({"prompt": "x"}, {"model": "77"}, "The option model takes no file."),
    ],
)
def test_what_the_registration_does_not_allow_is_refused(
    values: dict[str, Any], files: dict[str, str], sentence: str
) -> None:
    """Discord's client would not send it, so neither does the sandbox; the sentence names the option."""
    with pytest.raises(Refusal) as caught:
        typed_options(SERVE, values, files)
    assert (caught.value.status, str(caught.value)) == (409, sentence)


@pytest.mark.parametrize(
    ("commands", "place"),
    [
        ([command("Serve")], "0"),
        ([command("with space")], "0"),
        ([command("x" * 33)], "0"),
        ([command("a"), command("a")], "1"),
        ([{"name": "a", "description": ""}], "0"),
        ([{"name": "a", "description": "x" * 101}], "0"),
        ([command("a", *(option(f"o{n}", 3) for n in range(26)))], "0"),
        ([command("a", option("o", 3, choices=[{"name": str(n), "value": str(n)} for n in range(26)]))], "0"),
        ([command("a", option("b", 3), option("c", 3, required=True))], "0"),
        ([command("a", option("b", 3), option("b", 3))], "0"),
    ],
)
def test_a_registration_that_discord_refuses_is_refused(commands: list[dict[str, Any]], place: str) -> None:
    """Names, descriptions, counts and order of options follow Discord's limits; the place of the fault is told."""
    with pytest.raises(Refusal) as caught:
        check_registration(commands)
    assert (caught.value.status, caught.value.code) == (400, 50035)
    assert list(caught.value.errors or {}) == [place]


def test_a_refused_registration_changes_nothing() -> None:
    """All or nothing."""
    registry = CommandRegistry(map(str, itertools.count(1)).__next__)
    registry.overwrite(EVERYWHERE, [command("serve")])
    with pytest.raises(Refusal):
        registry.overwrite(EVERYWHERE, [command("Bad Name")])
    assert list(registry.in_guild(GUILDS[0])) == ["serve"]


def test_a_servers_own_command_hides_the_global_one() -> None:
    """A server has its own commands and the global ones, each name once."""
    registry = CommandRegistry(map(str, itertools.count(1)).__next__)
    registry.overwrite(EVERYWHERE, [command("serve"), command("help")])
    registry.overwrite(GUILDS[0], [command("serve", option("prompt", 3))])
    own, other = registry.in_guild(GUILDS[0]), registry.in_guild(GUILDS[1])
    assert (len(own["serve"]["options"]), len(other["serve"]["options"])) == (1, 0)
    assert set(own) == set(other) == {"serve", "help"}
    assert (own["serve"]["guild_id"], "guild_id" in other["serve"]) == (GUILDS[0], False)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("/serve a lighthouse at dusk --ar 16:9", {"prompt": "a lighthouse at dusk --ar 16:9"}),
        ("/serve a cat images:2", {"prompt": "a cat", "images": "2"}),
        ("/serve images:2 a cat", {"prompt": "a cat", "images": "2"}),
        ("/serve a cat images:2 on a mat", {"prompt": "a cat on a mat", "images": "2"}),
        ('/serve a cat model:"SD 1.5" raw:true', {"prompt": "a cat", "model": "SD 1.5", "raw": "true"}),
        ("/serve prompt: a cat images:2", {"prompt": "a cat", "images": "2"}),
        ("/serve unknown:2 http://x.test/images:2", {"prompt": "unknown:2 http://x.test/images:2"}),
        ("/serve two\nlines", {"prompt": "two\nlines"}),
        ("  /serve  a  cat  ", {"prompt": "a  cat"}),
        ("/serve", {}),
    ],
)
def test_a_typed_line_is_read_as_discord_would_send_it(line: str, values: dict[str, str]) -> None:
    """``name:value`` of a typed option is taken out wherever it stands; all else is the prompt, untouched."""
    assert parse_line(line, COMMANDS) == ("serve", values)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("hello", "Only slash commands work here; try /serve a lighthouse at dusk --ar 16:9."),
        ("/draw x", "There is no command /draw; the bot has /serve, /help."),
        ("/help me", "/help takes no text."),
        ("/serve images:1 images:2 x", "The option images is there twice; keep one of them."),
    ],
)
def test_a_line_that_is_no_command_is_refused(line: str, sentence: str) -> None:
    """The sentence says what would work."""
    with pytest.raises(Refusal) as caught:
        parse_line(line, COMMANDS)
    assert str(caught.value) == sentence
