"""``distillery``: one command for the launcher, the stages, the topics and the audit tools.

Sub-commands are imported when they are asked for: ``distillery topics`` needs neither Faust nor discord.py.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Mapping
from types import MappingProxyType

import click

STAGES = ("ingest_bot", "moderator", "dispatcher", "gpu_worker", "notifier")

#: What a command's name stands for: where it is, and what the overview says of it without importing it.
COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "demo": ("services.launcher.cli:demo", "Run the whole chain on this machine until Ctrl-C."),
        "serve": ("services.launcher.cli:serve_command", "Make one request through the running demo."),
        "topics": ("services.launcher.topics.cli:topics", "Create, update and list the topics on a cluster."),
        "audit": ("services.audit.cli:audit", "Read, follow and replay what went over the topics."),
    }
)


class LazyGroup(click.Group):
    """A group that imports a command only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, those of ``COMMANDS`` first."""
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from the sentences here: it imports nothing."""
        rows = [(name, sentence) for name, (_, sentence) in COMMANDS.items()]
        rows += [(name, command.get_short_help_str()) for name, command in sorted(self.commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup)
@click.version_option(package_name="distillery")
def main() -> None:
    """Turn a Discord /serve command into images, as a chain of small stages joined by Kafka topics."""


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("name", type=click.Choice(STAGES))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def stage(name: str, args: tuple[str, ...]) -> None:
    """Run one stage in this process, as ``python -m services.NAME`` does."""
    sys.argv = [f"distillery stage {name}", *args]
    runpy.run_module(f"services.{name}", run_name="__main__", alter_sys=True)
