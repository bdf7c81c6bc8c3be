"""Which buttons the loopback Discord accepts."""

from __future__ import annotations

from typing import Any

import pytest

from services.sandbox.discord import Refusal
from services.sandbox.discord.components import check_components, pressable

BUTTON = {"type": 2, "style": 2, "label": "Cancel", "custom_id": "cancel:1"}
LINK = {"type": 2, "style": 5, "label": "Open", "url": "http://127.0.0.1/"}


def row(*buttons: dict[str, Any]) -> dict[str, Any]:
    """One row."""
    return {"type": 1, "components": list(buttons)}


def test_rows_of_buttons_and_links_are_accepted() -> None:
    """Up to five by five, with an emoji in place of a label."""
    check_components([row(BUTTON, LINK)])
    check_components([row({**BUTTON, "label": "", "emoji": {"name": "✖"}})])
    check_components([row(*({**BUTTON, "custom_id": f"{r}{b}"} for b in range(5))) for r in range(5)])


@pytest.mark.parametrize(
    "rows",
    [
        [BUTTON],
        [row()],
        [row(*[LINK] * 6)],
        [row(LINK)] * 6,
        [row({**BUTTON, "style": 9})],
        [row({**BUTTON, "type": 3})],
        [row({**BUTTON, "label": ""})],
        [row({**BUTTON, "label": "x" * 81})],
        [row({**BUTTON, "custom_id": ""})],
        [row({**BUTTON, "custom_id": "x" * 101})],
        [row({**BUTTON, "url": "http://127.0.0.1/"})],
        [row({**LINK, "custom_id": "x"})],
        [row({**LINK, "url": ""})],
        [row(BUTTON), row(BUTTON)],
        ["Cancel"],
    ],
)
def test_what_discord_refuses_is_refused(rows: list[Any]) -> None:
    """With its code for a faulty form."""
    with pytest.raises(Refusal) as caught:
        check_components(rows)
    assert (caught.value.status, caught.value.code) == (400, 50035)


def test_a_button_is_found_in_any_row() -> None:
    """By its own id."""
    assert pressable([row(LINK), row(BUTTON)], "cancel:1") == BUTTON
