"""The sidecar, with a ComfyUI checkout whose ``main.py`` starts the loopback ComfyUI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.gpu_worker.adapters.comfyui_http import ComfyUIAway, ComfyUIHttp
from services.gpu_worker.sidecar import Sidecar, SidecarError, SidecarOptions, backoff, command, environment
from tests.harness.waiting import eventually

ROOT = Path(__file__).parents[3]
SANDBOX = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
print("custom nodes loaded", flush=True)
from services.sandbox.comfyui.__main__ import main
main()
"""
#: Ignores SIGTERM, and has a child that does too.
STUBBORN = f"""
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print("child", child.pid, flush=True)
{SANDBOX.replace("main()", "")}
import asyncio
from services.sandbox.comfyui import ComfyUISandbox, SandboxSettings
async def serve():
    await ComfyUISandbox(SandboxSettings(port=int(sys.argv[sys.argv.index("--port") + 1]))).start()
    await asyncio.Event().wait()
asyncio.run(serve())
"""
READY = 20.0  # seconds: Python starts in less, on a machine that does other things too

Start = Callable[..., Sidecar]


def checkout(folder: Path, main: str = SANDBOX) -> SidecarOptions:
    """A ComfyUI checkout of our own, and how to run it with little patience."""
    folder.joinpath("main.py").write_text(main)
    return SidecarOptions(directory=folder, stop_seconds=5.0, backoff_seconds=0.05, backoff_cap_seconds=0.2)


@pytest.fixture
def output() -> list[str]:
    """What ComfyUI printed."""
    return []


@pytest.fixture
def start(output: list[str]) -> Iterator[Start]:
    """Start sidecars, which end with the test."""
    started: list[Sidecar] = []

    def start_one(options: SidecarOptions) -> Sidecar:
        sidecar = Sidecar(options, on_output=output.append)
        started.append(sidecar)
        sidecar.start()
        return sidecar

    yield start_one
    for sidecar in started:
        sidecar.stop()


def answers(sidecar: Sidecar) -> bool:
    """Whether its ComfyUI answers."""
    http = ComfyUIHttp(sidecar.url, connect_seconds=1.0, seconds=5.0)
    try:
        return bool(http.system_stats())
    except ComfyUIAway:
        return False
    finally:
        http.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_starts_comfyui_and_waits_until_it_answers(
    tmp_path: Path, start: Start, output: list[str]
) -> None:
    """Ready means that the first job would be taken; what ComfyUI prints goes to the log."""
    sidecar = start(checkout(tmp_path))
    assert sidecar.wait_ready(READY)
    assert answers(sidecar)
    assert "custom nodes loaded" in output


def test_a_dead_comfyui_is_started_again_on_the_same_port(tmp_path: Path, start: Start) -> None:
    """The worker's renderer keeps its address."""
    sidecar = start(checkout(tmp_path))
    assert sidecar.wait_ready(READY)
    url, pid = sidecar.url, sidecar.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: sidecar.starts == 2, READY)
    assert sidecar.wait_ready(READY)
    assert (sidecar.url, sidecar.pid != pid) == (url, True)


def test_its_ups_and_downs_are_told(tmp_path: Path) -> None:
    """Between two jobs nobody else would notice that it has died."""
    told: list[bool] = []
    sidecar = Sidecar(checkout(tmp_path), on_output=lambda line: None, on_ready=told.append)
    sidecar.start()
    assert sidecar.wait_ready(READY)
    pid = sidecar.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: told == [True, False, True], READY)
    sidecar.stop()
    assert told[-1] is False


def test_a_stuck_comfyui_is_gone_when_restart_returns(tmp_path: Path, start: Start) -> None:
    """Whoever asks for readiness right after must not be told of the stuck one's."""
    sidecar = start(replace(checkout(tmp_path, STUBBORN), stop_seconds=0.1))
    assert sidecar.wait_ready(READY)
    pid = sidecar.pid
    assert pid is not None
    sidecar.restart("it ignores interrupts")
    assert not is_alive(pid)
    assert not answers(sidecar)
    assert sidecar.wait_ready(READY)
    assert sidecar.starts == 2


def test_one_that_is_still_starting_is_not_killed_for_being_stuck(tmp_path: Path, start: Start) -> None:
    """A worker that lost its ComfyUI asks for a restart that has begun already."""
    sidecar = start(checkout(tmp_path, f"import time; time.sleep(1)\n{SANDBOX}"))
    eventually(lambda: sidecar.pid)
    sidecar.restart("the renderer was lost")
    assert sidecar.wait_ready(READY)
    assert sidecar.starts == 1


def test_stopping_ends_what_ignores_sigterm_and_what_that_started(
    tmp_path: Path, start: Start, output: list[str]
) -> None:
    """Custom nodes start processes of their own: none may keep the GPU."""
    sidecar = start(replace(checkout(tmp_path, STUBBORN), stop_seconds=0.1))
    assert sidecar.wait_ready(READY)
    child = next(int(line.split()[1]) for line in output if line.startswith("child"))
    pid = sidecar.pid
    assert pid is not None
    sidecar.stop()
    assert not is_alive(pid)
    eventually(lambda: not is_alive(child))


def test_a_comfyui_that_never_answers_is_started_again(tmp_path: Path, start: Start) -> None:
    """A start that came to nothing has a deadline of its own."""
    silent = replace(checkout(tmp_path, "import time; time.sleep(600)"), ready_seconds=0.3, stop_seconds=1.0)
    sidecar = start(silent)
    eventually(lambda: sidecar.starts >= 2, READY)
    assert not sidecar.wait_ready(0)


def test_a_comfyui_that_cannot_start_is_tried_again_and_says_why(
    tmp_path: Path, start: Start, output: list[str]
) -> None:
    """A missing package shows in the log, at every try."""
    sidecar = start(checkout(tmp_path, "import no_such_package"))
    eventually(lambda: sidecar.starts >= 3, READY)
    eventually(lambda: sum("no_such_package" in line for line in output) >= 2)


def test_comfyui_does_not_outlive_a_killed_worker(tmp_path: Path) -> None:
    """A ComfyUI left behind would hold the GPU's memory: it ends even where nobody could stop it."""
    checkout(tmp_path)
    worker = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from services.gpu_worker.sidecar import Sidecar, SidecarOptions
sidecar = Sidecar(SidecarOptions(directory=Path({str(tmp_path)!r})), on_output=lambda line: None)
sidecar.start()
sidecar.wait_ready({READY})
print(sidecar.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        process.kill()
    eventually(lambda: not is_alive(pid))


def test_a_folder_without_a_main_py_is_refused(tmp_path: Path) -> None:
    """A wrong COMFYUI_DIR is told at once, and not by a process that ends again and again."""
    with pytest.raises(SidecarError, match=r"COMFYUI_DIR is .* which holds no main\.py"):
        Sidecar(SidecarOptions(directory=tmp_path), on_output=lambda line: None)


def test_comfyui_listens_on_loopback_only(tmp_path: Path) -> None:
    """The command line, with whatever the operator adds behind it."""
    options = SidecarOptions(directory=tmp_path, python="python3", args=("--lowvram",))
    assert command(options, 8188) == [
        *(
            "python3",
            "main.py",
            "--listen",
            "127.0.0.1",
            "--port",
            "8188",
            "--disable-auto-launch",
            "--lowvram",
        ),
    ]


def test_the_workers_credentials_are_not_handed_to_custom_nodes() -> None:
    """ComfyUI gets what it needs of the environment, and no password, key or token."""
    private = {
        "KAFKA_SASL_PASSWORD": "x",
        "KAFKA_BOOTSTRAP_SERVERS": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "S3_BUCKET": "x",
        "DISCORD_TOKEN": "x",
        "CIVITAI_API_KEY": "x",
        "SCHEMA_REGISTRY_URL": "x",
    }
    needed = {"PATH": "/bin", "HOME": "/root", "CUDA_VISIBLE_DEVICES": "0", "LD_LIBRARY_PATH": "/lib"}
    assert environment(private | needed) == needed | {"PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.0), (1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (5000, 60.0)]
)
def test_waits_between_starts_double_up_to_a_cap(failures: int, seconds: float) -> None:
    """A ComfyUI that cannot start must not keep the machine busy; one that lived well comes back at once."""
    assert backoff(failures, 1.0, 60.0) == seconds


def test_one_that_lived_well_is_started_again_at_once(tmp_path: Path, start: Start) -> None:
    """A long healthy life clears the record, so that one crash a day costs no wait."""
    options = replace(
        checkout(tmp_path), healthy_seconds=0.0, backoff_seconds=600.0, backoff_cap_seconds=600.0
    )
    sidecar = start(options)
    assert sidecar.wait_ready(READY)
    began = time.monotonic()
    assert sidecar.pid is not None
    os.kill(sidecar.pid, signal.SIGKILL)
    eventually(lambda: sidecar.starts == 2, READY)
    assert time.monotonic() - began < READY
