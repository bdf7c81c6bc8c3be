"""``python -m services.sandbox.comfyui``: a loopback ComfyUI as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal

import click

from services.sandbox.comfyui.server import ComfyUISandbox
from services.sandbox.comfyui.settings import SandboxSettings

_DEFAULTS = SandboxSettings()


@click.command(context_settings={"show_default": True})
@click.option("--port", default=8188, help="Port on 127.0.0.1; 0 = any free one.")
@click.option("--step-seconds", default=_DEFAULTS.step_seconds, help="Time of one sampler step.")
@click.option("--image-seconds", default=_DEFAULTS.image_seconds, help="Time to decode one image.")
@click.option("--load-seconds", default=_DEFAULTS.load_seconds, help="Time to load another checkpoint.")
@click.option("--instant", is_flag=True, help="Answer at once with 64x64 images, for benchmarks.")
@click.option(
    "--instant-seconds",
    default=_DEFAULTS.instant_seconds,
    help="With --instant, the time of a job all the same.",
)
@click.option("--journal", default="", help="File to which each job is appended as it starts to run.")
@click.option("--previews", is_flag=True, help="Send a preview image at every sampler step.")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    default=_DEFAULTS.checkpoints,
    help="A checkpoint file it has.",
)
@click.option("--lora", "loras", multiple=True, help="A LoRA file it has.")
@click.option(
    "--listen", type=click.Choice(["127.0.0.1"]), default="127.0.0.1", help="As ComfyUI's; loopback only."
)
@click.option("--disable-auto-launch", is_flag=True, help="As ComfyUI's; nothing is ever launched.")
def main(listen: str, disable_auto_launch: bool, **options: object) -> None:
    """A loopback ComfyUI: the real protocol, procedural pictures.

    Arm faults with POST /sandbox/faults, read what ran at /sandbox/runs.
    """
    asyncio.run(_serve(SandboxSettings(**options)))  # type: ignore[arg-type]  # click hands over what the options declare


async def _serve(settings: SandboxSettings) -> None:
    sandbox = ComfyUISandbox(settings)
    sandbox.on_exit = lambda: os._exit(137)
    await sandbox.start()
    click.echo(f"ComfyUI sandbox (procedural pictures, no GPU) on {sandbox.url}")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    await sandbox.stop()


if __name__ == "__main__":
    main()
