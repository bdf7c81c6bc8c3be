"""Whatever a manifest offers makes a graph that ComfyUI takes: every choice, every ratio, both ends of every range."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from services.ingest_bot.command_line import Flag
from services.ingest_bot.templates.load import load_catalogue
from services.ingest_bot.templates.manifest import (
    ChoiceParameter,
    FlagParameter,
    FloatParameter,
    IntParameter,
    RatioParameter,
)
from services.ingest_bot.templates.workflow import Workflow
from services.sandbox.comfyui import SandboxSettings
from services.sandbox.comfyui.catalogue import catalogue
from services.sandbox.comfyui.validation import validate

WORKFLOWS = load_catalogue().workflows


def _offers(workflow: Workflow) -> Iterator[tuple[str, str | None]]:
    for name, parameter in workflow.manifest.parameters.items():
        match parameter:
            case ChoiceParameter():
                yield from ((name, word) for word in parameter.choices)
            case RatioParameter():
                yield from ((name, ratio) for ratio in parameter.sizes)
            case IntParameter() | FloatParameter():
                yield from ((name, str(bound)) for bound in (parameter.min, parameter.max))
            case FlagParameter():
                yield name, None


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_every_value_that_a_workflow_offers_makes_a_graph_that_comfyui_takes(name: str) -> None:
    """ComfyUI's own checks of classes, links, lists and ranges find nothing."""
    workflow = WORKFLOWS[name]
    settings = SandboxSettings()
    nodes = catalogue(settings.checkpoints, settings.loras, ["example.png"])
    sizes = dict.fromkeys(workflow.images, (640, 480))
    offers = list(_offers(workflow))
    assert len(offers) > 20
    for flag, written in offers:
        bound = workflow.bind("a boat", {flag: Flag(flag, written)}, sizes, 1)
        verdict = validate(json.loads(workflow.render(bound)), nodes)
        assert (verdict.error, verdict.node_errors) == (None, {}), (flag, written)
