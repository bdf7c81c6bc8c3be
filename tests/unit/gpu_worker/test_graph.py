"""Binding values into a graph."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gpu_worker.graph import GraphError, bind_graph, model_files
from tests.fakes.graphs import CHECKPOINT, IMAGE_BINDINGS, TEXT_BINDINGS, image_graph, text_graph

TEXT = json.dumps(text_graph())


def test_every_value_lands_in_its_places_and_nowhere_else() -> None:
    """The graph is the workflow's but for what is bound."""
    values = {"seed": 2**63 - 1, "filename_prefix": "distillery/x", "batch_size": 4}
    bound = bind_graph(TEXT, TEXT_BINDINGS, values)
    expected = text_graph()
    expected["3"]["inputs"]["seed"] = 2**63 - 1
    expected["9"]["inputs"]["filename_prefix"] = "distillery/x"
    expected["5"]["inputs"]["batch_size"] = 4
    assert bound == expected


def test_a_value_may_have_several_places() -> None:
    """A second sampler, as in a hires pass, takes the same seed."""
    graph = text_graph()
    graph["30"] = {"class_type": "KSampler", "inputs": {**graph["3"]["inputs"], "latent_image": ["3", 0]}}
    bound = bind_graph(json.dumps(graph), {"seed": ["3.seed", "30.seed"]}, {"seed": 5})
    assert [bound[node]["inputs"]["seed"] for node in ("3", "30")] == [5, 5]


def test_a_node_inside_a_group_is_found() -> None:
    """ComfyUI names nodes of subgraphs with a colon."""
    graph = {"12:3": {"class_type": "KSampler", "inputs": {}}}
    bound = bind_graph(json.dumps(graph), {"seed": ["12:3.seed"]}, {"seed": 5})
    assert bound["12:3"]["inputs"]["seed"] == 5


def test_a_workflow_may_leave_batch_and_seed_unbound() -> None:
    """One that always draws one image, or has no sampler, is a workflow too."""
    values = {"seed": 1, "filename_prefix": "x", "batch_size": 4}
    assert bind_graph(TEXT, {"filename_prefix": ["9.filename_prefix"]}, values)["3"]["inputs"]["seed"] == 0


@pytest.mark.parametrize(
    ("text", "bindings", "values", "complaint"),
    [
        ("{", TEXT_BINDINGS, {}, "not JSON"),
        ("{}", TEXT_BINDINGS, {}, "no nodes"),
        ('{"nodes": [], "links": []}', TEXT_BINDINGS, {}, "API format"),
        (TEXT, {"batch_size": ["5.batch_size"]}, {}, "cache"),
        (TEXT, {"seed": ["99.seed"]}, {"seed": 1}, "not in the graph"),
        (TEXT, {"seed": ["seed"]}, {"seed": 1}, "not in the graph"),
        (TEXT, TEXT_BINDINGS, {"image": "x.png"}, "bound to no node"),
    ],
)
def test_what_cannot_be_bound_is_refused_with_the_reason(
    text: str, bindings: dict[str, list[str]], values: dict[str, object], complaint: str
) -> None:
    """Among them the web page's own format, and a graph that would be answered from the cache."""
    with pytest.raises(GraphError, match=complaint):
        bind_graph(text, bindings, values)


def test_the_model_files_of_a_graph_are_found() -> None:
    """The dispatcher is told what is in memory by these."""
    graph = image_graph()
    graph["40"] = {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "style.safetensors", "model": ["4", 0]},
    }
    assert model_files(graph) == (CHECKPOINT, "style.safetensors")
    assert IMAGE_BINDINGS["image"] == ["10.image"]


@given(st.text(), st.integers(0, 2**63 - 1))
def test_no_value_can_change_the_shape_of_a_graph(prefix: str, seed: int) -> None:
    """Whatever a value holds, nodes and links stay the template's."""
    bound = bind_graph(TEXT, TEXT_BINDINGS, {"seed": seed, "filename_prefix": prefix, "batch_size": 1})
    shape = {node_id: (node["class_type"], set(node["inputs"])) for node_id, node in bound.items()}
    assert shape == {i: (node["class_type"], set(node["inputs"])) for i, node in text_graph().items()}
    assert (bound["3"]["inputs"]["seed"], bound["9"]["inputs"]["filename_prefix"]) == (seed, prefix)
