"""What is printed of an event holds everything but the credential."""

from __future__ import annotations

import json

from services.contracts.events import RequestModerated
from services.contracts.printable import mask, to_printable
from tests.contract.examples import load_examples


def test_a_token_is_masked_however_deep_it_lies() -> None:
    """In objects, in lists, and beside other things."""
    data = {"a": [{"interaction_token": "secret", "b": 1}], "interaction_token": {"c": "secret"}}
    assert mask(data) == {"a": [{"interaction_token": "***", "b": 1}], "interaction_token": "***"}


def test_masking_leaves_the_original_alone() -> None:
    """A log line must not change what is delivered."""
    data = {"interaction_token": "secret"}
    mask(data)
    assert data == {"interaction_token": "secret"}


def test_a_printed_event_is_plain_json() -> None:
    """Instants as text, enums as symbols."""
    (event,) = [e.event() for e in load_examples(RequestModerated) if e.name == "ordinary"]
    printed = json.loads(json.dumps(to_printable(event)))
    assert printed["verdict"] == "APPROVED"
    assert printed["moderated_at"] == "2026-03-14T09:26:54.589000Z"
    assert printed["request"]["reply_to"]["interaction_token"] == "***"
