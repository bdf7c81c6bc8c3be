"""What the audit commands take on their command lines, and how a wrong value is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import click

from services.audit.moments import parse_duration, parse_since
from services.chassis.clock import system_clock
from services.contracts.topics import TOPIC_NAMES


class TopicName(click.ParamType):
    """A topic of the registry, without the installation's prefix."""

    name = "topic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse another name, and say which is nearest."""
        if value not in TOPIC_NAMES:
            self.fail(_unknown(str(value)), param, ctx)
        return str(value)


class Duration(click.ParamType):
    """A duration such as 10m, as a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Refuse what is none."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Since(click.ParamType):
    """An age or an instant, as an instant."""

    name = "age|instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Refuse what is neither."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_since(str(value), system_clock())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _unknown(name: str) -> str:
    near = get_close_matches(name, TOPIC_NAMES, n=1, cutoff=0.5)
    hint = f"the nearest is {near[0]!r}" if near else f"the topics are {', '.join(TOPIC_NAMES)}"
    return f"There is no topic {name!r}; {hint}."
