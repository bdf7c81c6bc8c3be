"""Every workflow that ships runs on the loopback ComfyUI as it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import services.ingest_bot
from services.sandbox.comfyui import SandboxSettings
from services.sandbox.comfyui.catalogue import catalogue
from services.sandbox.comfyui.validation import validate

WORKFLOWS = sorted(Path(services.ingest_bot.__file__).parent.glob("workflows/*/graph.json"))


def inputs_of(graph: dict[str, Any]) -> list[str]:
    """The images that a template names before a user's are bound."""
    return [n["inputs"]["image"] for n in graph.values() if n["class_type"] == "LoadImage"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.parent.name)
def test_a_shipped_workflow_is_a_graph_that_comfyui_takes(path: Path) -> None:
    """Its node classes, inputs, links, ranges and default checkpoint are ComfyUI's."""
    graph = json.loads(path.read_text())
    settings = SandboxSettings()
    verdict = validate(graph, catalogue(settings.checkpoints, settings.loras, inputs_of(graph)))
    assert (verdict.error, verdict.node_errors) == (None, {})
    assert len(verdict.outputs) == 1


def test_there_are_workflows() -> None:
    """Or the test above would check nothing."""
    assert {path.parent.name for path in WORKFLOWS} >= {"sd15", "sdxl", "image-to-image"}
