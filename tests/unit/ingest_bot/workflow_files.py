"""Workflow folders for tests: the shipped ones, copied and changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from services.ingest_bot.templates.load import BUILT_IN

Manifest = dict[str, Any]
Graph = dict[str, Any]
#: Changes a manifest and a graph in place.
Change = Callable[[Manifest, Graph], object]


def read(name: str) -> tuple[Manifest, Graph]:
    """A shipped workflow's manifest and graph."""
    folder = BUILT_IN / name
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
    graph = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
    return manifest, graph


def write(root: Path, name: str, manifest: Manifest, graph: Graph) -> Path:
    """Write a workflow folder below ``root``."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
    (folder / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    return folder


def changed(root: Path, change: Change, *, of: str = "sd15", name: str = "changed") -> Path:
    """A copy of a shipped workflow with a change."""
    manifest, graph = read(of)
    change(manifest, graph)
    return write(root, name, manifest, graph)
