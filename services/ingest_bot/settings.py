"""The bot's settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta

from services.chassis.settings import Secret, StageSettings
from services.ingest_bot.policy import Policy


class IngestSettings(StageSettings, frozen=True, kw_only=True):
    """How the bot connects, what it offers and what it takes."""

    discord_token: Annotated[Secret, Meta(description="The bot's token, from Discord's developer portal.")]
    discord_api_base_url: Annotated[
        str,
        Meta(description="Another Discord API, such as http://127.0.0.1:8420/api/v10; empty = the real one."),
    ] = ""
    discord_gateway_url: Annotated[
        str, Meta(description="Where shards connect; empty = as the API says, which is right but for tests.")
    ] = ""
    discord_shard_count: Annotated[
        int,
        Meta(description="Shards of the whole bot, over all processes; 0 = what Discord recommends.", ge=0),
    ] = 0
    discord_shard_ids: Annotated[
        tuple[int, ...],
        Meta(description="The shards that this process runs, such as 0,2; needs the count; unset = all."),
    ] = ()
    discord_sync: Annotated[
        Literal["auto", "always", "never"],
        Meta(
            description="Whether to register the commands at the start: auto = where Discord's differ, and only "
            "in the process that runs shard 0."
        ),
    ] = "auto"
    discord_sync_guild: Annotated[
        str,
        Meta(
            description="Id of a server that gets the commands for itself, for development; empty = all servers.",
            pattern="^[0-9]*$",
        ),
    ] = ""
    discord_plans: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^\s*[0-9]{1,20}=[a-z][a-z0-9_-]{0,31}\s*$")], ...],
        Meta(
            description="Who has which plan, such as 123=pro,456=team: ids of users and of roles, of which the first "
            "that fits counts; everybody else has the plan free."
        ),
    ] = ()
    workflows_dirs: Annotated[
        tuple[str, ...],
        Meta(description="Further folders of workflows; a name again replaces the one that ships."),
    ] = ()
    prompt_max_chars: Annotated[int, Meta(description="Longest prompt.", ge=1, le=6000)] = 2000
    images_max: Annotated[int, Meta(description="Most images of one request.", ge=1, le=16)] = 4
    request_lifetime_seconds: Annotated[
        int, Meta(description="A request not drawn after so long is dropped, and its user told.", ge=60)
    ] = 14 * 60
    input_max_bytes: Annotated[int, Meta(description="Largest attachment, in bytes.", ge=1024)] = (
        10 * 1024 * 1024
    )
    input_max_pixels: Annotated[int, Meta(description="Most pixels of an attachment.", ge=256)] = 40_000_000

    def policy(self) -> Policy:
        """The limits among them, as the core takes them."""
        plans = (entry.strip().partition("=") for entry in self.discord_plans)
        return Policy(
            plans=tuple((holder, plan) for holder, _, plan in plans),
            prompt_chars=self.prompt_max_chars,
            images=self.images_max,
            lifetime=timedelta(seconds=self.request_lifetime_seconds),
            input_bytes=self.input_max_bytes,
            input_pixels=self.input_max_pixels,
        )
