"""Takes interaction tokens out of text that nobody typed for them: error messages, headers, previews.  Pure.

Events are masked by field (`services.contracts.printable`).  What is left is text that may quote a token: a failed
call's message names its address, and Discord's addresses hold the token.
"""

from __future__ import annotations

import re
from typing import Any

from services.contracts.events import Event
from services.contracts.printable import CREDENTIAL_FIELDS, MASK, to_printable

PREVIEW_BYTES = 32
"""Bytes of an undecodable record that are shown: its framing and the head of its body.

Every event that holds a token has its request's id, an instant and the user's id before it, so that a damaged event's
token lies behind the preview; a test holds that for every event.
"""

_IN_ADDRESS = re.compile(r"((?:webhooks|interactions)/\d+/)[^/\s'\"?]+")
#: Discord's interaction tokens are base64 of ``interaction:…``.
_TOKEN = re.compile(r"aW50ZXJhY3Rpb246[\w=+/.-]*")


def scrub(text: str, event: Event | None = None) -> str:
    """The text with every token masked: the event's own, and whatever looks like one."""
    token = token_of(event)
    if token:
        text = text.replace(token, MASK)
    return _TOKEN.sub(MASK, _IN_ADDRESS.sub(rf"\1{MASK}", text))


def one_line(text: str) -> str:
    """The text without anything that a terminal would obey: what users type is shown, never carried out."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable(event: Event) -> dict[str, Any]:
    """The event as JSON-ready values, its token masked by field and wherever else a text quotes it."""
    scrubbed = _scrub_within(to_printable(event), event)
    assert isinstance(scrubbed, dict)
    return scrubbed


def scrub_header(name: str, value: bytes | None, event: Event | None = None) -> str | None:
    """A header's value as text; a header named as a credential field shows nothing."""
    if value is None:
        return None
    if name.replace("-", "_").lower() in CREDENTIAL_FIELDS:
        return MASK
    return scrub(value.decode("utf-8", errors="replace"), event)


def preview(value: bytes) -> str:
    """The first bytes in hexadecimal, in groups of four, then as text where they are printable."""
    head = value[:PREVIEW_BYTES]
    text = head.decode("latin-1")
    if scrub(text) != text:
        return MASK
    printable = "".join(letter if " " <= letter <= "~" else "." for letter in text)
    rest = f" … {len(value)} bytes" if len(value) > PREVIEW_BYTES else ""
    return f"{head.hex(' ', -4)} |{printable}|{rest}"


def token_of(event: Event | None) -> str | None:
    """The interaction token that an event holds, or none."""
    reply_to = getattr(getattr(event, "request", event), "reply_to", None)
    return None if reply_to is None else reply_to.interaction_token


def _scrub_within(value: Any, event: Event) -> Any:
    if isinstance(value, str):
        return scrub(value, event)
    if isinstance(value, dict):
        return {key: _scrub_within(inner, event) for key, inner in value.items()}
    if isinstance(value, list):
        return [_scrub_within(inner, event) for inner in value]
    return value
