"""The slash commands: their options made from the workflows' manifests, and their registration with Discord."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import discord
from discord import app_commands

from services.chassis.logs import get_logger
from services.ingest_bot.adapters.conversation import Interaction
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.manifest import (
    PROMPT,
    ChoiceParameter,
    FlagParameter,
    FloatParameter,
    ImageParameter,
    IntParameter,
    Parameter,
    RatioParameter,
    SeedParameter,
    TextParameter,
)

log = get_logger()

SERVE = "serve"
SERVE_HELP = "serve-help"
#: Discord's limits: options of a command, choices of an option, characters of a text option.
_MOST_OPTIONS = 25
_MOST_CHOICES = 25
_MOST_CHARS = 6000

Handler = Callable[[Interaction, str, Mapping[str, Any]], Awaitable[None]]


def serve_command(catalogue: Catalogue, handle: Handler) -> app_commands.Command[Any, ..., None]:
    """``/serve`` with the prompt and an option for every parameter of some workflow, up to Discord's limit.

    ``handle`` gets the interaction, the prompt, and what was given by parameter.
    """
    parameters = {name: found for name, found in catalogue.parameters().items() if name != PROMPT}
    offered = dict(list(parameters.items())[: _MOST_OPTIONS - 1])
    arguments = {_argument(name): name for name in offered}

    async def serve(interaction: Interaction, prompt: str, **given: Any) -> None:
        values = {arguments[name]: value for name, value in given.items() if value is not None}
        await handle(interaction, prompt, values)

    # discord.py reads a command's options off its callback's signature.
    serve.__signature__ = _signature(offered)  # type: ignore[attr-defined]  # functions take attributes
    descriptions = {_argument(name): found[0].help for name, found in offered.items()}
    app_commands.describe(prompt="What to draw; may hold flags, such as --ar 16:9", **descriptions)(serve)
    app_commands.rename(**{argument: name for argument, name in arguments.items() if argument != name})(serve)
    choices = {_argument(name): found for name, p in offered.items() if (found := _choices(p))}
    app_commands.choices(**choices)(serve)
    return app_commands.Command(name=SERVE, description="Draw images from words", callback=serve)


def text_of(value: object) -> str | None:
    """A typed option's value as the text of a flag; none for a flag without one."""
    if value is True:
        return None
    return f"{value:.12g}" if isinstance(value, float) else str(value)


async def register(
    tree: app_commands.CommandTree[Any], guild: discord.Object | None, *, even_if_equal: bool
) -> None:
    """Make Discord's commands those of ``tree``; by default only where they differ.

    Discord replaces all commands at once, and limits how many it creates in a day.
    """
    if guild is not None:
        tree.copy_global_to(guild=guild)
    wanted = [command.to_dict(tree) for command in tree.get_commands(guild=guild)]
    if not even_if_equal and await _registered(tree, guild, wanted):
        log.info("commands_kept", commands=len(wanted))
        return
    synced = await tree.sync(guild=guild)
    log.info("commands_synced", commands=len(synced))


async def _registered(
    tree: app_commands.CommandTree[Any], guild: discord.Object | None, wanted: list[dict[str, Any]]
) -> bool:
    http, application_id = tree.client.http, tree.client.application_id
    assert application_id is not None, "the client has logged in"
    try:
        if guild is None:
            found: list[Any] = await http.get_global_commands(application_id)
        else:
            found = await http.get_guild_commands(application_id, guild.id)
    except discord.HTTPException as error:
        log.warning("commands_unreadable", status=error.status)
        return False
    by_name = {command.get("name"): command for command in found}
    return len(found) == len(wanted) and all(_says(by_name.get(w["name"]), w) for w in wanted)


def _says(found: Any, wanted: Any) -> bool:
    """Whether what Discord keeps holds all that we send; it leaves out what is empty and adds fields of its own."""
    if wanted is None:  # discord.py's word for Discord's own default, which Discord spells out
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(_says(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and wanted:
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(_says(f, w) for f, w in zip(found, wanted, strict=True))
    return found == wanted or (not found and not wanted)


def _signature(offered: Mapping[str, list[Parameter]]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    prompt: Any = app_commands.Range[str, 1, _MOST_CHARS]
    options = [
        inspect.Parameter(_argument(name), kind, default=None, annotation=_annotation(found) | None)
        for name, found in offered.items()
    ]
    return inspect.Signature(
        [
            inspect.Parameter("interaction", kind, annotation=discord.Interaction),
            inspect.Parameter("prompt", kind, annotation=prompt),
            *options,
        ]
    )


def _annotation(found: list[Parameter]) -> Any:
    """The widest of what the workflows take; the chosen one's own limits are checked later."""
    match found[0]:
        case IntParameter():
            ints = [p for p in found if isinstance(p, IntParameter)]
            return app_commands.Range[int, min(p.min for p in ints), max(p.max for p in ints)]
        case FloatParameter():
            floats = [p for p in found if isinstance(p, FloatParameter)]
            return app_commands.Range[float, min(p.min for p in floats), max(p.max for p in floats)]
        case TextParameter():
            longest = max(p.max_chars for p in found if isinstance(p, TextParameter))
            return app_commands.Range[str, 1, min(longest, _MOST_CHARS)]
        case FlagParameter():
            return bool
        case ImageParameter():
            return discord.Attachment
        case SeedParameter() | ChoiceParameter() | RatioParameter():
            return str  # a seed may have 63 bits, and Discord's whole numbers have 53


def _choices(found: list[Parameter]) -> list[app_commands.Choice[str]]:
    words: dict[str, None] = {}
    for parameter in found:
        if isinstance(parameter, ChoiceParameter):
            words.update(dict.fromkeys(parameter.choices))
        elif isinstance(parameter, RatioParameter):
            words.update(dict.fromkeys(parameter.sizes))
    fits = len(words) <= _MOST_CHOICES  # else it is typed freely
    return [app_commands.Choice(name=word, value=word) for word in words] if fits else []


def _argument(name: str) -> str:
    return name.replace("-", "_")
