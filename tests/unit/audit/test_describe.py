"""One line on an event that is known only by itself, as ``distillery serve`` prints them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.audit.describe import event_line
from services.contracts.codec import decode
from tests.unit.audit.journeys import SECRET, TOKEN, Journey, happy_journey, report


@pytest.mark.parametrize(
    ("topic", "line"),
    [
        (
            "requests",
            "requested: /serve a lighthouse at dusk --ar 16:9; 4 images by sd15 1, seed 7; plan free",
        ),
        ("dispatched", "dispatched: attempt 1 to gpu-1 on lane 7; 5 min 00 s until its deadline"),
        ("delivered", "delivered: succeeded by edit; 4 images; message 717171717171717171"),
    ],
)
def test_an_event_is_one_line(topic: str, line: str) -> None:
    """What happened, then what is worth knowing of it."""
    raw = next(raw for raw in happy_journey().raws if raw.topic == topic)
    assert event_line(decode(raw.value or b""), raw.partition) == line


def test_no_line_shows_a_token_or_is_left_open() -> None:
    """Of any event; also where a user typed the token, or what a terminal would obey."""
    journey = happy_journey()
    journey.cancelled(13.0)
    lines = [event_line(decode(raw.value or b""), raw.partition) for raw in journey.raws]
    lines.append(event_line(report(), 0))
    assert not [line for line in lines if TOKEN in line or SECRET in line]
    assert not [line for line in lines if line.endswith((":", ": ", "; ")) or not line.isprintable()]


def test_a_line_carries_no_control_sequence_of_a_user() -> None:
    """A command is shown as text: its escapes are spelt out, and a token in it is masked."""
    asked = happy_journey().asked
    journey = Journey(asked=replace(asked, command_string=f"a \x1b[31mred {TOKEN} fox"))
    line = event_line(decode(journey.requested().value or b""), 0)
    assert r"a \x1b[31mred *** fox" in line
