"""Rules about the tree, each a function from text to complaints, so that a test can plant a violation.

A complaint is one line that starts with the place, such as ``services/chassis/edge.py:12``.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
LONGEST_FUNCTION = 40  #: lines without the docstring
LONGEST_MODULE = 400
#: Words that say nothing of what a thing does.
VAGUE_NAMES = re.compile(r"^(utils?|common|misc|helpers?|managers?|base)$|Manager$|Helpers?$|Utils?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One text file of the tree; ``path`` is relative to the root, with slashes."""

    path: str
    text: str

    def tree(self) -> ast.Module:
        """Its syntax tree, where it is Python."""
        return ast.parse(self.text, self.path)


def tracked_files() -> list[str]:
    """Paths of the files that git knows or would add, as in a fresh clone; without git, of all files."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return sorted(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())
    hidden = re.compile(r"(^|/)(\.venv|build|__pycache__|[^/]*\.egg-info)/")
    paths = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file())
    return sorted(path for path in paths if not hidden.search(path))


def text_files() -> list[Source]:
    """Every tracked file that is text."""
    sources = []
    for name in tracked_files():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data[:8000]:
            sources.append(Source(path=name, text=data.decode("utf-8", errors="replace")))
    return sources


def python_files() -> list[Source]:
    """Every tracked Python module."""
    return [source for source in text_files() if source.path.endswith(".py")]


def long_functions(source: Source) -> list[str]:
    """Functions over the limit, docstrings not counted."""
    found = []
    for node in ast.walk(source.tree()):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
        if length > LONGEST_FUNCTION:
            found.append(f"{source.path}:{node.name} has {length} lines, more than {LONGEST_FUNCTION}")
    return found


def long_module(source: Source) -> list[str]:
    """The module, if it is over the limit."""
    length = len(source.text.splitlines())
    if length <= LONGEST_MODULE:
        return []
    return [f"{source.path} has {length} lines, more than {LONGEST_MODULE}"]


def vague_names(source: Source) -> list[str]:
    """Modules, folders and classes whose names say nothing."""
    parts = [part.removesuffix(".py") for part in PurePosixPath(source.path).parts]
    classes = [node.name for node in ast.walk(source.tree()) if isinstance(node, ast.ClassDef)]
    return [
        f"{source.path}: the name {name} is vague" for name in [*parts, *classes] if VAGUE_NAMES.search(name)
    ]


def bare_reasons(source: Source) -> list[str]:
    """Exemptions from a linter or the type checker without a code, or without a reason on the same line."""
    exemption = re.compile(r"#\s*(noqa\b|type:\s*ignore|pragma:)(.*)")
    reasoned = re.compile(r"^(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[\w, -]+\])\s*(-|—|#)\s*\S+")
    return [
        f"{source.path}:{number}: {match[0]!r} needs its code and, on the same line, its reason"
        for number, line in _code_lines(source)
        if (match := exemption.search(line)) and not reasoned.match(match[2])
    ]


def broad_excepts(source: Source) -> list[str]:
    """Handlers that catch everything and do not raise again."""
    return [
        f"{source.path}:{node.lineno}: a broad except; only the guarded edge has one"
        for node in ast.walk(source.tree())
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node)
    ]


def impure(source: Source) -> list[str]:
    """What a core must take as an argument: async, clock, environment, randomness, logs, metrics, files."""
    outside = {"asyncio", "logging", "os", "random", "secrets", "socket", "subprocess", "threading", "time"}
    calls = {"open", "print", "input", "now", "utcnow", "today", "uuid1", "uuid4"}
    found = []
    for node in ast.walk(source.tree()):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            found.append(f"{source.path}:{node.lineno}: a core is not async")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {name.split(".")[0] for name in _imported(node)} & outside
            found.extend(
                f"{source.path}:{node.lineno}: a core does not import {name}" for name in sorted(names)
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in calls:
            found.append(f"{source.path}:{node.lineno}: a core does not call {ast.unparse(node.func)}")
    return found


def core_closure(cores: list[str], sources: list[Source]) -> set[str]:
    """The cores' paths and those of the modules of their own stage that they import, however indirectly."""
    by_path = {source.path: source for source in sources}
    closure: set[str] = set()
    waiting = [path for path in cores if path in by_path]
    while waiting:
        path = waiting.pop()
        closure.add(path)
        stage = path.split("/")[1]
        for node in ast.walk(by_path[path].tree()):
            names = _imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else []
            paths = [
                name.replace(".", "/") + ".py" for name in names if name.split(".")[:2] == ["services", stage]
            ]
            waiting.extend(found for found in paths if found in by_path and found not in closure)
    return closure


def sleeping_tests(source: Source) -> list[str]:
    """Waits on a duration; ``asyncio.sleep(0)`` only gives way."""
    return [
        f"{source.path}:{node.lineno}: {ast.unparse(node)} waits on a duration; wait on a condition"
        for node in ast.walk(source.tree())
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "sleep", "asyncio.sleep"}
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]


def terse_tests(source: Source) -> list[str]:
    """Tests whose name is no sentence, or that say nothing of the behaviour."""
    found = []
    for node in ast.walk(source.tree()):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
            continue
        if node.name.count("_") < 3:
            found.append(f"{source.path}:{node.name}: a test's name is a sentence")
        if not ast.get_docstring(node):
            found.append(f"{source.path}:{node.name}: a test's docstring states the behaviour")
    return found


def links_outside(source: Source) -> list[str]:
    """Relative paths that lead out of the repository, read from their file's folder and from the root."""
    bases = (ROOT / PurePosixPath(source.path).parent, ROOT)
    return [
        f"{source.path}:{number}: {match[0]} leads out of the repository"
        for number, line in enumerate(source.text.splitlines(), start=1)
        for match in re.finditer(r"(?<![\w./])(?:\.\./)+[\w.-]+", line)
        if not any((base / match[0]).resolve().is_relative_to(ROOT) for base in bases)
    ]


def machine_paths(source: Source, here: Path = ROOT) -> list[str]:
    """Absolute paths of a machine: of someone's home, or of where this checkout and its neighbours lie."""
    patterns = [
        r"/(?:home|Users)/[a-z][\w.-]*/",
        r"(?<![\w.])/[r]oot/",
    ]  # [r]: so that it does not match itself
    if len(here.parts) > 2 and here.parent not in map(Path, ("/usr", "/opt", "/etc", "/var")):
        patterns += [re.escape(str(path)) + r"(?![\w-])" for path in here.parent.iterdir() if path.is_dir()]
    machine = re.compile("|".join(patterns))
    return [
        f"{source.path}:{number}: {match[0]} is a path of one machine"
        for number, line in enumerate(source.text.splitlines(), start=1)
        if (match := machine.search(line))
    ]


def unknown_hosts(source: Source, known: frozenset[str]) -> list[str]:
    """Hosts in addresses that are neither loopback, nor reserved for examples, nor known to everyone."""
    ours = re.compile(
        r"^(localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1\]|([\w-]+\.)*(example(\.(com|net|org))?|test|invalid))$"
    )
    return [
        f"{source.path}:{number}: the host {match[1]} is not one that this project names"
        for number, line in enumerate(source.text.splitlines(), start=1)
        for match in re.finditer(r"\b(?:https?|wss?|s3)://(?:[^\s/@]+@)?([\w.-]*\w)", line)
        if "." in match[1] and not ours.match(match[1]) and not _is_known(match[1], known)
    ]


def undescribed_module(source: Source) -> list[str]:
    """A module without a docstring has given no reason to be."""
    if ast.get_docstring(source.tree()):
        return []
    return [f"{source.path}: its docstring must say in one sentence why it exists"]


def _is_known(host: str, known: frozenset[str]) -> bool:
    return any(host == name or host.endswith("." + name) for name in known)


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _code_lines(source: Source) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, but for those inside a string of several lines."""
    inside = {
        line
        for node in ast.walk(source.tree())
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.end_lineno != node.lineno
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    for number, line in enumerate(source.text.splitlines(), start=1):
        if number not in inside:
            yield number, line


def _is_broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(ast.unparse(name) in {"Exception", "BaseException"} for name in names)


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and (last.exc is None or last.cause is not None)


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = node.module or ""
    return [module, *(f"{module}.{alias.name}" for alias in node.names)]
