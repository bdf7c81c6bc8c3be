"""A typed line such as ``/serve a lighthouse --ar 16:9 images:2`` as a command and its options.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.sandbox.discord.commands import OptionType
from services.sandbox.discord.refusal import not_sent

_LINE = re.compile(r"/([-_'\w]+)(?:\s+(.*))?", re.DOTALL)


def parse_line(line: str, commands: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """The command's name and its options as text: ``name:value`` or ``name:"two words"`` sets a typed option.

    All other words are the free text: they go to the option ``prompt``, else to the first text option.

    Raises:
        Refusal: no command, one that is not registered, or words that it has no place for.
    """
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise not_sent("Only slash commands work here; try /serve a lighthouse at dusk --ar 16:9.")
    name, rest = match[1], match[2] or ""
    if name not in commands:
        names = ", ".join(f"/{known}" for known in commands) or "none yet"
        raise not_sent(f"There is no command /{name}; the bot has {names}.")
    options = commands[name].get("options") or ()
    free = free_option(options)
    typed = [option["name"] for option in options if option["name"] != free]
    values, text = _split(rest, typed, free)
    if text and free is None:
        raise not_sent(f"/{name} takes no text.")
    return name, ({free: text} if free and text else {}) | values


def free_option(options: Any) -> str | None:
    """The option that takes whatever is typed: ``prompt``, else the first text option, else none."""
    texts = [option["name"] for option in options if option["type"] == OptionType.STRING]
    return "prompt" if "prompt" in texts else next(iter(texts), None)


def _split(rest: str, typed: list[str], free: str | None) -> tuple[dict[str, str], str]:
    values: dict[str, str] = {}

    def take(match: re.Match[str]) -> str:
        if match[1] in values:
            raise not_sent(f"The option {match[1]} is there twice; keep one of them.")
        values[match[1]] = match[2].strip('"')
        return "\0"

    if typed:
        names = "|".join(re.escape(name) for name in sorted(typed, key=len, reverse=True))
        rest = re.sub(rf'(?<!\S)({names}):("[^"]*"|\S+)(?!\S)', take, rest)
    pieces = [piece.strip() for piece in rest.split("\0")]
    text = " ".join(piece for piece in pieces if piece)
    # A person who names the free option too, as Discord shows it.
    return values, text.removeprefix(f"{free}:").strip()
