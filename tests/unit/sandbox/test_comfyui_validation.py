"""The loopback ComfyUI refuses graphs as the real one does: the exact JSON of each refusal."""

from __future__ import annotations

from typing import Any

import pytest

from services.sandbox.comfyui.catalogue import catalogue
from services.sandbox.comfyui.validation import validate

NODES = catalogue(["a.safetensors"], [], ["here.png"])
WIDTH = ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]


def image(**inputs: Any) -> dict[str, Any]:
    """An EmptyImage node, with inputs changed or, where None, left out."""
    values = {"width": 64, "height": 64, "batch_size": 1, "color": 0} | inputs
    return {"class_type": "EmptyImage", "inputs": {k: v for k, v in values.items() if v is not None}}


def saver(source: str = "1", slot: int = 0) -> dict[str, Any]:
    """A SaveImage node."""
    return {"class_type": "SaveImage", "inputs": {"images": [source, slot], "filename_prefix": "x"}}


def error_of(graph: dict[str, Any]) -> dict[str, Any]:
    """The one error of the one node at fault, checked to be that of output 2."""
    verdict = validate(graph, NODES)
    assert verdict.error is not None
    assert verdict.error["type"] == "prompt_outputs_failed_validation"
    ((_, node),) = verdict.node_errors.items()
    assert node["dependent_outputs"] == ["2"]
    return dict(node["errors"][0])


@pytest.mark.parametrize(
    ("graph", "kind", "message", "details"),
    [
        (
            {"1": {"class_type": "Nope", "inputs": {}}},
            "invalid_prompt",
            "Cannot execute because node Nope does not exist.",
            "Node ID '#1'",
        ),
        (
            {"1": {"inputs": {}}},
            "invalid_prompt",
            "Cannot execute because a node is missing the class_type property.",
            "Node ID '#1'",
        ),
        ({"1": image()}, "prompt_no_outputs", "Prompt has no outputs", ""),
    ],
)
def test_a_graph_that_cannot_run_at_all_is_refused_without_node_errors(
    graph: dict[str, Any], kind: str, message: str, details: str
) -> None:
    """Unknown classes and graphs without an output are told in ``error`` alone."""
    expected = {"type": kind, "message": message, "details": details, "extra_info": {}}
    assert validate(graph, NODES) == (expected, [], {})


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            image(width=None),
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": "width",
                "extra_info": {"input_name": "width"},
            },
        ),
        (
            image(width=999_999),
            {
                "type": "value_bigger_than_max",
                "message": "Value 999999 bigger than max of 16384",
                "details": "width",
                "extra_info": {"input_name": "width", "input_config": WIDTH, "received_value": 999_999},
            },
        ),
        (
            image(width=0),
            {
                "type": "value_smaller_than_min",
                "message": "Value 0 smaller than min of 1",
                "details": "width",
                "extra_info": {"input_name": "width", "input_config": WIDTH, "received_value": 0},
            },
        ),
        (
            image(width="abc"),
            {
                "type": "invalid_input_type",
                "message": "Failed to convert an input value to a INT value",
                "details": "width, abc, invalid literal for int() with base 10: 'abc'",
                "extra_info": {
                    "input_name": "width",
                    "input_config": WIDTH,
                    "received_value": "abc",
                    "exception_message": "invalid literal for int() with base 10: 'abc'",
                },
            },
        ),
        (
            {"class_type": "LoadImage", "inputs": {"image": "gone.png"}},
            {
                "type": "custom_validation_failed",
                "message": "Custom validation failed for node",
                "details": "image - Invalid image file: gone.png",
                "extra_info": {"input_name": "image"},
            },
        ),
    ],
)
def test_a_bad_value_is_told_in_full(node: dict[str, Any], expected: dict[str, Any]) -> None:
    """Type, message, details and ``extra_info``, as the client parses them."""
    assert error_of({"1": node, "2": saver()}) == expected


def test_a_missing_checkpoint_is_a_value_that_is_not_in_the_list() -> None:
    """The list of what is there is part of the answer."""
    graph = {
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "gone.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["4", 2]}},
        "2": saver("8"),
    }
    assert error_of(graph) == {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "ckpt_name: 'gone.safetensors' not in ['a.safetensors']",
        "extra_info": {
            "input_name": "ckpt_name",
            "input_config": [["a.safetensors"], {}],
            "received_value": "gone.safetensors",
        },
    }


def test_a_link_of_the_wrong_type_is_told_at_the_node_that_takes_it() -> None:
    """A mask is no image."""
    mask = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}}
    error = error_of({"4": mask, "2": saver("4")})
    assert error["type"] == "return_type_mismatch"
    assert error["details"] == "images, received_type(MASK) mismatch input_type(IMAGE)"
    assert error["extra_info"]["linked_node"] == ["4", 0]


def test_a_link_to_nowhere_is_an_exception_during_validation() -> None:
    """ComfyUI stumbles over it, and says so."""
    error = error_of({"2": saver("77")})
    assert (error["type"], error["details"]) == ("exception_during_validation", "'77'")
    assert error["extra_info"]["exception_type"] == "KeyError"


def test_good_outputs_run_beside_bad_ones() -> None:
    """The answer is then a 200 that holds node errors: a trap that the client must see."""
    verdict = validate({"1": image(), "2": saver(), "3": saver("77")}, NODES)
    assert (verdict.error, verdict.outputs, list(verdict.node_errors)) == (None, ["2"], ["3"])
