"""Who and where: the bot, the demo's people, its servers and their channels.  Pure."""

from __future__ import annotations

from typing import Any

APPLICATION_ID = "900000000000000001"
BOT_NAME = "Distillery"

#: Servers spread over shards: ``(id >> 22) % 3`` is 0, 1 and 2.
GUILDS = tuple(str((1_000_000_000_002 + shard) << 22) for shard in range(3))
GUILD_NAMES = dict(zip(GUILDS, ("Distillery", "Still Life", "Moonshine"), strict=True))
CHANNEL_NAME = "image-lab"
#: Stands for a guild id where a command is sent in a direct message to the bot.
DIRECT = "@me"
_DIRECT_CHANNELS = 1 << 20  # a user's direct channel with the bot has the user's id plus this

USERS = {
    "100000000000000001": "Ada",
    "100000000000000002": "Grace",
    "100000000000000003": "Linus",
    "100000000000000004": "Margaret",
}
#: A role of the first server, and who has it.
PATRON = str(int(GUILDS[0]) + 2)
PATRONS = ("100000000000000002",)
ALL_PERMISSIONS = "562949953421311"


def name_of(user_id: str) -> str:
    """What a person is called; whoever is not of the demo's people is named by the end of the id."""
    return USERS.get(user_id, f"user{user_id[-4:]}")


def channel_of(guild_id: str, user_id: str = "") -> str:
    """A server's one channel, or with `DIRECT` the user's own with the bot."""
    return str(int(user_id) + _DIRECT_CHANNELS) if guild_id == DIRECT else str(int(guild_id) + 1)


def guild_of(channel_id: str) -> str | None:
    """The server that has this channel; none for a direct or an unknown one."""
    return next((guild for guild in GUILDS if channel_of(guild) == channel_id), None)


def shard_of(guild_id: str, shards: int) -> int:
    """The shard that hears of a server, by Discord's formula; direct messages go to the first."""
    return 0 if guild_id == DIRECT else (int(guild_id) >> 22) % shards


def bot_user() -> dict[str, Any]:
    """The bot's own account, as the API has it."""
    return {
        "id": APPLICATION_ID, "username": BOT_NAME, "global_name": None, "discriminator": "0", "avatar": None,
        "bot": True, "flags": 0, "verified": True, "mfa_enabled": False,
    }  # fmt: skip


def person(user_id: str) -> dict[str, Any]:
    """A person's account, as the API has it."""
    name = name_of(user_id)
    return {
        "id": user_id, "username": name.lower(), "global_name": name, "discriminator": "0", "avatar": None,
        "public_flags": 0,
    }  # fmt: skip


def channel(guild_id: str, user_id: str = "") -> dict[str, Any]:
    """A channel, as the API has it; ``user_id`` is only for `DIRECT`."""
    if guild_id == DIRECT:
        recipients = [person(user_id)]
        return {
            "id": channel_of(DIRECT, user_id), "type": 1, "recipients": recipients, "last_message_id": None,
        }  # fmt: skip
    return {
        "id": channel_of(guild_id), "type": 0, "name": CHANNEL_NAME, "guild_id": guild_id, "position": 0,
        "permission_overwrites": [], "nsfw": False, "topic": None, "last_message_id": None,
        "rate_limit_per_user": 0, "parent_id": None, "permissions": ALL_PERMISSIONS,
    }  # fmt: skip


def roles_of(user_id: str, guild_id: str) -> list[str]:
    """The ids of a person's roles in a server, but for the one that everybody has."""
    return [PATRON] if guild_id == GUILDS[0] and user_id in PATRONS else []


def guild(guild_id: str) -> dict[str, Any]:
    """A server, as GUILD_CREATE has it."""
    everyone: dict[str, Any] = {
        "id": guild_id, "name": "@everyone", "permissions": ALL_PERMISSIONS, "color": 0, "hoist": False,
        "managed": False, "mentionable": False, "position": 0,
    }  # fmt: skip
    patron = everyone | {"id": PATRON, "name": "Patron", "position": 1}
    return {
        "id": guild_id, "name": GUILD_NAMES[guild_id], "owner_id": next(iter(USERS)),
        "member_count": len(USERS) + 1, "large": False, "unavailable": False,
        "roles": [everyone, patron] if guild_id == GUILDS[0] else [everyone],
        "channels": [channel(guild_id)], "members": [], "emojis": [], "stickers": [], "threads": [],
        "features": [], "voice_states": [], "presences": [], "stage_instances": [],
        "guild_scheduled_events": [], "preferred_locale": "en-US", "premium_tier": 0, "nsfw_level": 0,
        "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0,
        "mfa_level": 0, "afk_timeout": 300, "system_channel_flags": 0, "premium_progress_bar_enabled": False,
        "icon": None, "splash": None, "banner": None, "joined_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
