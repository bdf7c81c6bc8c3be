"""Events as plain dicts for people, logs and exports, with the one credential that they may hold masked."""

from __future__ import annotations

from typing import Any

import msgspec

from services.contracts.events import Event

MASK = "***"
CREDENTIAL_FIELDS = frozenset({"interaction_token"})


def to_printable(event: Event) -> dict[str, Any]:
    """The event as JSON-ready values: instants as RFC 3339 text, enums as symbols, credentials as ``MASK``."""
    masked = mask(msgspec.to_builtins(event))
    assert isinstance(masked, dict)
    return masked


def mask(value: Any) -> Any:
    """A copy of JSON-like data in which every credential field, however deep, holds ``MASK``."""
    if isinstance(value, dict):
        return {key: MASK if key in CREDENTIAL_FIELDS else mask(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [mask(inner) for inner in value]
    return value
