"""From ``make demo`` in a set-up tree to the printed address."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def cold_start(folder: Path) -> float:
    """Seconds; the demo is ended again by Ctrl-C."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "DISCORD_", "COMFYUI_"))
    }
    env = kept | {"DEMO_DIR": str(folder / "demo"), "DEMO_PORT": "0", "PYTHONUNBUFFERED": "1"}
    begin = time.monotonic()
    demo = subprocess.Popen(
        ["make", "--no-print-directory", "demo"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("Open http"):
                return round(time.monotonic() - begin, 2)
        raise AssertionError("the demo ended without an address")
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        demo.wait(20)
