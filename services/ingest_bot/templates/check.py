"""Whether a manifest fits its graph and itself: found at start-up, not by a user's request.  Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from services.ingest_bot.templates.graph import Graph, places_of, problem_of_place, value_at
from services.ingest_bot.templates.manifest import (
    IMAGES,
    MOST_IMAGES,
    PROMPT,
    SEED,
    WORKFLOW,
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
from services.ingest_bot.templates.problems import MANIFEST, Problem
from services.ingest_bot.templates.ratios import parse_ratio
from services.ingest_bot.templates.workflow import named_places, places_of_parameter

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
#: Latents have an eighth of an image's width and height.
_PIXEL_STEP = 8
_LARGEST_SIDE = 8192
#: Which loader's input names a file, of which kind.
_LOADERS = (("CheckpointLoaderSimple", "ckpt_name", "checkpoint"), ("LoraLoader", "lora_name", "lora"))


def check(manifest: Manifest, graph: Graph) -> list[Problem]:
    """Every fault of the two together; none means that any command that binds also renders."""
    found = [
        *_names(manifest),
        *(problem for name, p in manifest.parameters.items() for problem in _parameter(manifest, name, p)),
        *_places(manifest, graph),
    ]
    # What follows looks into the graph at places that must exist.
    return found or [*_outputs(manifest, graph), *_files(manifest, graph)]


def _names(manifest: Manifest) -> Iterator[Problem]:
    parameters = manifest.parameters
    for name, parameter in parameters.items():
        if not _NAME.fullmatch(name):
            yield _at(name, "", "a name has lower-case letters, digits and dashes, and starts with a letter")
        if isinstance(parameter, SeedParameter) and name != SEED:
            yield _at(name, "type", "a workflow has one seed, and it is called seed")
    if WORKFLOW in parameters:
        yield _at(WORKFLOW, "", "this flag chooses a workflow and cannot be a parameter; rename it")
    if not isinstance(parameters.get(PROMPT), TextParameter):
        yield _at(PROMPT, "", "missing, or not of type text, as every workflow's is")
    if not isinstance(parameters.get(SEED), SeedParameter):
        yield _at(SEED, "", "missing, or not of type seed, as every workflow's is")
    if IMAGES in parameters:
        yield from _images(manifest, parameters[IMAGES])


def _images(manifest: Manifest, images: Parameter) -> Iterator[Problem]:
    within = isinstance(images, IntParameter) and 1 <= images.min <= images.max <= MOST_IMAGES
    if not isinstance(images, IntParameter) or not within or images.bind:
        expected = f"expected type int, within 1 and {MOST_IMAGES}, without bind (see runtime.batch_size)"
        yield _at(IMAGES, "", expected)
    elif images.max > 1 and not manifest.runtime.batch_size:
        yield Problem(MANIFEST, "runtime.batch_size", "missing, and needed for more than one image")


def _parameter(manifest: Manifest, name: str, parameter: Parameter) -> Iterator[Problem]:
    yield from _unbound(manifest, name, parameter)
    match parameter:
        case IntParameter() | FloatParameter():
            yield from _number(name, parameter)
        case TextParameter():
            yield from _text(manifest, name, parameter)
        case ChoiceParameter():
            yield from _choice(name, parameter)
        case RatioParameter():
            yield from _ratio(manifest, name, parameter)
        case _:
            pass


def _unbound(manifest: Manifest, name: str, parameter: Parameter) -> Iterator[Problem]:
    """A parameter that writes nowhere, so that what users give is lost."""
    if name == IMAGES or (isinstance(parameter, FlagParameter) and name in _steering(manifest)):
        return
    for field, places in named_places(parameter):
        if not places:
            yield _at(name, field, "missing; expected at least one place, or what users give is lost")


def _steering(manifest: Manifest) -> set[str]:
    """The flags that leave appended words out."""
    texts = [p for p in manifest.parameters.values() if isinstance(p, TextParameter)]
    return {append.unless for text in texts for append in text.append}


def _text(manifest: Manifest, name: str, parameter: TextParameter) -> Iterator[Problem]:
    if len(parameter.default) > parameter.max_chars:
        yield _at(name, "default", f"longer than max_chars, {parameter.max_chars}")
    for append in parameter.append:
        if append.unless and not isinstance(manifest.parameters.get(append.unless), FlagParameter):
            yield _at(name, "append.unless", f"{append.unless!r} is no parameter of type flag")


def _number(name: str, parameter: IntParameter | FloatParameter) -> Iterator[Problem]:
    if not parameter.min <= parameter.default <= parameter.max:
        yield _at(
            name, "default", f"{parameter.default} is outside min {parameter.min} and max {parameter.max}"
        )
    for field in ("min", "max", "default"):
        value = getattr(parameter, field)
        if Decimal(str(value)) % Decimal(str(parameter.step)):
            yield _at(name, field, f"{value} is no multiple of step {parameter.step}, to which values snap")


def _choice(name: str, parameter: ChoiceParameter) -> Iterator[Problem]:
    if parameter.default not in parameter.choices:
        yield _at(name, "default", f"{parameter.default!r} is none of {', '.join(parameter.choices)}")
    if len({frozenset(parameter.writes(choice)) for choice in parameter.choices}) > 1:
        yield _at(name, "choices", "all must write to the same places, so that none keeps another's value")
    doubled = [word for word, n in Counter(word.casefold() for word in parameter.choices).items() if n > 1]
    if doubled:
        yield _at(name, "choices", f"{doubled[0]!r} is there twice but for case, which users need not mind")


def _ratio(manifest: Manifest, name: str, parameter: RatioParameter) -> Iterator[Problem]:
    if parameter.default not in parameter.sizes:
        yield _at(name, "default", f"{parameter.default!r} is none of {', '.join(parameter.sizes)}")
    if parameter.follows and not isinstance(manifest.parameters.get(parameter.follows), ImageParameter):
        yield _at(name, "follows", f"{parameter.follows!r} is no parameter of type image")
    for ratio, size in parameter.sizes.items():
        if not re.fullmatch(r"[0-9]+:[0-9]+", ratio) or parse_ratio(ratio) is None:
            yield _at(name, f"sizes.{ratio}", "expected a ratio such as 16:9")
        if any(side % _PIXEL_STEP or not 0 < side <= _LARGEST_SIDE for side in size):
            yield _at(
                name,
                f"sizes.{ratio}",
                f"expected multiples of {_PIXEL_STEP} up to {_LARGEST_SIDE}, not {size}",
            )


def _places(manifest: Manifest, graph: Graph) -> Iterator[Problem]:
    bound = list(_bound_places(manifest))
    for field, place, value in bound:
        if (problem := problem_of_place(graph, place)) is not None:
            yield Problem(MANIFEST, field, problem)
        elif not _alike(value, value_at(graph, place)):
            yield Problem(
                MANIFEST,
                field,
                f"{place} holds {value_at(graph, place)!r} in graph.json; expected a value like {value!r}",
            )
    owners: dict[Place, set[str]] = {}
    for field, place, _ in bound:
        owners.setdefault(place, set()).add(field)
    for place, fields in owners.items():
        if len(fields) > 1:
            where = " and ".join(sorted(fields))
            yield Problem(MANIFEST, where, f"both write to {place}; expected one of them")


def _bound_places(manifest: Manifest) -> Iterator[tuple[str, Place, Scalar]]:
    """Every place, the field that names it, and a value of the kind that will be written there."""
    for name, parameter in manifest.parameters.items():
        for field, places in named_places(parameter):
            for place in places:
                for value in _sample_values(parameter, place):
                    yield f"parameters.{name}.{field}", place, value
    for place in manifest.runtime.filename_prefix:
        yield "runtime.filename_prefix", place, "text"
    for place in manifest.runtime.batch_size:
        yield "runtime.batch_size", place, 1


def _sample_values(parameter: Parameter, place: Place) -> list[Scalar]:
    match parameter:
        case ChoiceParameter():
            writes = [parameter.writes(choice) for choice in parameter.choices]
            return [write[place] for write in writes if place in write]
        case FlagParameter():
            return [parameter.on, parameter.off]
        case TextParameter() | ImageParameter():
            return ["text"]
        case FloatParameter():
            return [0.5]
        case _:
            return [1]


def _alike(value: Scalar, template: Any) -> bool:
    """Whether a value may replace the template's: a whole number may stand where a fraction will."""
    if isinstance(value, bool) or isinstance(template, bool):
        return isinstance(value, bool) and isinstance(template, bool)
    if isinstance(value, float):
        return isinstance(template, int | float)
    if isinstance(value, int) and isinstance(template, float):
        return True
    return type(value) is type(template)


def _outputs(manifest: Manifest, graph: Graph) -> Iterator[Problem]:
    saves = places_of(graph, "SaveImage", "filename_prefix")
    if not saves:
        yield Problem(
            "graph.json", "", "has no SaveImage node with a filename_prefix; without one no image comes out"
        )
    for place in saves:
        if place not in manifest.runtime.filename_prefix:
            yield Problem(
                MANIFEST, "runtime.filename_prefix", f"lacks {place}; every SaveImage's prefix is set per job"
            )


def _files(manifest: Manifest, graph: Graph) -> Iterator[Problem]:
    for class_type, name, kind in _LOADERS:
        listed = manifest.checkpoints if kind == "checkpoint" else manifest.loras
        chosen = {
            place
            for parameter in manifest.parameters.values()
            if isinstance(parameter, ChoiceParameter) and parameter.loads == kind
            for place in places_of_parameter(parameter)
        }
        for place in places_of(graph, class_type, name):
            if place not in chosen and value_at(graph, place) not in listed:
                text = f"lacks {value_at(graph, place)!r}, which {place} loads"
                yield Problem(MANIFEST, f"{kind}s", f"{text}; list it, or bind a choice with loads: {kind}")


def _at(name: str, field: str, text: str) -> Problem:
    return Problem(MANIFEST, ".".join(part for part in ("parameters", name, field) if part), text)
