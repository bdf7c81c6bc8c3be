"""``python -m services.sandbox.discord``: a loopback Discord as a process of its own."""

from __future__ import annotations

import asyncio
import signal

import click
import uvloop

from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import Limits, SandboxSettings

_DEFAULTS = SandboxSettings()


@click.command(context_settings={"show_default": True})
@click.option("--port", default=8420, help="Port on 127.0.0.1; 0 = any free one.")
@click.option("--notice", default="", help="A sentence for the top of the page.")
@click.option("--bot-token", default=_DEFAULTS.bot_token, help="What the bot signs in with.")
@click.option("--shards", default=_DEFAULTS.shards, help="Shards that GET /gateway/bot recommends.")
@click.option("--file-limit", default=_DEFAULTS.limits.file_limit, help="Bytes that each file may have.")
@click.option("--token-seconds", default=_DEFAULTS.limits.token_seconds, help="Life of an interaction token.")
def main(port: int, notice: str, bot_token: str, shards: int, file_limit: int, token_seconds: float) -> None:
    """A loopback Discord: its REST API, its gateway, and a page that looks like a channel.

    Point a bot at it with DISCORD_API_BASE_URL=http://127.0.0.1:PORT/api/v10 and DISCORD_TOKEN=sandbox-bot-token.
    Send commands with POST /sandbox/interactions, read what came of them at /sandbox/interactions and
    /sandbox/messages, follow changes at /sandbox/events, arm faults with POST /sandbox/faults.
    """
    limits = Limits(file_limit=file_limit, token_seconds=token_seconds)
    settings = SandboxSettings(notice=notice, bot_token=bot_token, shards=shards, limits=limits)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, port))


async def _serve(settings: SandboxSettings, port: int) -> None:
    sandbox = DiscordSandbox(settings)
    await sandbox.start(port=port)
    click.echo(f"Discord sandbox on {sandbox.url}")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    await sandbox.stop()


if __name__ == "__main__":
    main()
