"""Each guard of the tree complains of a planted violation, and not of its lawful twin."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repo import guards
from tests.repo.guards import Source

Guard = Callable[[Source], list[str]]
_LONG = "def f():\n" + "    x = 1\n" * 40
_AT_LIMIT = "def f():\n" + "    x = 1\n" * 39
_HANDLER = "try:\n    f()\nexcept {kind}:\n    {body}\n"
_DOCUMENTED = 'def f():\n    """One.\n\n    Two.\n    """\n' + "    x = 1\n" * 39

# Held apart, so that this file itself keeps the rules.
_HASH, _UP, _HOME, _SCHEME = "#", "../", "home", "https"

#: Guard, what it must complain of, what it must let pass.
CASES: list[tuple[Guard, str, str]] = [
    (guards.long_functions, _LONG, _AT_LIMIT),
    (guards.long_functions, _LONG.replace("def", "async def"), _DOCUMENTED),
    (guards.long_module, "x = 1\n" * 401, "x = 1\n" * 400),
    (guards.vague_names, "class QueueManager: ...", "class Queue: ..."),
    (guards.vague_names, "class TextUtils: ...", "class Text: ..."),
    (guards.undescribed_module, "x = 1", '"""Why it exists."""\nx = 1'),
    (guards.bare_reasons, f"x = 1  {_HASH} noqa", f"x = 1  {_HASH} noqa: S105 - it opens nothing"),
    (guards.bare_reasons, f"x = 1  {_HASH} noqa: S105", "x = 1  # a remark"),
    (guards.bare_reasons, f"x = 1  {_HASH} noqa: s105 - why", f"x = 1  {_HASH} noqa: S105, T201 - why"),
    (guards.bare_reasons, f"x = 1  {_HASH} type: ignore", "x = 1  # the type: ignored"),
    (
        guards.bare_reasons,
        f"x = 1  {_HASH} type: ignore[misc]",
        f"x = 1  {_HASH} type: ignore[misc]  # no types there",
    ),
    (
        guards.broad_excepts,
        _HANDLER.format(kind="Exception", body="pass"),
        _HANDLER.format(kind="OSError", body="pass"),
    ),
    (
        guards.broad_excepts,
        _HANDLER.format(kind="(OSError, BaseException)", body="pass"),
        _HANDLER.format(kind="Exception", body="raise"),
    ),
    (
        guards.broad_excepts,
        _HANDLER.format(kind="Exception", body="raise ValueError"),
        _HANDLER.format(kind="Exception as e", body="raise ValueError from e"),
    ),
    (guards.impure, "import time", "from datetime import datetime"),
    (guards.impure, "from random import choice", "from uuid import uuid5"),
    (guards.impure, "async def f(): ...", "def f(): ..."),
    (guards.impure, "at = datetime.now(UTC)", "at = datetime.fromtimestamp(0, UTC)"),
    (guards.impure, "import uuid\nx = uuid.uuid4()", "import uuid\nx = uuid.uuid5(space, name)"),
    (guards.sleeping_tests, "time.sleep(1)", "eventually(ready)"),
    (
        guards.sleeping_tests,
        "async def f():\n    await asyncio.sleep(0.1)",
        "async def f():\n    await asyncio.sleep(0)",
    ),
    (
        guards.terse_tests,
        'def test_it():\n    """It works."""',
        'def test_it_works_as_said():\n    """It works."""',
    ),
    (
        guards.terse_tests,
        "def test_it_works_as_said(): ...",
        'def test_it_works_as_said():\n    """It works."""',
    ),
    (guards.links_outside, f"see {_UP}{_UP}elsewhere/file", f"see {_UP}README.md"),
    (guards.machine_paths, f"log = /{_HOME}/someone/log", "log = logs/home/log"),
    (guards.machine_paths, f"log = {guards.ROOT}/log", "log = build/log"),
]


@pytest.mark.parametrize(("guard", "violation", "lawful"), CASES)
def test_a_guard_sees_a_planted_violation_and_only_that(guard: Guard, violation: str, lawful: str) -> None:
    """A guard that never complains protects nothing, and one that always does is turned off."""
    assert guard(Source(path="services/planted.py", text=violation))
    assert not guard(Source(path="services/planted.py", text=lawful))


def test_a_vague_file_name_is_seen() -> None:
    """A module named for being shared says nothing of what it holds."""
    assert guards.vague_names(Source(path="services/chassis/utils.py", text=""))


def test_an_unknown_host_is_seen_and_loopback_and_examples_are_not() -> None:
    """Only addresses that mean something to a stranger pass."""

    def complaints(text: str) -> list[str]:
        return guards.unknown_hosts(Source(path="README.md", text=text), frozenset({"python.org"}))

    assert complaints(f"{_SCHEME}://registry.corp.internal/simple")
    assert not complaints("http://127.0.0.1:8420/ https://cdn.example.com/a https://docs.python.org/3/")


def test_a_core_is_followed_into_its_neighbours() -> None:
    """Moving a clock into a module beside the core does not hide it."""
    core = Source(path="services/stage/decide.py", text="from services.stage.moments import this_one")
    beside = Source(path="services/stage/moments.py", text="import time")
    assert guards.core_closure([core.path], [core, beside]) == {core.path, beside.path}


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("TID251", "import time\n\ntime.sleep(1)\n"),
        ("TID251", "import unittest.mock\n\nprint(unittest.mock)\n"),
        ("BLE001", "try:\n    x = 1\nexcept Exception:\n    x = 2\n"),
        ("T201", 'print("hello")\n'),
        ("S602", 'import subprocess\n\nsubprocess.run("ls", shell=True)\n'),
        ("ASYNC251", "import time\n\n\nasync def f() -> None:\n    time.sleep(1)\n"),
    ],
)
def test_ruff_refuses_what_the_house_rules_refuse(code: str, line: str) -> None:
    """The linter's settings in pyproject.toml hold for a stage's files."""
    assert code in _ruff(line, "services/moderator/agents.py")


def test_the_command_line_may_print() -> None:
    """Printing is a command line's work."""
    assert "T201" not in _ruff('print("hello")\n', "services/audit/cli.py")


def _ruff(text: str, filename: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    argv = [str(ruff), "check", "--no-cache", "--output-format", "concise", "--stdin-filename", filename, "-"]
    done = subprocess.run(argv, input=text, cwd=guards.ROOT, capture_output=True, text=True, check=False)
    return done.stdout
