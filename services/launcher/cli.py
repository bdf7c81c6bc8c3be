"""The launcher's commands: ``distillery demo`` and ``distillery serve``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from services.chassis.settings import SettingsError, describe, load
from services.launcher.brokers.broker import BrokerError
from services.launcher.demo import read_running, run_demo
from services.launcher.plan import DemoSettings
from services.launcher.serve import ServeError, serve
from services.launcher.stack import StackError
from services.launcher.topics.cluster import ClusterError


@click.command(
    help="Run the whole chain on this machine until Ctrl-C.\n\n"
    "Without any setting it needs nothing else: an embedded broker, a loopback Discord with a page, and a loopback "
    "ComfyUI that draws procedurally.  Settings replace each of them by the real thing.",
    epilog="\b\nSettings (environment):\n" + describe(DemoSettings),
)
def demo() -> None:
    """Start the demo."""
    try:
        run_demo(os.environ, click.echo)
    except (BrokerError, ClusterError, StackError, SettingsError) as error:
        sys.exit(f"The demo cannot start.  {error}")


@click.command(
    name="serve",
    help="Make one request through the running demo and print its journey, stage by stage.\n\n"
    "PROMPT may hold flags, as in Discord: distillery serve 'a lighthouse at dusk --ar 16:9'.",
)
@click.argument("prompt")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for the end.")
def serve_command(prompt: str, timeout: float) -> None:
    """Make one request."""
    folder = Path(load(DemoSettings).demo_dir).absolute()
    running = read_running(folder)
    if running is None:
        sys.exit(f"No demo is running in {folder}; start one with: make demo")
    try:
        ended_well = serve(running, prompt, click.echo, timeout_seconds=timeout)
    except ServeError as error:
        sys.exit(str(error))
    sys.exit(0 if ended_well else 1)
