"""Prometheus's own tool, as the judge of expressions, rules and exports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.repo import guards

#: Where CI unpacks it.
_UNPACKED = guards.ROOT / "build" / "tools" / "usr" / "bin"
_SERIES = re.compile(r"^(?P<series>[a-zA-Z_:][\w:]*(?:\{.*\})?) (?P<value>\S+)$")


def run_promtool(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; ``text`` is its standard input.  Skips the test where it is not to be had, with the reason."""
    program = _find() or (_fetch() and _find())
    if program is None:
        pytest.skip(f"promtool is neither on the PATH nor in build/tools, and {_fetch()}")
    return subprocess.run([program, *words], input=text, capture_output=True, text=True, check=False)


def _find() -> str | None:
    return shutil.which("promtool", path=os.pathsep.join([os.environ.get("PATH", ""), str(_UNPACKED)]))


@cache
def _fetch() -> str:
    """Unpack it of Debian's package, once a run; returns why not, or how.

    Unpacked and not installed: installing would start a server.
    """
    if shutil.which("apt-get") is None:
        return "there is no apt-get to fetch it with"
    folder = _UNPACKED.parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    steps = [["apt-get", "download", "-qq", "prometheus"], ["sh", "-c", "dpkg-deb -x prometheus_*.deb ."]]
    if os.geteuid() == 0:
        steps.insert(0, ["apt-get", "update", "-qq"])
    for step in steps:
        done = subprocess.run(step, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0 and step[1] != "update":
            return f"{' '.join(step)} said: {done.stderr.strip() or done.stdout.strip()}"
    for package in folder.glob("prometheus_*.deb"):
        package.unlink()
    return "it was unpacked into build/tools"


def expressions_without_result(expressions: list[str], export: str, folder: Path) -> str:
    """What promtool says of the expressions that give nothing on a process's export; empty = each gives something.

    The export's series grow from nothing to their values over ten minutes, so that rates have something to see.
    """
    tests = [
        {
            "expr": f"count({expression}) > bool 0",
            "eval_time": "10m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for expression in expressions
    ]
    unit = {"interval": "1m", "input_series": _growing_series(export), "promql_expr_test": tests}
    path = folder / "expressions.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "tests": [unit]}), encoding="utf-8")
    done = run_promtool("test", "rules", str(path))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _growing_series(export: str) -> list[dict[str, str]]:
    samples = (_SERIES.match(line) for line in export.splitlines() if line.startswith("distillery_"))
    return [
        {"series": sample["series"], "values": f"0+{float(sample['value']):f}x10"}
        for sample in samples
        if sample is not None and not sample["series"].split("{")[0].endswith("_created")
    ]
