"""Layers and the shape of a stage: what may know what, and which files every stage has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.repo import guards

STAGES = ("ingest_bot", "moderator", "dispatcher", "gpu_worker", "notifier")
#: The edge of a stage is its Faust agents; gpu_worker polls by itself, and ingest_bot reads no topic.
EDGES = dict.fromkeys(STAGES, "agents.py") | {"gpu_worker": "consumer.py", "ingest_bot": "agents.py"}
#: What each stage has beside its card and its edge.
FILES = ("app.py", "decide.py", "settings.py", "__main__.py")
CARD = ("Consumes", "Produces", "State", "Delivery", "Failures")
#: One import for each contract that would break it, by the module that gains it.
FORBIDDEN_IMPORTS = {
    "services/contracts/codec.py": "import services.chassis.clock",
    "services/chassis/clock.py": "import services.moderator.decide",
    "services/moderator/agents.py": "import services.notifier",
    "services/audit/__init__.py": "import services.sandbox",
    "services/dispatcher/policy.py": "import services.chassis.clock",
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_the_same_files(stage: str) -> None:
    """Who knows one stage finds the way in every other."""
    folder = guards.ROOT / "services" / stage
    missing = [name for name in (*FILES, EDGES[stage]) if not (folder / name).is_file()]
    assert not missing, f"services/{stage} lacks {missing}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_card(stage: str) -> None:
    """A stage's docstring says what it consumes, produces, keeps, promises and does on failure."""
    card = (guards.ROOT / "services" / stage / "__init__.py").read_text(encoding="utf-8")
    missing = [word for word in CARD if not re.search(rf"^{word}\b", card, re.MULTILINE)]
    assert not missing, f"the card of {stage} does not say: {missing}"


def test_adapters_stand_beside_a_port() -> None:
    """A folder of adapters belongs to a ports.py that says what they are adapters to."""
    adapters = (guards.ROOT / "services").glob("*/adapters")
    orphans = [folder for folder in adapters if not (folder.parent / "ports.py").is_file()]
    assert not orphans


def test_cores_are_pure() -> None:
    """Decisions take the time, ids and randomness as arguments, in all modules of their own that they use."""
    sources = guards.python_files()
    cores = [s.path for s in sources if re.match(r"services/\w+/(decide|policy|timeline)\.py$", s.path)]
    closure = guards.core_closure(cores, sources)
    assert cores
    complaints = [c for source in sources if source.path in closure for c in guards.impure(source)]
    assert not complaints, "\n".join(complaints)


def test_every_layer_rule_is_broken_by_an_import_against_it(tmp_path: Path) -> None:
    """import-linter, as configured, reports each contract once an import against it is planted."""
    shutil.copytree(
        guards.ROOT / "services", tmp_path / "services", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(guards.ROOT / "pyproject.toml", tmp_path)
    for path, planted in FORBIDDEN_IMPORTS.items():
        with (tmp_path / path).open("a", encoding="utf-8") as module:
            module.write(f"\n{planted}\n")
    said = _lint_imports(tmp_path)
    config = tomllib.loads((guards.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = [contract["name"] for contract in config["tool"]["importlinter"]["contracts"]]
    assert len(names) == len(FORBIDDEN_IMPORTS)
    assert [name for name in names if f"{name} BROKEN" not in said] == []


def _lint_imports(folder: Path) -> str:
    command = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout
