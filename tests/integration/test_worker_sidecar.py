"""The worker with a ComfyUI of its own beside it: started, warmed up, and started again when it dies."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.fakes.graphs import text_graph
from tests.harness.chain import ComfyUI
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess, StartStage
from tests.harness.waiting import eventually

ROOT = Path(__file__).parents[2]
MAIN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from services.sandbox.comfyui.__main__ import main
main()
"""


class Beside:
    """A worker, and the ComfyUI that it runs."""

    def __init__(self, process: StageProcess) -> None:
        self.process = process

    def comfyui(self) -> ComfyUI:
        """The ComfyUI's control surface."""
        starts = [line["what"] for line in self.process.logs() if line.get("event") == "sidecar_changed"]
        url = next(what for what in starts if what.startswith("ComfyUI starts at")).rpartition(" ")[2]
        return ComfyUI(int(url.rpartition(":")[2]))

    def pid(self) -> int | None:
        """The ComfyUI's process."""
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                if b"main.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return None

    def is_ready(self) -> bool:
        """Whether the worker offers slots."""
        return self.process.get("/readyz")[0] == 200


@pytest.fixture
def beside(chain_kafka: KafkaCorner, start_stage: StartStage, tmp_path: Path) -> Beside:
    """A worker that is ready, with a warm-up."""
    folder = tmp_path / "ComfyUI"
    for name in ("output", "input"):
        (folder / name).mkdir(parents=True)
    (folder / "main.py").write_text(MAIN)
    warm_up = tmp_path / "warm-up.json"
    warm_up.write_text(json.dumps(text_graph()))
    env = {
        "COMFYUI_DIR": str(folder),
        "WORKER_WARM_UP": str(warm_up),
        "WORKER_LEAST_FREE_MIB": "0",
        "OBJECT_STORE_DIR": str(tmp_path / "objects"),
    }
    return Beside(start_stage("gpu_worker", env))


def test_a_worker_warms_its_own_comfyui_up_and_again_after_it_died(beside: Beside) -> None:
    """It is ready only in between, though no job told that ComfyUI had died."""
    assert [run["outcome"] for run in beside.comfyui().runs()] == ["success"]
    pid = eventually(beside.pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not beside.is_ready(), 10)
    eventually(beside.is_ready, 30, failing=beside.process.log_tail)
    assert beside.pid() not in (None, pid)
    assert [run["outcome"] for run in beside.comfyui().runs()] == ["success"]
