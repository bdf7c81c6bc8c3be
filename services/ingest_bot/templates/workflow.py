"""One workflow: binds a command's flags to its parameters and renders its graph.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from services.ingest_bot.command_line import Flag
from services.ingest_bot.templates.graph import CutGraph, Graph
from services.ingest_bot.templates.manifest import (
    IMAGES,
    PROMPT,
    ChoiceParameter,
    FlagParameter,
    FloatParameter,
    ImageParameter,
    IntParameter,
    Manifest,
    Parameter,
    Place,
    RatioParameter,
    Scalar,
    SeedParameter,
    TextParameter,
)
from services.ingest_bot.templates.ratios import nearest_ratio
from services.ingest_bot.templates.values import Value, default_value, read_value


@dataclass(frozen=True, slots=True)
class Bound:
    """Every parameter's value for one command."""

    values: Mapping[str, Value]  #: all but images, in the manifest's order
    flags: tuple[Flag, ...]  #: the canonical flags: those that differ from the default
    notes: tuple[str, ...]

    def text(self, name: str) -> str:
        """The canonical text of a parameter; empty where the workflow has none of that name."""
        value = self.values.get(name)
        return value.text if value else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A template that was checked: its manifest, its graph, and what follows from both."""

    name: str
    version: str  #: hash of graph and manifest, so that equal versions draw alike
    manifest: Manifest
    graph: CutGraph
    bindings: Mapping[str, list[Place]]  #: what the worker fills, as `JobSpec.bindings` has it
    images: frozenset[str]  #: the image parameters; all must be attached

    @classmethod
    def build(cls, name: str, manifest: Manifest, graph: Graph) -> Workflow:
        """Put together a workflow whose parts `check` found nothing wrong with."""
        bindings = {"filename_prefix": list(manifest.runtime.filename_prefix)}
        if manifest.runtime.batch_size:
            bindings["batch_size"] = list(manifest.runtime.batch_size)
        for parameter_name, parameter in manifest.parameters.items():
            if isinstance(parameter, SeedParameter | ImageParameter):
                bindings[parameter_name] = list(parameter.bind)
        user_places = frozenset(
            place for parameter in manifest.parameters.values() for place in places_of_parameter(parameter)
        ) - {place for places in bindings.values() for place in places}
        return cls(
            name=name,
            version=_version(manifest, graph),
            manifest=manifest,
            graph=CutGraph.cut(graph, user_places),
            bindings=bindings,
            images=frozenset(n for n, p in manifest.parameters.items() if isinstance(p, ImageParameter)),
        )

    def bind(
        self, prompt: str, flags: Mapping[str, Flag], sizes: Mapping[str, tuple[int, int]], seed: int
    ) -> Bound:
        """Give every parameter its value.

        Args:
            flags: by name, all of them parameters of this workflow.
            sizes: width and height in pixels of each attached image.
            seed: what holds where none is given.

        Raises:
            CommandError: a value is missing, of another type, or out of range.
        """
        values: dict[str, Value] = {}
        canonical: list[Flag] = []
        notes: list[str] = []
        for name, parameter in self.manifest.parameters.items():
            if isinstance(parameter, ImageParameter) and name not in flags:
                continue
            flag = Flag(PROMPT, prompt) if name == PROMPT else flags.get(name)
            default = _default(parameter, sizes, seed)
            value = values[name] = default if flag is None else read_value(name, parameter, flag.value)
            if value.note:
                notes.append(value.note)
            if (
                flag
                and name != PROMPT
                and (value.text != default.text or isinstance(parameter, _ALWAYS_SAID))
            ):
                canonical.append(Flag(name, None if isinstance(parameter, FlagParameter) else value.text))
        return Bound(values, tuple(canonical), tuple(notes))

    def render(self, bound: Bound) -> str:
        """The graph as JSON text; it differs from the template at bound inputs only."""
        writes: dict[Place, Scalar] = {}
        for name, parameter in self.manifest.parameters.items():
            if name in bound.values:
                writes.update(_writes(parameter, bound.values[name], bound.values))
        return self.graph.render(writes)

    def files(self, bound: Bound, kind: str) -> list[str]:
        """The checkpoint or lora files that a worker must have, each once."""
        fixed = self.manifest.checkpoints if kind == "checkpoint" else self.manifest.loras
        chosen = [
            file
            for name, parameter in self.manifest.parameters.items()
            if isinstance(parameter, ChoiceParameter) and parameter.loads == kind
            for file in parameter.files(bound.text(name))
        ]
        return list(dict.fromkeys([*fixed, *chosen]))

    def count(self, bound: Bound) -> int:
        """How many images to draw."""
        value = bound.values.get(IMAGES)
        return int(value.value) if value else 1


#: A seed has no fixed default to equal and a flag's text is always empty: given, they are said.
_ALWAYS_SAID = (SeedParameter, FlagParameter)


def places_of_parameter(parameter: Parameter) -> tuple[Place, ...]:
    """Every place that a parameter writes to, at intake or at run time."""
    return tuple(place for _, places in named_places(parameter) for place in places)


def named_places(parameter: Parameter) -> list[tuple[str, tuple[Place, ...]]]:
    """The parameter's fields that name places, each with its places."""
    match parameter:
        case RatioParameter():
            return [("width", parameter.width), ("height", parameter.height)]
        case ChoiceParameter():
            written = dict.fromkeys(place for word in parameter.choices for place in parameter.writes(word))
            return [("bind" if parameter.bind else "choices", tuple(written))]
        case _:
            return [("bind", parameter.bind)]


def _default(parameter: Parameter, sizes: Mapping[str, tuple[int, int]], seed: int) -> Value:
    if isinstance(parameter, SeedParameter):
        return Value(str(seed), seed)
    if isinstance(parameter, RatioParameter) and parameter.follows in sizes:
        near = nearest_ratio(*sizes[parameter.follows], parameter.sizes)
        return Value(near, near)
    return default_value(parameter)


def _writes(parameter: Parameter, value: Value, values: Mapping[str, Value]) -> Mapping[Place, Scalar]:
    match parameter:
        case TextParameter():
            return dict.fromkeys(parameter.bind, _with_appended(parameter, value.text, values))
        case IntParameter() | FloatParameter():
            return dict.fromkeys(parameter.bind, value.value)
        case ChoiceParameter():
            return parameter.writes(value.text)
        case FlagParameter():
            return dict.fromkeys(parameter.bind, parameter.on if value.value else parameter.off)
        case RatioParameter():
            width, height = parameter.sizes[value.text]
            return dict.fromkeys(parameter.width, width) | dict.fromkeys(parameter.height, height)
        case _:
            return {}


def _with_appended(parameter: TextParameter, text: str, values: Mapping[str, Value]) -> str:
    added = [
        append.text
        for append in parameter.append
        if not (append.unless and values[append.unless].value is True)
    ]
    return ", ".join(part for part in (text.rstrip(" ,"), *added) if part)


def _version(manifest: Manifest, graph: Graph) -> str:
    content = msgspec.json.encode([manifest, graph], order="sorted")
    return hashlib.sha256(content).hexdigest()[:12]
