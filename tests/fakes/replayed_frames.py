"""Reads the recordings of ``tests/fixtures/comfyui``: lists of frames, ``$PROMPT`` standing for the prompt's id.

Beside ComfyUI's messages, ``{"binary": hex}`` is a binary frame, ``{"text": ...}`` a text as it stands, and
``{"drop": true}`` breaks the connection.
"""

from __future__ import annotations

import json
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "fixtures" / "comfyui"


def replayed(name: str, prompt_id: str) -> list[str | bytes | None]:
    """The frames of one recording as they come off the socket: text, bytes, or None for a broken connection."""
    frames = json.loads(_FOLDER.joinpath(f"{name}.json").read_text().replace("$PROMPT", prompt_id))
    return [_frame(frame) for frame in frames]


def _frame(frame: dict[str, object]) -> str | bytes | None:
    if "drop" in frame:
        return None
    if "binary" in frame:
        return bytes.fromhex(str(frame["binary"]))
    return str(frame["text"]) if "text" in frame else json.dumps(frame)
