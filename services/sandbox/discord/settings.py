"""What the loopback Discord can be told."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

BOT_TOKEN = "sandbox-bot-token"  # noqa: S105 - it opens nothing but this sandbox


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Real Discord's limits; ``POST /sandbox/limits`` changes them while it runs."""

    file_limit: Annotated[
        int, Meta(description="Bytes that each file of a request may have; above it, 413/40005.", ge=1)
    ] = 10 * 1024 * 1024
    answer_seconds: Annotated[
        float, Meta(description="An interaction must be answered within this time; later, 404/10062.", gt=0)
    ] = 3.0
    token_seconds: Annotated[
        float, Meta(description="Life of an interaction's token from its creation; later, 401/50027.", gt=0)
    ] = 15 * 60.0
    nonce_seconds: Annotated[
        float, Meta(description="How long an enforced nonce stands for the message first sent with it.", gt=0)
    ] = 5 * 60.0


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen settings of one loopback Discord."""

    notice: Annotated[str, Meta(description="A sentence for the top of the page; empty = none.")] = ""
    bot_token: Annotated[str, Meta(description="What its one bot signs in with; no secret.")] = BOT_TOKEN
    shards: Annotated[int, Meta(description="Shards that GET /gateway/bot recommends.", ge=1)] = 1
    heartbeat_seconds: Annotated[float, Meta(description="The interval that HELLO asks for.", gt=0)] = 41.25
    resume_seconds: Annotated[
        float, Meta(description="How long a session without a connection can be resumed.", gt=0)
    ] = 180.0
    kept_frames: Annotated[int, Meta(description="Gateway events kept for a resume.", ge=1)] = 2_000
    kept_interactions: Annotated[
        int, Meta(description="Interactions kept, with their messages; the oldest go first.", ge=1)
    ] = 20_000
    kept_bytes: Annotated[
        int, Meta(description="Bytes of files kept in memory; the oldest go first.", ge=1)
    ] = 256 * 1024**2
    limits: Limits = Limits()
