"""Slash commands: what Discord accepts as a registration, and which options a user can send.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from services.sandbox.discord.refusal import Refusal, invalid_form, not_sent

_NAME = re.compile(r"[-_'\w]{1,32}")
_MOST_OPTIONS = _MOST_CHOICES = 25
_LONGEST_TEXT = 6000
_LARGEST_INTEGER = 2**53


class OptionType(IntEnum):
    """Discord's option types; subcommands (1 and 2) are not in the sandbox."""

    STRING = 3
    INTEGER = 4
    BOOLEAN = 5
    USER = 6
    CHANNEL = 7
    ROLE = 8
    MENTIONABLE = 9
    NUMBER = 10
    ATTACHMENT = 11


@dataclass(frozen=True, slots=True)
class Option:
    """One option as a user sends it; an attachment's value is the id of its file."""

    name: str
    type: int
    value: str | int | float | bool

    def view(self) -> dict[str, Any]:
        """As INTERACTION_CREATE has it."""
        return {"name": self.name, "type": self.type, "value": self.value}


def check_registration(commands: Iterable[Mapping[str, Any]]) -> None:
    """Refuse what Discord refuses.

    Raises:
        Refusal: 400/50035, naming the place.
    """
    seen: set[str] = set()
    for index, command in enumerate(commands):
        name = str(command.get("name", ""))
        if name in seen:
            raise invalid_form(
                f"{index}.name", "APPLICATION_COMMANDS_DUPLICATE_NAME", f"{name} is there twice"
            )
        seen.add(name)
        if command.get("type", 1) == 1:
            _check_texts(str(index), command)
            _check_options(str(index), command.get("options") or ())


def typed_options(
    command: Mapping[str, Any], values: Mapping[str, Any], files: Mapping[str, str]
) -> tuple[Option, ...]:
    """What a user sends, as the command's registration has it; ``files`` maps option names to file ids.

    Raises:
        Refusal: an option is unknown, missing, or not what the registration allows.
    """
    name = command["name"]
    known = {option["name"]: option for option in command.get("options") or ()}
    if unknown := [given for given in (*values, *files) if given not in known]:
        raise not_sent(f"/{name} has no option {unknown[0]}; it has {', '.join(known) or 'none'}.")
    options = []
    for option in known.values():
        if option["name"] in values or option["name"] in files:
            value = files.get(option["name"], values.get(option["name"]))
            options.append(_typed(option, value, is_file=option["name"] in files))
        elif option.get("required"):
            raise not_sent(f"/{name} needs the option {option['name']}.")
    return tuple(options)


def _check_texts(place: str, described: Mapping[str, Any]) -> None:
    name = str(described.get("name", ""))
    if not _NAME.fullmatch(name) or name != name.lower():
        raise invalid_form(f"{place}.name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    if not 1 <= len(str(described.get("description", ""))) <= 100:
        sentence = "Must be between 1 and 100 in length."
        raise invalid_form(f"{place}.description", "BASE_TYPE_BAD_LENGTH", sentence)


def _check_options(place: str, options: Iterable[Mapping[str, Any]]) -> None:
    optional_came = False
    names: set[str] = set()
    for index, option in enumerate(options):
        here = f"{place}.options.{index}"
        _check_texts(here, option)
        if index >= _MOST_OPTIONS or len(option.get("choices") or ()) > _MOST_CHOICES:
            raise invalid_form(here, "BASE_TYPE_MAX_LENGTH", "Must be 25 or fewer in length.")
        if option.get("required") and optional_came:
            sentence = "Required options must be placed before non-required options"
            raise invalid_form(here, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", sentence)
        if option["name"] in names:
            raise invalid_form(f"{here}.name", "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "is there twice")
        names.add(option["name"])
        optional_came = optional_came or not option.get("required")


def _typed(option: Mapping[str, Any], value: Any, *, is_file: bool) -> Option:
    kind = option["type"]
    if is_file != (kind == OptionType.ATTACHMENT):
        raise _bad(option, "takes an attached file" if kind == OptionType.ATTACHMENT else "takes no file")
    if option.get("choices") and not is_file:
        return Option(option["name"], kind, _choice(option, value))
    return Option(option["name"], kind, value if is_file else _value(option, value))


def _choice(option: Mapping[str, Any], value: Any) -> Any:
    for choice in option["choices"]:
        if str(value) in (str(choice["value"]), choice["name"]):
            return choice["value"]
    names = ", ".join(choice["name"] for choice in option["choices"])
    raise _bad(option, f"must be one of {names}", value)


def _value(option: Mapping[str, Any], value: Any) -> str | int | float | bool:
    match option["type"]:
        case OptionType.STRING:
            return _text(option, str(value))
        case OptionType.INTEGER:
            return int(_number(option, value, "an integer"))
        case OptionType.NUMBER:
            return _number(option, value, "a number")
        case OptionType.BOOLEAN:
            if str(value).lower() not in ("true", "false"):
                raise _bad(option, "must be true or false", value)
            return str(value).lower() == "true"
        case OptionType.USER | OptionType.CHANNEL | OptionType.ROLE | OptionType.MENTIONABLE:
            if not (digits := str(value).strip("<@!&#>")).isdigit():
                raise _bad(option, "must be an id or a mention", value)
            return digits
        case _:
            raise _bad(option, "is of a type that the sandbox does not have")


def _text(option: Mapping[str, Any], text: str) -> str:
    least, most = option.get("min_length", 0), option.get("max_length", _LONGEST_TEXT)
    if not least <= len(text) <= most:
        raise _bad(option, f"must have {least} to {most} characters, not {len(text)}")
    return text


def _number(option: Mapping[str, Any], value: Any, kind: str) -> float:
    least, most = option.get("min_value", -_LARGEST_INTEGER), option.get("max_value", _LARGEST_INTEGER)
    bounds = f" from {least:g} to {most:g}" if "min_value" in option and "max_value" in option else ""
    try:
        number = float(value) if kind == "a number" else int(str(value))
    except ValueError:
        raise _bad(option, f"must be {kind}{bounds}", value) from None
    if not least <= number <= most:
        raise _bad(option, f"must be {kind}{bounds or ' that is not so far from 0'}", value)
    return number


def _bad(option: Mapping[str, Any], sentence: str, value: Any = None) -> Refusal:
    shown = "" if value is None else f", not {str(value)[:60]!r}"
    return not_sent(f"The option {option['name']} {sentence}{shown}.")
