"""Says on stderr what a search does, so that stdout holds only what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

_EVERY_SECONDS = 0.25


class ProgressLine:
    """One line that is rewritten on a terminal; elsewhere one line for each pass, without numbers."""

    def __init__(self, is_terminal: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._is_terminal = is_terminal
        self._monotonic = monotonic
        self._what = ""
        self._shown_at = 0.0
        self._is_open = False

    def say(self, what: str) -> None:
        """A new pass begins."""
        self._what = what
        if self._is_terminal:
            self._show(what)
        else:
            click.echo(f"{what} ...", err=True)

    def count(self, records: int) -> None:
        """So many records have been read in this pass."""
        now = self._monotonic()
        if self._is_terminal and self._what and now - self._shown_at >= _EVERY_SECONDS:
            self._shown_at = now
            self._show(f"{self._what}: {records:,} records")

    def done(self) -> None:
        """Leave the terminal's line clean."""
        if self._is_open:
            click.echo("\r\x1b[K", nl=False, err=True)
        self._is_open = False

    def _show(self, text: str) -> None:
        click.echo(f"\r\x1b[K{text} ...", nl=False, err=True)
        self._is_open = True
