"""The loopback ComfyUI as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.sandbox.comfyui import Fault, FaultKind
from tests.harness.waiting import eventually

MODULE = [sys.executable, "-m", "services.sandbox.comfyui"]


#: A graph of one node that draws nothing, and one that shows it.
EMPTY = '{"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}'
SHOW = '{"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}'
PROMPT = f'{{"prompt_id": "8c5b1c0e-2f1d-4d7a-9a57-7d2f0b6f3c11", "prompt": {{"1": {EMPTY}, "2": {SHOW}}}}}'


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, which it prints."""
    with subprocess.Popen([*MODULE, "--port", "0", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield process, line.split()[-1]
        finally:
            process.kill()


def post(url: str, body: str) -> None:
    """One POST."""
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), method="POST"), timeout=10):
        pass


def test_it_prints_its_address_answers_and_stops_on_sigterm() -> None:
    """What a launcher needs: nothing is left running, and the exit code is clean."""
    with running() as (process, url):
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}/system_stats", timeout=10) as response:
            assert response.status == 200
        process.terminate()
        assert process.wait(10) == 0


def test_the_exit_fault_ends_the_process_at_once() -> None:
    """As a kill does: no farewell, and nothing listens."""
    with running() as (process, url):
        fault = Fault(kind=FaultKind.EXIT, node_type="EmptyImage")
        post(f"{url}/sandbox/faults", f'{{"kind": "{fault.kind}", "node_type": "{fault.node_type}"}}')
        try:
            post(f"{url}/prompt", PROMPT)
        except (urllib.error.URLError, ConnectionError):
            pass  # it may die before it has answered
        assert eventually(lambda: process.poll()) == 137


def test_its_journal_outlives_it_and_names_each_run(tmp_path: Path) -> None:
    """Who counts runs must not lose those of a server that was killed."""
    journal = tmp_path / "runs.jsonl"
    with running("--instant", "--journal", str(journal)) as (process, url):
        post(f"{url}/prompt", PROMPT)
        eventually(lambda: journal.exists() and journal.read_text(encoding="utf-8"))
        process.kill()
    (line,) = journal.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["prompt_id"] == "8c5b1c0e-2f1d-4d7a-9a57-7d2f0b6f3c11"


def test_its_options_are_explained() -> None:
    """``--help`` names each, and only loopback can be listened on."""
    helped = subprocess.run([*MODULE, "--help"], capture_output=True, text=True, check=True, timeout=20)
    for option in ("--port", "--step-seconds", "--instant", "--checkpoint", "--load-seconds"):
        assert option in helped.stdout
    refused = subprocess.run([*MODULE, "--listen", "192.0.2.1"], capture_output=True, text=True, timeout=20)
    assert refused.returncode == 2
