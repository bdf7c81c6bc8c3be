"""What a workflow folder declares, and the checks that it must pass at start-up.

A manifest binds parameters to ``"<node id>.<input name>"`` places of the graph.  User text can only ever land
in those places, since the graph that is sent is always built from the template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

Graph = dict[str, dict[str, Any]]
RUNTIME = ("seed", "filename_prefix", "batch_size")  #: bound by the worker, beside the input images


class WorkflowError(Exception):
    """A workflow folder cannot be used; the message names the file, the field and what was expected."""


class Parameter(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every parameter has."""

    help: str
    bind: tuple[str, ...] = ()


class Text(Parameter, tag="text", frozen=True, kw_only=True):
    """Free text; ``append`` is added to what goes into the graph, ``append_always`` even with ``--raw``."""

    default: str = ""
    max_length: Annotated[int, Meta(ge=1)] = 2000
    lower: bool = False
    append: str = ""
    append_always: str = ""


class Float(Parameter, tag="float", frozen=True, kw_only=True):
    """A number."""

    default: float
    min: float
    max: float


class Int(Parameter, tag="int", frozen=True, kw_only=True):
    """A whole number."""

    default: int
    min: int
    max: int


class Choice(Parameter, tag="choice", frozen=True, kw_only=True):
    """One of some words, each with the value that the graph gets; ``checkpoint`` says that those are model files."""

    default: str
    choices: dict[str, str]
    checkpoint: bool = False


class Ratio(Parameter, tag="ratio", frozen=True, kw_only=True):
    """An aspect ratio, snapped to the nearest supported one; ``sizes`` are width and height in pixels."""

    default: str
    sizes: dict[str, tuple[int, int]]
    bind_width: tuple[str, ...]
    bind_height: tuple[str, ...]


class Switch(Parameter, tag="flag", frozen=True, kw_only=True):
    """A flag without a value; ``raw`` is the one that leaves ``append`` out."""


class Image(Parameter, tag="image", frozen=True, kw_only=True):
    """An attachment; the worker uploads it and binds its name."""


class Seed(Parameter, tag="seed", frozen=True, kw_only=True):
    """The seed: given or drawn, and bound by the worker."""


class Images(Parameter, tag="images", frozen=True, kw_only=True):
    """How many images; bound by the worker as the batch size."""

    default: Annotated[int, Meta(ge=1)] = 4
    max: Annotated[int, Meta(ge=1, le=16)] = 4


AnyParameter = Text | Float | Int | Choice | Ratio | Switch | Image | Seed | Images


class Manifest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A workflow's declaration."""

    title: str
    description: str
    order: int = 100  #: where several workflows fit a command, the lowest is taken
    parameters: dict[str, AnyParameter]
    filename_prefix: tuple[str, ...]  #: places of the file prefix that the worker makes unique
    checkpoints: tuple[str, ...] = ()  #: files that it needs whatever the parameters
    loras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A checked workflow."""

    name: str
    version: str  #: of its content
    manifest: Manifest
    graph: Graph

    @property
    def takes_image(self) -> bool:
        """Whether it starts from an attachment."""
        return any(isinstance(p, Image) for p in self.manifest.parameters.values())

    def flags(self) -> set[str]:
        """Names of its flags: every parameter but the prompt."""
        return set(self.manifest.parameters) - {"prompt"}

    def models(self) -> dict[str, str]:
        """Checkpoint files by the word that chooses them."""
        model = self.manifest.parameters.get("model")
        return model.choices if isinstance(model, Choice) else {}


def load_workflows(folders: list[Path]) -> dict[str, Workflow]:
    """Every workflow of the folders, by name; a later folder's replaces an earlier one's.

    Raises:
        WorkflowError: a folder is missing, or one of its workflows fails a check.
    """
    found: dict[str, Workflow] = {}
    for folder in folders:
        if not folder.is_dir():
            raise WorkflowError(
                f"{folder} is no folder; WORKFLOWS_DIRS must name folders that hold workflows."
            )
        for path in sorted(folder.iterdir()):
            if (path / "manifest.yaml").is_file():
                found[path.name] = load_workflow(path)
    if not found:
        raise WorkflowError("No workflow was found; each is a folder with graph.json and manifest.yaml.")
    return dict(sorted(found.items(), key=lambda item: (item[1].manifest.order, item[0])))


def load_workflow(folder: Path) -> Workflow:
    """Read and check one workflow.

    Raises:
        WorkflowError: naming the file, the field and what was expected.
    """
    manifest_text = _read(folder / "manifest.yaml")
    graph_text = _read(folder / "graph.json")
    try:
        manifest = msgspec.convert(yaml.safe_load(manifest_text), Manifest)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise WorkflowError(f"{folder.name}/manifest.yaml: {error}.") from error
    try:
        graph: Graph = json.loads(graph_text)
    except ValueError as error:
        raise WorkflowError(f"{folder.name}/graph.json is not JSON: {error}.") from error
    for complaint in complaints(manifest, graph):
        raise WorkflowError(f"{folder.name}: {complaint}.")
    digest = hashlib.sha256(f"{graph_text}\n{manifest_text}".encode()).hexdigest()
    return Workflow(name=folder.name, version=digest[:12], manifest=manifest, graph=graph)


def complaints(manifest: Manifest, graph: Graph) -> Iterator[str]:
    """Everything that is wrong between a manifest and its graph.  Pure."""
    if not isinstance(graph, dict) or not all(_is_node(node) for node in graph.values()):
        yield "graph.json is no API-format graph; export it by Workflow > Export (API)"
        return
    yield from _place_complaints(manifest, graph)
    for name, parameter in manifest.parameters.items():
        if complaint := _default_complaint(parameter):
            yield f"parameter {name}: {complaint}"
    if not isinstance(manifest.parameters.get("prompt"), Text):
        yield "parameter prompt: expected one of type text"
    if not any(isinstance(p, Seed) and p.bind for p in manifest.parameters.values()):
        yield "parameter seed: expected one of type seed, bound to a sampler"


def places(parameter: AnyParameter) -> Iterator[tuple[str, type | tuple[type, ...]]]:
    """The places that a parameter writes to, each with the type that it writes."""
    kinds: dict[type, type | tuple[type, ...]] = {
        Text: str, Float: (int, float), Int: int, Choice: str, Image: str, Seed: int, Images: int, Switch: bool,
    }  # fmt: skip
    if isinstance(parameter, Ratio):
        yield from ((place, int) for place in (*parameter.bind_width, *parameter.bind_height))
    else:
        yield from ((place, kinds[type(parameter)]) for place in parameter.bind)


def _place_complaints(manifest: Manifest, graph: Graph) -> Iterator[str]:
    if not manifest.filename_prefix:
        yield "filename_prefix: expected at least one place of a SaveImage node"
    bound = [("filename_prefix", place, str) for place in manifest.filename_prefix]
    bound += [(name, place, kind) for name, p in manifest.parameters.items() for place, kind in places(p)]
    for name, place, kind in bound:
        node_id, _, input_name = place.partition(".")
        node = graph.get(node_id)
        if node is None:
            yield f"{name}: the graph has no node {node_id!r} (place {place!r})"
        elif input_name not in node["inputs"]:
            known = ", ".join(node["inputs"])
            yield f"{name}: node {node_id} ({node['class_type']}) has no input {input_name!r}; it has {known}"
        elif not isinstance(node["inputs"][input_name], kind):
            yield f"{name}: {place} holds {node['inputs'][input_name]!r}, which a parameter of this type cannot replace"


def _default_complaint(parameter: AnyParameter) -> str | None:
    match parameter:
        case Float(default=value, min=low, max=high) | Int(default=value, min=low, max=high):
            return None if low <= value <= high else f"default {value} is not between {low} and {high}"
        case Choice(default=word, choices=choices):
            return None if word in choices else f"default {word!r} is none of {', '.join(choices)}"
        case Ratio(default=ratio, sizes=sizes):
            return None if ratio in sizes else f"default {ratio!r} is none of {', '.join(sizes)}"
        case Images(default=count, max=most):
            return None if count <= most else f"default {count} is above {most}"
        case _:
            return None


def _is_node(node: object) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path.parent.name}/{path.name} cannot be read ({error}).") from error
