"""State as JSON: for the bot as Discord's API has it, for the page and the tests as they need it.  Pure."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from services.sandbox.discord.components import BUTTON
from services.sandbox.discord.interactions import Interaction
from services.sandbox.discord.messages import EPHEMERAL, LOADING, Message, Stamp
from services.sandbox.discord.places import (
    ALL_PERMISSIONS,
    APPLICATION_ID,
    BOT_NAME,
    DIRECT,
    USERS,
    bot_user,
    channel,
    name_of,
    person,
    roles_of,
)


def api_message(message: Message, interaction: Interaction | None) -> dict[str, Any]:
    """A message as the REST API gives it to the bot."""
    view: dict[str, Any] = {
        "id": message.id, "channel_id": message.channel_id, "author": bot_user(), "content": message.content,
        "attachments": message.attachments, "embeds": message.embeds, "components": message.components,
        "mentions": [person(user) for user in message.pinged if user.isdigit()], "mention_roles": [],
        "mention_everyone": "everyone" in message.pinged, "pinned": False, "tts": False, "flags": message.flags,
        "timestamp": _iso(message.created), "edited_timestamp": _iso(message.edited), "type": 0,
    }  # fmt: skip
    if message.nonce is not None:
        view["nonce"] = message.nonce
    if interaction is None:
        return view
    about: dict[str, Any] = {
        "id": interaction.id,
        "type": _kind(interaction),
        "user": person(interaction.user_id),
    }
    if interaction.pressed is None:
        about["name"] = interaction.command
        view["interaction"] = about
    else:
        about["interacted_message_id"] = interaction.pressed.id
    owners = {"0": "0" if interaction.guild_id == DIRECT else interaction.guild_id}
    follows = [message] != interaction.messages[:1]
    return view | {
        "type": 0 if follows or interaction.pressed else 20,
        "application_id": APPLICATION_ID,
        "webhook_id": APPLICATION_ID,
        "interaction_metadata": about | {"authorizing_integration_owners": owners},
    }


def api_callback(
    message: Message, interaction: Interaction, kind: int, asked: Interaction | None
) -> dict[str, Any]:
    """The answer to ``callback?with_response=1``; ``asked`` is the interaction that the message answers."""
    return {
        "interaction": {
            "id": interaction.id,
            "type": _kind(interaction),
            "response_message_id": message.id,
            "response_message_loading": bool(message.flags & LOADING),
            "response_message_ephemeral": bool(message.flags & EPHEMERAL),
        },
        "resource": {"type": kind, "message": api_message(message, asked)},
    }


def interaction_create(
    interaction: Interaction, file_limit: int, asked: Interaction | None = None
) -> dict[str, Any]:
    """The gateway's INTERACTION_CREATE; ``asked`` is the interaction that a pressed message answers."""
    event = {
        "id": interaction.id, "application_id": APPLICATION_ID, "type": _kind(interaction),
        "token": interaction.token, "version": 1,
        "channel_id": interaction.channel_id, "channel": channel(interaction.guild_id, interaction.user_id),
        "data": _data(interaction), "locale": "en-US", "app_permissions": ALL_PERMISSIONS, "entitlements": [],
        "attachment_size_limit": file_limit,
    }  # fmt: skip
    if interaction.pressed is not None:
        event["message"] = api_message(interaction.pressed, asked)
    user = person(interaction.user_id)
    if interaction.guild_id == DIRECT:
        return event | {"user": user, "context": 1, "authorizing_integration_owners": {"0": "0"}}
    member = {
        "user": user, "permissions": ALL_PERMISSIONS,
        "roles": roles_of(interaction.user_id, interaction.guild_id), "joined_at": "2026-01-01T00:00:00+00:00",
        "deaf": False, "mute": False, "flags": 0,
    }  # fmt: skip
    return event | {
        "guild_id": interaction.guild_id, "guild_locale": "en-US", "member": member, "context": 0,
        "authorizing_integration_owners": {"0": interaction.guild_id},
    }  # fmt: skip


def message(message: Message, interaction: Interaction | None) -> dict[str, Any]:
    """A message as the page and the tests see it; instants are monotonic (``…_at``) or since 1970 (``…_epoch``)."""
    user_id = interaction.user_id if interaction else None
    return {
        "id": message.id,
        "channel_id": message.channel_id,
        "author": BOT_NAME,
        "content": message.content,
        "attachments": message.attachments,
        "embeds": message.embeds,
        "components": message.components,
        "ephemeral": message.ephemeral,
        "thinking": message.thinking,
        "edited": message.edited is not None,
        "follow_up": interaction is not None and interaction.messages[:1] != [message],
        "interaction_id": message.interaction_id,
        "nonce": message.nonce,
        "allowed_mentions": message.allowed_mentions,
        "pinged": message.pinged,
        "user_id": user_id,
        "user_name": name_of(user_id) if user_id else None,
        "command": interaction.command if interaction else None,
        "options": [option.view() for option in interaction.options] if interaction else [],
        "created_at": message.created.at,
        "created_epoch": message.created.epoch,
        "history": [asdict(edit) for edit in message.history],
    }


def interaction(interaction: Interaction) -> dict[str, Any]:
    """An interaction as the page and the tests see it; its token is left out."""
    return {
        "id": interaction.id,
        "user_id": interaction.user_id,
        "user_name": name_of(interaction.user_id),
        "guild_id": interaction.guild_id,
        "channel_id": interaction.channel_id,
        "command": interaction.command,
        "options": [option.view() for option in interaction.options],
        "pressed": interaction.pressed.id if interaction.pressed else None,
        "custom_id": interaction.custom_id,
        "created_at": interaction.created.at,
        "created_epoch": interaction.created.epoch,
        "answered": interaction.answered is not None,
        "answered_at": interaction.answered.at if interaction.answered else None,
        "failed": interaction.failed,
    }


def people() -> list[dict[str, str]]:
    """The demo's people."""
    return [{"id": user_id, "name": name} for user_id, name in USERS.items()]


def _kind(interaction: Interaction) -> int:
    return 2 if interaction.pressed is None else 3


def _data(interaction: Interaction) -> dict[str, Any]:
    if interaction.pressed is not None:
        return {"custom_id": interaction.custom_id, "component_type": BUTTON}
    data: dict[str, Any] = {
        "id": interaction.command_id, "name": interaction.command, "type": 1,
        "options": [option.view() for option in interaction.options],
    }  # fmt: skip
    return data | ({"resolved": {"attachments": interaction.attachments}} if interaction.attachments else {})


def _iso(stamp: Stamp | None) -> str | None:
    return datetime.fromtimestamp(stamp.epoch, UTC).isoformat() if stamp else None
