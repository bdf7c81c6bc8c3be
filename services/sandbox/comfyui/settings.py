"""What the loopback ComfyUI can be told."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen settings of one loopback ComfyUI."""

    port: Annotated[int, Meta(description="Port on 127.0.0.1; 0 = any free one.", ge=0, le=65535)] = 0
    step_seconds: Annotated[float, Meta(description="Time of one sampler step.", ge=0)] = 0.05
    image_seconds: Annotated[float, Meta(description="Time to decode one image.", ge=0)] = 0.05
    load_seconds: Annotated[
        float, Meta(description="Time to load a checkpoint that the run before did not use.", ge=0)
    ] = 0.0
    instant: Annotated[
        bool,
        Meta(description="Answer at once with 64x64 images from a cache and few frames, for benchmarks."),
    ] = False
    instant_seconds: Annotated[
        float, Meta(description="With `instant`: the time that a job takes all the same.", ge=0)
    ] = 0.0
    previews: Annotated[
        bool, Meta(description="Send a preview at every sampler step, as --preview-method does.")
    ] = False
    checkpoints: Annotated[tuple[str, ...], Meta(description="Checkpoint files that it has.")] = (
        "v1-5-pruned-emaonly.safetensors",
        "sd_xl_base_1.0.safetensors",
    )
    loras: Annotated[tuple[str, ...], Meta(description="LoRA files that it has.")] = ()
    gpu: Annotated[str, Meta(description="Name of the device that it reports.")] = "no GPU (sandbox)"
    vram_bytes: Annotated[int, Meta(description="Memory of the device that it reports.", ge=0)] = 8 * 1024**3
    kept_bytes: Annotated[
        int, Meta(description="Bytes of output images kept in memory; the oldest go first.", ge=0)
    ] = 256 * 1024**2
    journal: Annotated[
        str, Meta(description="File to which each job is appended as it starts to run; empty = none.")
    ] = ""
    kept_history: Annotated[int, Meta(description="History entries kept.", ge=1)] = 10_000
