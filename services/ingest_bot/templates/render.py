"""From flags to a graph: every value checked against its parameter, then written to its places and nowhere else.  Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.ingest_bot.command_line import Flag, nearest
from services.ingest_bot.refusals import CommandError, shown
from services.ingest_bot.templates.manifest import (
    AnyParameter,
    Choice,
    Float,
    Image,
    Images,
    Int,
    Ratio,
    Seed,
    Switch,
    Text,
    Workflow,
)

MAX_SEED = 2**63 - 1 - 64  #: a batch counts upwards from the seed


@dataclass(slots=True, kw_only=True)
class Rendered:
    """A workflow with a user's values in it."""

    graph: str  #: JSON text
    bindings: dict[str, list[str]]  #: what the worker binds at run time
    parameters: dict[str, str]  #: canonical values by name, the prompt left out
    given: list[Flag]  #: canonical flags that differ from their defaults, in the manifest's order
    seed: int
    images: int
    negative_prompt: str
    checkpoints: list[str]
    notes: list[str] = field(default_factory=list)


def render(workflow: Workflow, prompt: str, flags: Mapping[str, str | None], *, random_seed: int) -> Rendered:
    """Bind ``prompt`` and ``flags`` into the workflow's graph.

    Args:
        flags: value by flag name, none for a flag without a value; only names that the workflow has.
        random_seed: the seed where none is given.

    Raises:
        CommandError: a value is missing, malformed or out of range; the sentence names the flag and the range.
    """
    manifest = workflow.manifest
    raw = "raw" in flags
    rendered = Rendered(
        graph="", bindings={"filename_prefix": list(manifest.filename_prefix)}, parameters={}, given=[],
        seed=random_seed, images=1, negative_prompt="", checkpoints=list(manifest.checkpoints),
    )  # fmt: skip
    writes: dict[str, Any] = {}
    for name, parameter in manifest.parameters.items():
        text = prompt if name == "prompt" else flags.get(name)
        _apply(rendered, writes, name, parameter, text, given=name in flags, raw=raw)
    rendered.graph = json.dumps(_written(workflow.graph, writes), ensure_ascii=False, separators=(",", ":"))
    return rendered


def _apply(
    out: Rendered,
    writes: dict[str, Any],
    name: str,
    parameter: AnyParameter,
    text: str | None,
    *,
    given: bool,
    raw: bool,
) -> None:
    if given and text is None and not isinstance(parameter, Switch | Image):
        raise CommandError(f"`--{name}` needs a value: {parameter.help}.")
    canonical: str | None = None
    match parameter:
        case Text():
            canonical = _text(out, writes, name, parameter, text, raw=raw)
        case Float() | Int():
            number = _number(name, parameter, text)
            _write(writes, parameter.bind, number)
            canonical = f"{number:g}" if isinstance(number, float) else str(number)
        case Choice():
            canonical = _choice(out, writes, name, parameter, text)
        case Ratio():
            canonical = _ratio(out, writes, name, parameter, text)
        case Seed():
            out.seed = out.seed if text is None else _seed(text)
            out.bindings["seed"] = list(parameter.bind)
            canonical = str(out.seed)
        case Images():
            count = _images(name, parameter, text)
            out.images, canonical = count, str(count)
            out.bindings["batch_size"] = list(parameter.bind)
        case Image():
            out.bindings[name] = list(parameter.bind)
        case Switch():
            _write(writes, parameter.bind, given)
            if given:
                out.given.append(Flag(name))
    if canonical is not None and name != "prompt":
        out.parameters[name] = canonical
        if given and canonical != _default(parameter):
            out.given.append(Flag(name, canonical))


def _text(
    out: Rendered, writes: dict[str, Any], name: str, parameter: Text, text: str | None, *, raw: bool
) -> str:
    value = parameter.default if text is None else text
    if len(value) > parameter.max_length:
        raise CommandError(
            f"{_called(name)} has {len(value)} characters and at most {parameter.max_length} are allowed."
        )
    value = value.lower() if parameter.lower else value
    extra = [part for part in ("" if raw else parameter.append, parameter.append_always) if part]
    full = ", ".join([part for part in (value, *extra) if part])
    _write(writes, parameter.bind, full)
    if name == "neg":
        out.negative_prompt = full
    return value


def _number(name: str, parameter: Float | Int, text: str | None) -> float:
    if text is None:
        return parameter.default
    kind = "a number" if isinstance(parameter, Float) else "a whole number"
    span = f"from {parameter.min:g} to {parameter.max:g}"
    try:
        value = float(text) if isinstance(parameter, Float) else int(text)
    except ValueError:
        raise CommandError(f"`--{name}` takes {kind} {span}, not {shown(text)}.") from None
    if not math.isfinite(value) or not parameter.min <= value <= parameter.max:
        raise CommandError(f"`--{name}` takes {kind} {span}; {shown(text)} is outside.")
    return value


def _choice(out: Rendered, writes: dict[str, Any], name: str, parameter: Choice, text: str | None) -> str:
    word = parameter.default if text is None else text.lower()
    if word not in parameter.choices:
        meant = nearest(word, parameter.choices)
        hint = f"did you mean `{meant}`?" if meant else f"it takes {', '.join(parameter.choices)}."
        raise CommandError(f"`--{name}` has no choice {shown(word)}; {hint}")
    value = parameter.choices[word]
    _write(writes, parameter.bind, value)
    if parameter.checkpoint:
        out.checkpoints.append(value)
    return word


def _ratio(out: Rendered, writes: dict[str, Any], name: str, parameter: Ratio, text: str | None) -> str:
    ratio = parameter.default if text is None else snapped(name, text, parameter)
    if text is not None and ratio != text.strip():
        out.notes.append(f"ratio {text.strip()} became {ratio}")
    width, height = parameter.sizes[ratio]
    _write(writes, parameter.bind_width, width)
    _write(writes, parameter.bind_height, height)
    return ratio


def snapped(name: str, text: str, parameter: Ratio) -> str:
    """The supported ratio that is nearest in shape, by the logarithm: 2:1 is as far from 1:1 as 1:2.

    Raises:
        CommandError: it is no ratio.
    """
    width, _, height = text.partition(":")
    try:
        wanted = math.log(float(width) / float(height))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise CommandError(f"`--{name}` takes width:height, such as 16:9, not {shown(text)}.") from None
    if not math.isfinite(wanted):
        raise CommandError(f"`--{name}` takes width:height, such as 16:9, not {shown(text)}.")
    return min(parameter.sizes, key=lambda ratio: abs(_shape(ratio) - wanted))


def _shape(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return math.log(float(width) / float(height))


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        raise CommandError(
            f"`--seed` takes a whole number from 0 to {MAX_SEED}, not {shown(text)}."
        ) from None
    if not 0 <= seed <= MAX_SEED:
        raise CommandError(f"`--seed` takes a whole number from 0 to {MAX_SEED}; {shown(text)} is outside.")
    return seed


def _images(name: str, parameter: Images, text: str | None) -> int:
    try:
        count = parameter.default if text is None else int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= parameter.max:
        raise CommandError(
            f"`--{name}` takes a whole number from 1 to {parameter.max}, not {shown(text or '')}."
        )
    return count


def _default(parameter: AnyParameter) -> str | None:
    match parameter:
        case Float(default=value):
            return f"{value:g}"
        case Text() | Int() | Choice() | Ratio() | Images():
            return str(parameter.default)
        case _:
            return None


def _called(name: str) -> str:
    return "The prompt" if name == "prompt" else f"`--{name}`"


def _write(writes: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    for place in where:
        writes[place] = value


def _written(graph: Mapping[str, dict[str, Any]], writes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The graph with the writes in it; nodes without any are shared with the template, not copied."""
    out = dict(graph)
    for place, value in writes.items():
        node_id, _, name = place.partition(".")
        node = out[node_id]
        if node is graph[node_id]:
            node = out[node_id] = {**node, "inputs": dict(node["inputs"])}
        node["inputs"][name] = value
    return out
