"""A ComfyUI graph in API format: what can be wrong with it, and its text cut at the inputs that users set.  Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from services.ingest_bot.templates.manifest import Place, Scalar
from services.ingest_bot.templates.problems import GRAPH, Problem

Graph: TypeAlias = dict[str, dict[str, Any]]

#: Bytes; the event that carries a graph may have 256 KiB with everything else.
MAX_GRAPH_BYTES = 128 * 1024


def read_graph(raw: object) -> Graph | list[Problem]:
    """Check that ``raw`` is a graph as ComfyUI exports it for its API, every link leading to a node."""
    if not isinstance(raw, dict) or not raw:
        return [Problem(GRAPH, "", "expected an object of nodes by id, as ComfyUI's Export (API) writes it")]
    if "nodes" in raw and "links" in raw:
        return [Problem(GRAPH, "", "this is the editor's format; export it with ComfyUI's Export (API)")]
    size = len(text := msgspec.json.encode(raw))
    if size > MAX_GRAPH_BYTES:
        return [
            Problem(GRAPH, "", f"has {size} bytes; expected at most {MAX_GRAPH_BYTES}, to fit into an event")
        ]
    if b"\\u0000" in text:  # `CutGraph` marks its cuts with it
        return [Problem(GRAPH, "", "holds a NUL character; expected text without")]
    return list(_node_problems(raw)) or raw


def problem_of_place(graph: Graph, place: Place) -> str | None:
    """Why nothing can be written at ``place``, or none: it must name a plain value of an existing node."""
    node_id, dot, name = place.partition(".")
    if not dot or not name:
        return f'{place!r} is no place; expected "<node id>.<input name>"'
    if node_id not in graph:
        return f"there is no node {node_id!r}; expected one of {', '.join(sorted(graph))}"
    inputs = graph[node_id]["inputs"]
    if name not in inputs:
        near = difflib.get_close_matches(name, inputs, n=1)
        expected = near[0] if near else ", ".join(sorted(inputs)) or "none at all"
        return f"node {node_id!r} ({graph[node_id]['class_type']}) has no input {name!r}; expected {expected}"
    if isinstance(inputs[name], list | dict):
        return f"{place!r} is a link to another node; expected an input with a value of its own"
    return None


def value_at(graph: Graph, place: Place) -> Any:
    """The template's own value at a place that exists."""
    node_id, _, name = place.partition(".")
    return graph[node_id]["inputs"][name]


def places_of(graph: Graph, class_type: str, name: str) -> list[Place]:
    """The places of the input ``name`` in every node of a class."""
    return [
        f"{node_id}.{name}"
        for node_id, node in graph.items()
        if node["class_type"] == class_type and name in node["inputs"]
    ]


@dataclass(frozen=True, slots=True)
class CutGraph:
    """The graph's JSON text, cut where users' values go: rendering joins, and parses or copies nothing."""

    pieces: tuple[str, ...]  #: one more than there are places
    places: tuple[Place, ...]  #: in the order of the text

    @classmethod
    def cut(cls, graph: Graph, places: frozenset[Place]) -> CutGraph:
        """Cut ``graph`` at ``places``, which must all exist."""
        marks: dict[Place, str] = {place: f"\x00{index}\x00" for index, place in enumerate(sorted(places))}
        marked = {
            node_id: {
                **node,
                "inputs": {
                    name: marks.get(f"{node_id}.{name}", value) for name, value in node["inputs"].items()
                },
            }
            for node_id, node in graph.items()
        }
        text = msgspec.json.encode(marked).decode()
        order = [f"{node_id}.{name}" for node_id, node in graph.items() for name in node["inputs"]]
        pieces, found = [], tuple(place for place in order if place in marks)
        for place in found:
            piece, mark, text = text.partition(_json(marks[place]))
            assert mark, f"the mark of {place} is in the text that it was put into"
            pieces.append(piece)
        return cls((*pieces, text), found)

    def render(self, values: Mapping[Place, Scalar]) -> str:
        """The graph as JSON text with ``values`` at its places; every place must have one."""
        parts = [self.pieces[0]]
        for place, piece in zip(self.places, self.pieces[1:], strict=True):
            parts += (_json(values[place]), piece)
        return "".join(parts)


def _json(value: Scalar) -> str:
    return msgspec.json.encode(value).decode()


def _node_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    for node_id, node in raw.items():
        if "." in node_id:
            yield Problem(GRAPH, node_id, "a node id with a dot cannot be told from a place; rename it")
        elif not (
            isinstance(node, dict)
            and isinstance(node.get("class_type"), str)
            and isinstance(node.get("inputs"), dict)
        ):
            yield Problem(GRAPH, node_id, "expected a node with class_type and inputs")
        else:
            yield from _link_problems(raw, node_id, node["inputs"])


def _link_problems(raw: Mapping[str, Any], node_id: str, inputs: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in inputs.items():
        is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
        if is_link and value[0] not in raw:
            yield Problem(GRAPH, f"{node_id}.{name}", f"links to node {value[0]!r}, which does not exist")
