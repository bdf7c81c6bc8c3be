"""What a workflow's ``manifest.yaml`` says: its parameters, and the places of the graph that each writes to.

A place is ``"<node id>.<input name>"``.  `read_manifest` checks the shape; ``check`` then holds manifest and
graph together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from services.ingest_bot.templates.problems import MANIFEST, Problem

Place: TypeAlias = str
Scalar: TypeAlias = str | int | float | bool

PROMPT = "prompt"  #: the parameter that the words before the first flag go to
MODEL = "model"  #: the choice that also chooses among workflows
NEGATIVE = "neg"  #: the text that the event carries as the negative prompt
IMAGES = "images"  #: the parameter that says how many to draw
SEED = "seed"
WORKFLOW = "workflow"  #: the flag that names a workflow; never a parameter

MOST_IMAGES = 16
#: A batch counts upwards from its seed, and ComfyUI and an Avro long both hold it.
MAX_SEED = 2**63 - 1 - MOST_IMAGES


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Append(_Strict, frozen=True, kw_only=True):
    """Words added behind a user's text, ``unless`` a flag of that name is given."""

    text: str
    unless: str = ""


class _Parameter(_Strict, frozen=True, kw_only=True, tag_field="type"):
    #: A few words, shown in the help and beside the slash command's option, where Discord takes 100 characters.
    help: Annotated[str, Meta(min_length=1, max_length=100)]


class _Bound(_Parameter, frozen=True, kw_only=True):
    bind: tuple[Place, ...] = ()


class TextParameter(_Bound, frozen=True, kw_only=True, tag="text"):
    """Words of the user's."""

    default: str = ""
    max_chars: Annotated[int, Meta(ge=1, le=10_000)] = 2000
    append: tuple[Append, ...] = ()


class IntParameter(_Bound, frozen=True, kw_only=True, tag="int"):
    """A whole number, snapped to ``step``."""

    default: int
    min: int
    max: int
    step: Annotated[int, Meta(ge=1)] = 1


class FloatParameter(_Bound, frozen=True, kw_only=True, tag="float"):
    """A number, snapped to ``step``."""

    default: float
    min: float
    max: float
    step: Annotated[float, Meta(gt=0)] = 0.01


class ChoiceParameter(_Bound, frozen=True, kw_only=True, tag="choice"):
    """One of some words.  Each means one value for ``bind``, or a value for each of several places."""

    default: str
    choices: Annotated[dict[str, Scalar | dict[Place, Scalar]], Meta(min_length=1)]
    loads: Annotated[str, Meta(pattern="^(checkpoint|lora)?$")] = ""  #: what kind of file the values name

    def writes(self, choice: str) -> Mapping[Place, Scalar]:
        """What the choice puts where."""
        meant = self.choices[choice]
        return meant if isinstance(meant, dict) else dict.fromkeys(self.bind, meant)

    def files(self, choice: str) -> list[str]:
        """The model files that the choice names, where the parameter loads any."""
        values = self.writes(choice).values() if self.loads else ()
        return [value for value in values if isinstance(value, str)]


class RatioParameter(_Parameter, frozen=True, kw_only=True, tag="ratio"):
    """An aspect ratio, snapped to the nearest of ``sizes``; by default that of the image it ``follows``."""

    default: str
    sizes: Annotated[dict[str, tuple[int, int]], Meta(min_length=1)]  #: width and height in pixels
    width: tuple[Place, ...]
    height: tuple[Place, ...]
    follows: str = ""


class FlagParameter(_Bound, frozen=True, kw_only=True, tag="flag"):
    """On when given."""

    on: Scalar = True
    off: Scalar = False


class ImageParameter(_Bound, frozen=True, kw_only=True, tag="image"):
    """An attachment; the worker uploads it and writes its name."""


class SeedParameter(_Bound, frozen=True, kw_only=True, tag="seed"):
    """The start of the noise, given or drawn; the worker writes it."""


Parameter = (
    TextParameter
    | IntParameter
    | FloatParameter
    | ChoiceParameter
    | RatioParameter
    | FlagParameter
    | ImageParameter
    | SeedParameter
)


class Runtime(_Strict, frozen=True, kw_only=True):
    """Places that only the worker can fill."""

    filename_prefix: Annotated[tuple[Place, ...], Meta(min_length=1)]
    batch_size: tuple[Place, ...] = ()


class _Declared(_Strict, frozen=True, kw_only=True):
    title: str
    help: str  #: one sentence
    runtime: Runtime
    default: bool = False  #: taken where several workflows fit a command
    checkpoints: tuple[str, ...] = ()  #: files that it needs whatever is chosen
    loras: tuple[str, ...] = ()


class _Raw(_Declared, frozen=True, kw_only=True):
    """The parameters untyped, so that a fault in one is told under its name."""

    parameters: dict[str, Any]


class Manifest(_Declared, frozen=True, kw_only=True):
    """One workflow's declaration."""

    parameters: dict[str, Parameter]  #: in the order of the canonical command


def read_manifest(raw: Any) -> Manifest | list[Problem]:
    """The manifest, or what is wrong with its shape."""
    try:
        head = msgspec.convert(raw, _Raw)
    except msgspec.ValidationError as error:
        return [_problem(error, "")]
    parameters: dict[str, Parameter] = {}
    problems: list[Problem] = []
    for name, fields in head.parameters.items():
        try:
            parameters[name] = msgspec.convert(fields, Parameter)
        except msgspec.ValidationError as error:
            problems.append(_problem(error, f"parameters.{name}"))
    return problems or Manifest(**{**msgspec.structs.asdict(head), "parameters": parameters})


def _problem(error: msgspec.ValidationError, base: str) -> Problem:
    reason, _, path = str(error).partition(" - at ")
    within = path.rpartition("$")[2].strip("`").lstrip(".")
    if path.startswith("`key`") and "got `int`" in reason:
        reason += '; quote what YAML takes for a number, as in "16:9"'
    field = ".".join(part for part in (base, within) if part)
    return Problem(MANIFEST, field, reason[:1].lower() + reason[1:])
