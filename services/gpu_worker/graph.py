"""Binds what is only known at run time into a ComfyUI graph: the seed, the file prefix, the batch, input images.

Pure.  A graph is ComfyUI's API format: ``{"<node id>": {"class_type": ..., "inputs": {...}}}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

Graph = dict[str, dict[str, Any]]

#: Inputs that name a model file, in ComfyUI's own loaders.
MODEL_INPUTS = frozenset(
    {
        "ckpt_name",
        "clip_name",
        "clip_name1",
        "clip_name2",
        "clip_name3",
        "control_net_name",
        "lora_name",
        "model_name",
        "style_model_name",
        "unet_name",
        "vae_name",
    }
)


class GraphError(ValueError):
    """The graph is not one, or a value has no place in it; nothing was posted."""


def bind_graph(text: str, bindings: Mapping[str, Sequence[str]], values: Mapping[str, object]) -> Graph:
    """Parse ``text`` and write every value to its places, ``"<node id>.<input name>"``.

    A workflow may leave ``seed`` or ``batch_size`` unbound, but not both the seed and the prefix: ComfyUI answers
    an identical graph from its cache, with the images of the run before.

    Raises:
        GraphError: the text is no graph, a place is not in it, or a value that must be bound is not.
    """
    graph = _parse(text)
    if not any(bindings.get(name) for name in ("seed", "filename_prefix")):
        raise GraphError(
            "neither the seed nor the file prefix is bound, so ComfyUI would answer from its cache"
        )
    for name, value in values.items():
        places = bindings.get(name, ())
        if not places and name not in ("seed", "filename_prefix", "batch_size"):
            raise GraphError(f"the input {name!r} is bound to no node")
        for place in places:
            _write(graph, place, value)
    return graph


def model_files(graph: Graph) -> tuple[str, ...]:
    """The model files that a graph loads, each once."""
    return tuple(dict.fromkeys(_model_files(graph)))


def _model_files(graph: Graph) -> Iterator[str]:
    for node in graph.values():
        for name, value in node["inputs"].items():
            if name in MODEL_INPUTS and isinstance(value, str):
                yield value


def _parse(text: str) -> Graph:
    try:
        graph = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise GraphError("the graph is not JSON") from error
    if not isinstance(graph, dict) or not graph:
        raise GraphError("the graph has no nodes")
    for node_id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
            raise GraphError(f"node {node_id!r} has no inputs: is this ComfyUI's API format?")
    return graph


def _write(graph: Graph, place: str, value: object) -> None:
    node_id, dot, name = place.partition(".")
    if not dot or node_id not in graph:
        raise GraphError(f"the place {place!r} is not in the graph")
    graph[node_id]["inputs"][name] = value
