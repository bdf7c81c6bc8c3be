"""The Makefile: what it shows, and that a prompt is data to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repo import guards

#: Prints its arguments, one a line, in place of the chain's command line.
_ECHO = '#!/bin/sh\nprintf "%s\\n" "$@"\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and a set-up .venv whose ``distillery`` only prints its arguments."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(guards.ROOT / name, tmp_path)
    program = tmp_path / ".venv" / "bin" / "distillery"
    program.parent.mkdir(parents=True)
    program.write_text(_ECHO, encoding="utf-8")
    program.chmod(0o755)
    for stamp in (".made", ".runtime", ".dev"):
        (tmp_path / ".venv" / stamp).touch()
    return tmp_path


def test_make_alone_shows_every_target(checkout: Path) -> None:
    """Whoever types make reads what there is."""
    said = _make(checkout).stdout
    targets = ("demo", "serve", "test", "check", "lint", "bench", "chaos", "clean")
    assert [target for target in targets if f"make {target}" not in said] == []


@pytest.mark.parametrize(
    "prompt",
    [
        "a lighthouse at dusk --ar 16:9",
        "$(shell touch pwned)",
        "$(touch pwned) `touch pwned` ${HOME} $$HOME",
        "'; touch pwned; '\"; touch pwned; \"",
        "--help",
        "# not a comment \\ 50% & | < >",
    ],
)
def test_a_prompt_arrives_as_it_was_typed(checkout: Path, prompt: str) -> None:
    """Neither make nor the shell reads a prompt as anything but text, on the command line or in the environment."""
    assert _make(checkout, "serve", f"PROMPT={prompt}").stdout == f"serve\n--\n{prompt}\n"
    assert _make(checkout, "serve", PROMPT=prompt).stdout == f"serve\n--\n{prompt}\n"
    assert not (checkout / "pwned").exists()


def test_serve_without_a_prompt_says_what_it_needs(checkout: Path) -> None:
    """A missing prompt is one clear sentence."""
    done = _make(checkout, "serve")
    assert done.returncode != 0
    assert 'make serve PROMPT="a lighthouse"' in done.stderr


def test_a_python_too_old_is_named_with_the_way_out(tmp_path: Path) -> None:
    """Where no suitable Python is, set-up says which is needed and how to name one."""
    (tmp_path / "python3").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n', encoding="utf-8"
    )
    (tmp_path / "python3").chmod(0o755)
    env = {"PATH": str(tmp_path)}
    script = guards.ROOT / ".ci" / "make-venv"
    done = subprocess.run(
        ["/bin/sh", script, "venv"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "No Python 3.11 or newer was found (python3 is Python 3.9.2)" in done.stderr


def test_a_python_without_venv_is_told_apart(tmp_path: Path) -> None:
    """Debian's Python without python3-venv gets the command that installs it."""
    fake = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexit 0\n'
    (tmp_path / "python3").write_text(fake, encoding="utf-8")
    (tmp_path / "python3").chmod(0o755)
    env = {"PATH": str(tmp_path)}
    script = guards.ROOT / ".ci" / "make-venv"
    done = subprocess.run(
        ["/bin/sh", script, "venv"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "python3 lacks its venv module" in done.stderr


def _make(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=folder,
        env=inherited | env,
        capture_output=True,
        text=True,
        check=False,
    )
