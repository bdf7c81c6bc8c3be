"""``python -m services.sandbox.discord``: a loopback Discord as a process of its own."""

from __future__ import annotations

import asyncio
import signal

import click

from services.sandbox.discord.server import DiscordSandbox


@click.command(context_settings={"show_default": True})
@click.option("--port", default=8420, help="Port on 127.0.0.1; 0 = any free one.")
@click.option("--notice", default="", help="A sentence for the top of the page.")
def main(port: int, notice: str) -> None:
    """A loopback Discord: its REST API, its gateway, and a page that looks like a channel.

    Point a bot at it with DISCORD_API_BASE_URL=http://127.0.0.1:PORT/api/v10 and the token sandbox-bot-token.
    Submit commands with POST /sandbox/interactions, read what came of them at /sandbox/messages.
    """
    asyncio.run(_serve(port, notice))


async def _serve(port: int, notice: str) -> None:
    sandbox = DiscordSandbox(notice=notice)
    await sandbox.start(port)
    click.echo(f"Discord sandbox on {sandbox.url}")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    await sandbox.stop()


if __name__ == "__main__":
    main()
