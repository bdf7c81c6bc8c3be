"""The notifier's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.settings import Secret, StageSettings


class NotifierSettings(StageSettings, frozen=True, kw_only=True):
    """How it reaches Discord."""

    discord_token: Annotated[
        Secret,
        Meta(
            description="The bot's token, for channel messages once an interaction has expired; empty = none then."
        ),
    ] = Secret("")
    discord_api_base_url: Annotated[
        str,
        Meta(description="Another Discord API, such as http://127.0.0.1:8420/api/v10; empty = the real one."),
    ] = ""
    notifier_max_in_flight: Annotated[
        int, Meta(description="Users served at the same time.", ge=1, le=1000)
    ] = 64
