"""The hooks of tests/conftest.py, on a small run of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.guards import ROOT

_SKIPPED = "import pytest\n@pytest.mark.skip{reason}\ndef test_it(): ...\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A tests folder with our conftest.py and one empty tier."""
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    return tmp_path / "tests"


def test_a_test_has_its_folders_marker(suite: Path) -> None:
    """``-m unit`` selects what lies under tests/unit."""
    (suite / "unit" / "test_a.py").write_text("def test_it(): ...\n")
    assert "1 passed" in _pytest(suite, "-m", "unit").stdout
    assert "1 deselected" in _pytest(suite, "-m", "e2e").stdout


def test_a_test_in_no_tier_is_refused(suite: Path) -> None:
    """A test outside the tiers would be counted nowhere."""
    (suite / "test_a.py").write_text("def test_it(): ...\n")
    done = _pytest(suite)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is in no tier's folder; the tiers are unit, contract" in done.stdout + done.stderr


def test_a_skip_without_reason_fails_a_run_in_ci_alone(suite: Path) -> None:
    """In CI nobody reads; the exit code has to say it."""
    (suite / "unit" / "test_a.py").write_text(_SKIPPED.format(reason=""))
    assert _pytest(suite).returncode == 0
    done = _pytest(suite, CI="true")
    assert done.returncode == 1
    assert "NO REASON GIVEN" in done.stdout


def test_a_skip_with_a_reason_passes_in_ci_and_is_shown(suite: Path) -> None:
    """The reason is on the last page."""
    (suite / "unit" / "test_a.py").write_text(_SKIPPED.format(reason="(reason='no GPU here')"))
    done = _pytest(suite, CI="true")
    assert done.returncode == 0
    assert "test_it: no GPU here" in done.stdout


def _pytest(suite: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            f"--rootdir={suite}",
            suite,
            *words,
        ],
        cwd=suite.parent,
        env=inherited | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        check=False,
    )
