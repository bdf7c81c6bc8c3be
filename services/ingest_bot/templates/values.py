"""A user's text for one parameter, as a typed value with its canonical text.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from services.ingest_bot.command_line import nearest
from services.ingest_bot.refusals import CommandError, shown
from services.ingest_bot.templates.manifest import (
    MAX_SEED,
    ChoiceParameter,
    FlagParameter,
    FloatParameter,
    ImageParameter,
    IntParameter,
    Parameter,
    RatioParameter,
    Scalar,
    SeedParameter,
    TextParameter,
)
from services.ingest_bot.templates.ratios import nearest_ratio, parse_ratio

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,12}([.,][0-9]{0,12})?|[.,][0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class Value:
    """One parameter's value."""

    text: str  #: canonical; reading it again gives the same value
    value: Scalar
    note: str | None = None  #: a sentence where it is not quite what was asked for


def read_value(name: str, parameter: Parameter, written: str | None) -> Value:
    """The value that ``--name written`` gives ``parameter``.

    Raises:
        CommandError: it is missing, of another type, or out of range.
    """
    if isinstance(parameter, FlagParameter):
        if written is not None:
            raise CommandError(
                f"`--{name}` takes no value, but {shown(written)} follows it; put the prompt before the flags."
            )
        return Value("", True)
    if isinstance(parameter, ImageParameter):
        raise CommandError(f"`--{name}` takes no link; attach the image with the command's option {name}.")
    if written is None or (not written and not isinstance(parameter, TextParameter)):
        raise CommandError(f"`--{name}` needs a value after it: {expected(parameter)}.")
    if isinstance(parameter, TextParameter):
        return _text(name, parameter, written)
    return _of_type(name, parameter, written.rstrip(",; ").replace("−", "-"))


def default_value(parameter: Parameter) -> Value:
    """What holds where the user says nothing; a seed has no default of its own."""
    match parameter:
        case IntParameter() | FloatParameter():
            return Value(_plain(Decimal(str(parameter.default))), parameter.default)
        case TextParameter() | ChoiceParameter() | RatioParameter():
            return Value(parameter.default, parameter.default)
        case _:
            return Value("", False)


def expected(parameter: Parameter) -> str:
    """What a parameter takes, as it is put into refusals and the help."""
    match parameter:
        case IntParameter():
            return f"a whole number from {parameter.min} to {parameter.max}"
        case FloatParameter():
            low, high = (_plain(Decimal(str(bound))) for bound in (parameter.min, parameter.max))
            return f"a number from {low} to {high}"
        case ChoiceParameter():
            return "one of " + ", ".join(parameter.choices)
        case RatioParameter():
            return "width:height, such as 16:9"
        case SeedParameter():
            return f"a whole number from 0 to {MAX_SEED}"
        case TextParameter():
            return "text"
        case FlagParameter():
            return "nothing"
        case ImageParameter():
            return "an attached image"


def _of_type(name: str, parameter: Parameter, written: str) -> Value:
    match parameter:
        case IntParameter():
            whole = Decimal(_integer(name, parameter, written))
            return _snapped(name, parameter, whole, Decimal(parameter.step))
        case FloatParameter():
            if not _NUMBER.fullmatch(written):
                raise _wrong(name, parameter, written)
            number = Decimal(written.replace(",", "."))
            return _snapped(name, parameter, number, Decimal(str(parameter.step)))
        case SeedParameter():
            seed = _integer(name, parameter, written)
            if not 0 <= seed <= MAX_SEED:
                raise _wrong(name, parameter, written, "; leave it out for a random one")
            return Value(str(seed), seed)
        case ChoiceParameter():
            return _choice(name, parameter, written)
        case RatioParameter():
            return _ratio(name, parameter, written)
        case _:
            raise AssertionError(f"{parameter} was handled before")


def _text(name: str, parameter: TextParameter, written: str) -> Value:
    if len(written) > parameter.max_chars:
        what = "The prompt" if name == "prompt" else f"The text of `--{name}`"
        raise CommandError(
            f"{what} has {len(written)} characters, and at most {parameter.max_chars} are allowed; shorten it."
        )
    return Value(written, written)


def _integer(name: str, parameter: Parameter, written: str) -> int:
    if not _INTEGER.fullmatch(written):
        raise _wrong(name, parameter, written)
    return int(written)


def _snapped(name: str, parameter: IntParameter | FloatParameter, number: Decimal, step: Decimal) -> Value:
    if not Decimal(str(parameter.min)) <= number <= Decimal(str(parameter.max)):
        raise _wrong(name, parameter, _plain(number))
    near = (number / step).to_integral_value(ROUND_HALF_EVEN) * step
    note = None if near == number else f"{name} {_plain(number)} became {_plain(near)}"
    return Value(_plain(near), int(near) if isinstance(parameter, IntParameter) else float(near), note)


def _choice(name: str, parameter: ChoiceParameter, written: str) -> Value:
    by_folded = {choice.casefold(): choice for choice in parameter.choices}
    folded = written.casefold()
    if folded not in by_folded:
        meant = nearest(folded, by_folded)
        hint = f"; did you mean {by_folded[meant]}?" if meant else ""
        raise _wrong(name, parameter, written, hint)
    return Value(by_folded[folded], by_folded[folded])


def _ratio(name: str, parameter: RatioParameter, written: str) -> Value:
    parsed = parse_ratio(written)
    if parsed is None:
        raise _wrong(name, parameter, written, "; put the prompt before the flags")
    asked = ":".join(_plain(Decimal(str(side))) for side in parsed)
    near = asked if asked in parameter.sizes else nearest_ratio(*parsed, parameter.sizes)
    return Value(near, near, None if near == asked else f"ratio {asked} became {near}")


def _wrong(name: str, parameter: Parameter, written: str, hint: str = "") -> CommandError:
    end = "" if hint.endswith("?") else "."
    return CommandError(f"`--{name}` takes {expected(parameter)}, not {shown(written)}{hint}{end}")


def _plain(number: Decimal) -> str:
    """Without exponent and trailing zeros; ``-0`` is ``0``."""
    return format(number.normalize() + 0, "f")
