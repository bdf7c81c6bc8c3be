"""Who takes part in a run: two processes of each stage, three workers, and the links between them.  Pure."""

from __future__ import annotations

from tests.chaos.schedule import Cast

COUNTS = {"ingest_bot": 2, "moderator": 2, "dispatcher": 2, "gpu_worker": 3, "notifier": 2}


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}-{number}" for number in range(1, count + 1))


_STAGES = {stage: _numbered(stage, count) for stage, count in COUNTS.items()}
CAST = Cast(
    stages=_STAGES,
    grouped=("moderator", "dispatcher", "notifier"),
    comfyuis=_numbered("comfyui", COUNTS["gpu_worker"]),
    links=(
        *(f"kafka:{name}" for names in _STAGES.values() for name in names),
        *(f"comfyui:{name}" for name in _STAGES["gpu_worker"]),
        *(f"discord:{name}" for name in _STAGES["notifier"]),
    ),
)


def stage_of(process: str) -> str:
    """The stage of a process."""
    return process.rpartition("-")[0]


def comfyui_of(worker: str) -> str:
    """The ComfyUI beside a worker."""
    return f"comfyui-{worker.rpartition('-')[2]}"
