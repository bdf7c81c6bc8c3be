"""ComfyUI's cache: a node whose class, inputs and ancestors did not change is not run again.

Only what the latest prompt shares with the one before survives, as in ComfyUI's default cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

Graph = dict[str, dict[str, Any]]


class Entry(NamedTuple):
    """What a node gave: its outputs by slot, and what it showed, if it is an output node."""

    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None


class Cache:
    """Results by node signature."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def begin(self, signatures: dict[str, str]) -> None:
        """Forget whatever the coming prompt does not share."""
        wanted = set(signatures.values())
        self._entries = {key: entry for key, entry in self._entries.items() if key in wanted}

    def get(self, signature: str) -> Entry | None:
        """The result of an equal node, if it is known."""
        return self._entries.get(signature)

    def put(self, signature: str, entry: Entry) -> None:
        """Remember a result."""
        self._entries[signature] = entry

    def clear(self) -> None:
        """Forget everything (POST /free)."""
        self._entries.clear()


def signatures(graph: Graph, content_of: Callable[[dict[str, Any]], str]) -> dict[str, str]:
    """One digest per node over its class, its values, its ancestors and the content of the file it reads."""
    found: dict[str, str] = {}

    def sign(node_id: str) -> str:
        if node_id not in found:
            node = graph[node_id]
            inputs = [
                [name, [sign(value[0]), value[1]] if is_link(value) and value[0] in graph else value]
                for name, value in sorted(node["inputs"].items())
            ]
            text = msgspec.json.encode([node["class_type"], inputs, content_of(node)])
            found[node_id] = hashlib.blake2b(text, digest_size=16).hexdigest()
        return found[node_id]

    for node_id in graph:
        sign(node_id)
    return found


def is_link(value: Any) -> bool:
    """Whether an input's value is a link to another node's output."""
    return isinstance(value, list) and len(value) == 2
