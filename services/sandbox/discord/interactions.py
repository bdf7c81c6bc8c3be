"""One slash command that a user sent, or one button that a user pressed, and its course."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.sandbox.discord.commands import Option
from services.sandbox.discord.messages import Message, Stamp


@dataclass(slots=True, kw_only=True, eq=False)
class Interaction:
    """A slash command that a user sent, or with ``pressed`` a button."""

    id: str
    token: str = field(repr=False)
    user_id: str
    guild_id: str
    channel_id: str
    created: Stamp
    created_on_clock: float  #: by the world's clock, which tests can advance
    command: str = ""  #: none for a button
    command_id: str = ""
    options: tuple[Option, ...] = ()
    attachments: dict[str, dict[str, object]] = field(default_factory=dict)  #: attachment objects by id
    pressed: Message | None = None  #: the message whose button was pressed
    custom_id: str = ""  #: the button's
    answered: Stamp | None = None
    failed: bool = False  #: nobody answered in time, and the user was told so
    expired: bool = False  #: a test ended the token's life early
    original: Message | None = None
    messages: list[Message] = field(
        default_factory=list
    )  #: the original response, then follow-ups; also deleted ones


def new_token() -> str:
    """A token as long as Discord's, which records that hold it should be tried with."""
    return secrets.token_urlsafe(150)


def overdue(interactions: Iterable[Interaction], clock: float, answer_seconds: float) -> list[Interaction]:
    """Those that nobody answered within the time, and whose user has not been told yet."""
    return [
        interaction
        for interaction in interactions
        if interaction.answered is None
        and not interaction.failed
        and clock - interaction.created_on_clock >= answer_seconds
    ]
