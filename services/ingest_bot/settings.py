"""The bot's settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from services.chassis.settings import Secret, StageSettings


class IngestSettings(StageSettings, frozen=True, kw_only=True):
    """How the bot connects, what it offers and what it takes."""

    discord_token: Annotated[Secret, Meta(description="The bot's token, from Discord's developer portal.")]
    discord_api_base_url: Annotated[
        str,
        Meta(description="Another Discord API, such as http://127.0.0.1:8420/api/v10; empty = the real one."),
    ] = ""
    discord_shard_count: Annotated[
        int, Meta(description="Shards of the whole bot; 0 = what Discord recommends.", ge=0)
    ] = 0
    discord_shard_ids: Annotated[
        tuple[int, ...], Meta(description="The shards that this process runs, such as 0,2; unset = all.")
    ] = ()
    discord_sync_guild: Annotated[
        str,
        Meta(description="A server whose commands are updated at once, for development; empty = everywhere."),
    ] = ""
    discord_sync: Annotated[
        bool, Meta(description="Whether this process registers the commands; one of several shards' should.")
    ] = True
    workflows_dirs: Annotated[
        tuple[str, ...],
        Meta(description="Further folders of workflows; a name again replaces the one that ships."),
    ] = ()
    input_max_bytes: Annotated[int, Meta(description="Largest attachment, in bytes.", ge=1024)] = (
        10 * 1024 * 1024
    )
    input_max_pixels: Annotated[int, Meta(description="Most pixels of an attachment.", ge=64)] = 40_000_000
