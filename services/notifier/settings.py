"""The notifier's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.settings import Secret, StageSettings
from services.notifier.policy import Policy


class NotifierSettings(StageSettings, frozen=True, kw_only=True):
    """How Discord is reached, and how much is sent at once."""

    discord_token: Annotated[
        Secret,
        Meta(
            description="The bot's token, for results that come after an interaction's 15 minutes; without it those "
            "cannot be delivered."
        ),
    ] = Secret("")
    discord_api_base_url: Annotated[
        str,
        Meta(description="Another Discord API, such as http://127.0.0.1:8420/api/v10; empty = the real one."),
    ] = ""
    progress_edit_seconds: Annotated[
        float, Meta(description="Least time between two progress edits of one message.", ge=1, le=60)
    ] = 2.0
    notifier_max_in_flight: Annotated[
        int, Meta(description="Requests that are told of their end at once.", ge=1, le=1024)
    ] = 64
    notifier_image_memory_mib: Annotated[
        int, Meta(description="Mebibytes of images held in memory at once; further ones wait.", ge=1, le=4096)
    ] = 32
    image_link_days: Annotated[
        int,
        Meta(
            description="How long a link to images that are too large for Discord lives, in days.", ge=1, le=7
        ),
    ] = 7

    def policy(self) -> Policy:
        """The rules as the core wants them."""
        return Policy(
            edit_spacing=self.progress_edit_seconds,
            link_life=self.image_link_days * 24 * 3600,
        )
