"""Messages: what they hold, what Discord accepts, how an edit changes attachments, and whom a message pings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.sandbox.discord.components import check_components
from services.sandbox.discord.files import Upload
from services.sandbox.discord.refusal import empty_message, invalid_form, too_large

EPHEMERAL = 1 << 6  #: Only the user of the interaction sees it.
LOADING = 1 << 7  #: The bot is thinking.
_SETTABLE = EPHEMERAL | 1 << 2 | 1 << 12  # with "no embeds" and "no notification"
_LONGEST_CONTENT = 2000
_MOST_FILES = 10
_LONGEST_NONCE = 25
_USER_MENTION = re.compile(r"<@!?(\d+)>")

Uploads = Mapping[str, Upload]
"""Files by the index in their field's name: ``files[0]`` is ``0``."""


class Stamp(NamedTuple):
    """When something arrived."""

    at: float  #: seconds of this machine's monotonic clock, which all its processes share
    epoch: float  #: seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One state that a message was in."""

    how: str  #: the route that made it so
    content: str
    attachments: int
    at: float  #: when the request arrived, before its body was read
    epoch: float


@dataclass(slots=True, kw_only=True, eq=False)
class Message:
    """A message as it stands, and how it came to stand so."""

    id: str
    channel_id: str
    created: Stamp
    flags: int = 0
    content: str = ""
    attachments: list[dict[str, Any]] = field(default_factory=list)
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    interaction_id: str | None = None  #: none for what the bot posts by itself
    nonce: str | None = None
    allowed_mentions: dict[str, Any] | None = None
    pinged: tuple[str, ...] = ()  #: user ids, and ``everyone``
    edited: Stamp | None = None
    history: list[Edit] = field(default_factory=list)

    @property
    def ephemeral(self) -> bool:
        """Whether only one user sees it."""
        return bool(self.flags & EPHEMERAL)

    @property
    def thinking(self) -> bool:
        """Whether it still stands for an answer to come."""
        return bool(self.flags & LOADING)


def check_payload(payload: Mapping[str, Any], uploads: Uploads, file_limit: int) -> None:
    """Refuse what Discord refuses whatever the message was before.

    Raises:
        Refusal: text too long, too many files, a file too large, an odd nonce or button.
    """
    check_components(payload.get("components") or ())
    if len(payload.get("content") or "") > _LONGEST_CONTENT:
        raise invalid_form("content", "BASE_TYPE_MAX_LENGTH", "Must be 2000 or fewer in length.")
    if any(len(upload.body) > file_limit for upload in uploads.values()):
        raise too_large()
    if len(str(payload.get("nonce", ""))) > _LONGEST_NONCE:
        raise invalid_form("nonce", "NONCE_TYPE_TOO_LONG", "Nonce must be 25 or fewer in length.")


def check_not_empty(content: str, attachments: list[Any], embeds: list[Any], components: list[Any]) -> None:
    """Raises: Refusal where nothing would be seen."""
    if not (content.strip() or attachments or embeds or components):
        raise empty_message()


def merged_attachments(
    before: list[dict[str, Any]],
    wanted: list[dict[str, Any]] | None,
    uploads: Uploads,
    add: Callable[[Upload, str], dict[str, Any]],
) -> list[dict[str, Any]]:
    """The attachments after an edit, by Discord's rule; ``add`` stores a file with its description.

    Without ``attachments`` in the payload everything stays and the new files come after it.  With it, only what it
    lists stays or comes: an entry is one from before, by its id, or a new file, by its index.

    Raises:
        Refusal: more than ten, or an entry that is neither.
    """
    entries = [*before, *({"id": index} for index in uploads)] if wanted is None else wanted
    if len(entries) > _MOST_FILES:
        raise invalid_form("attachments", "BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length.")
    kept = {attachment["id"]: attachment for attachment in before}
    unknown = [entry for entry in entries if str(entry.get("id")) not in kept.keys() | uploads.keys()]
    if unknown:
        raise invalid_form(
            "attachments", "INVALID_ATTACHMENT_ID", f"No file has the id {unknown[0].get('id')}."
        )
    result = []
    for entry in entries:
        identity = str(entry["id"])
        if identity in kept:
            result.append(kept[identity])
        else:
            upload = uploads[identity]
            named = Upload(filename=entry.get("filename") or upload.filename, body=upload.body)
            result.append(add(named, entry.get("description") or ""))
    return result


def pinged_by(content: str, allowed: Mapping[str, Any] | None) -> tuple[str, ...]:
    """User ids that a new message notifies, and ``everyone``; without ``allowed_mentions`` all that are named."""
    named = tuple(dict.fromkeys(_USER_MENTION.findall(content)))
    everyone = ("everyone",) if "@everyone" in content or "@here" in content else ()
    if allowed is None:
        return named + everyone
    parse = allowed.get("parse") or ()
    users = (
        named if "users" in parse else tuple(u for u in named if u in map(str, allowed.get("users") or ()))
    )
    return users + (everyone if "everyone" in parse else ())


def settable_flags(payload: Mapping[str, Any]) -> int:
    """The flags that a bot may give a new message."""
    return int(payload.get("flags") or 0) & _SETTABLE
