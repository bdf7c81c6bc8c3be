"""Buttons under a message: what Discord accepts of them, and which one a user presses.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from services.sandbox.discord.refusal import invalid_form, not_sent

ROW, BUTTON = 1, 2  #: component types; menus and the rest are not in the sandbox
LINK = 5  #: the one style of button that opens an address instead of telling the bot
_STYLES = range(1, 6)
_MOST_ROWS = _MOST_BUTTONS = 5
_LONGEST_LABEL = 80
_LONGEST_ID = 100


def check_components(rows: Sequence[Any]) -> None:
    """Refuse what Discord refuses.

    Raises:
        Refusal: 400/50035, naming the place.
    """
    if len(rows) > _MOST_ROWS:
        raise invalid_form("components", "BASE_TYPE_MAX_LENGTH", "Must be 5 or fewer in length.")
    seen: set[str] = set()
    for number, row in enumerate(rows):
        place = f"components.{number}"
        buttons = row.get("components") if isinstance(row, Mapping) and row.get("type") == ROW else None
        if not isinstance(buttons, list) or not 1 <= len(buttons) <= _MOST_BUTTONS:
            raise invalid_form(place, "BASE_TYPE_BAD_LENGTH", "Must be a row of 1 to 5 buttons.")
        for index, button in enumerate(buttons):
            _check_button(f"{place}.components.{index}", button, seen)


def pressable(rows: Iterable[Mapping[str, Any]], custom_id: str) -> Mapping[str, Any]:
    """The button with that id.

    Raises:
        Refusal: there is none, or it is disabled.
    """
    button = next((b for b in _buttons(rows) if b.get("custom_id") == custom_id), None)
    if button is None or button.get("disabled"):
        raise not_sent("This button is not there any more.")
    return button


def _check_button(place: str, button: Any, seen: set[str]) -> None:
    if not isinstance(button, Mapping) or button.get("type") != BUTTON or button.get("style") not in _STYLES:
        raise invalid_form(place, "UNION_TYPE_CHOICES", "The sandbox knows buttons of the styles 1 to 5.")
    label = str(button.get("label") or "")
    if len(label) > _LONGEST_LABEL or not (label or button.get("emoji")):
        raise invalid_form(f"{place}.label", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 80 in length.")
    custom_id, url = str(button.get("custom_id") or ""), button.get("url")
    if button["style"] == LINK:
        if custom_id or not url:
            raise invalid_form(place, "BUTTON_COMPONENT_URL_REQUIRED", "A link has a url and no custom id.")
    elif not 1 <= len(custom_id) <= _LONGEST_ID or url:
        raise invalid_form(place, "BUTTON_COMPONENT_CUSTOM_ID_REQUIRED", "A custom id is required")
    elif custom_id in seen:
        sentence = "Component custom id cannot be duplicated"
        raise invalid_form(f"{place}.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", sentence)
    seen.add(custom_id)


def _buttons(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        yield from row.get("components", ())
