"""The worker's settings."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from services.chassis.settings import StageSettings


class WorkerSettings(StageSettings, frozen=True, kw_only=True):
    """Who the worker is, how much it takes, and where its ComfyUI is."""

    worker_id: Annotated[
        str,
        Meta(
            description="Name of this worker, unique in the fleet; empty = host name and process id.",
            max_length=100,
        ),
    ] = ""
    worker_slots: Annotated[int, Meta(description="Jobs run at once; one ComfyUI runs one.", ge=1, le=16)] = 1
    worker_held_limit: Annotated[
        int, Meta(description="Jobs held beside the running ones, so that the GPU never waits.", ge=0, le=16)
    ] = 1
    worker_report_seconds: Annotated[
        float, Meta(description="How often it reports what it holds.", gt=0, le=60)
    ] = 2.0
    worker_grace_seconds: Annotated[
        float,
        Meta(
            description="How long a stopping worker lets its running job go on before it gives it back.", ge=0
        ),
    ] = 25.0
    worker_warm_up: Annotated[
        str,
        Meta(
            description="A workflow in ComfyUI's API format (a file) that is run before slots are offered, so that "
            "the first job finds its models loaded; empty = none."
        ),
    ] = ""
    worker_warm_up_seconds: Annotated[
        float, Meta(description="How long WORKER_WARM_UP may take.", gt=0, le=3600)
    ] = 300.0
    worker_spot_notice_url: Annotated[
        str,
        Meta(
            description="Asked every 5 s; when it answers 200 every job is given back at once. On AWS: the instance "
            "metadata's latest/meta-data/spot/instance-action. Empty = SIGTERM is the only notice, as on "
            "Runpod and Google: there, set WORKER_GRACE_SECONDS below what the provider leaves before SIGKILL. "
            "SIGUSR1 does the same as a notice.",
            pattern="^(https?://.+)?$",
        ),
    ] = ""
    worker_least_free_mib: Annotated[
        int,
        Meta(
            description="Room that ComfyUI's folders must have, in MiB; with less no slots are offered.", ge=0
        ),
    ] = 1024
    worker_price_per_hour: Annotated[
        float, Meta(description="What the machine costs in US dollars; 0 = not known.", ge=0)
    ] = 0.0
    kafka_group_protocol: Annotated[
        str,
        Meta(
            description="consumer (KIP-848, Kafka 4.0 and later) or classic (cooperative).",
            pattern="^(consumer|classic)$",
        ),
    ] = "consumer"
    comfyui_url: Annotated[str, Meta(description="A running ComfyUI, when COMFYUI_DIR is empty.")] = (
        "http://127.0.0.1:8188"
    )
    comfyui_dir: Annotated[
        str,
        Meta(
            description="A ComfyUI checkout that the worker starts and supervises; empty = use COMFYUI_URL."
        ),
    ] = ""
    comfyui_python: Annotated[
        str, Meta(description="Python that runs COMFYUI_DIR; empty = the worker's own.")
    ] = ""
    comfyui_args: Annotated[
        tuple[str, ...], Meta(description="Further arguments for COMFYUI_DIR's main.py.")
    ] = ()
    comfyui_output_dir: Annotated[
        str,
        Meta(
            description="Where ComfyUI writes images, if this machine sees it: what is stored is deleted there. "
            "Empty = output in COMFYUI_DIR."
        ),
    ] = ""
    comfyui_input_dir: Annotated[
        str,
        Meta(description="Where ComfyUI keeps uploads, likewise. Empty = input in COMFYUI_DIR."),
    ] = ""

    def name(self) -> str:
        """The worker's id."""
        return self.worker_id or f"{socket.gethostname()}-{os.getpid()}"

    def comfyui_folders(self) -> list[Path]:
        """ComfyUI's output and input folders, as far as this machine sees them."""
        named = [(self.comfyui_output_dir, "output"), (self.comfyui_input_dir, "input")]
        if not self.comfyui_dir:
            return [Path(path).expanduser() for path, _ in named if path]
        return [Path(path or Path(self.comfyui_dir, name)).expanduser() for path, name in named]
