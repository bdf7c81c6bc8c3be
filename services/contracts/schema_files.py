"""Finds and reads the schema files of ``schemas/``: every version of every event, parsed once per process.

Reads files of its own distribution and nothing else; the first call takes some milliseconds, later ones none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from services.contracts.events import Event

CURRENT = "current"  #: the version that this code writes and reads

EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSchema:
    """One version of one event's schema."""

    event_type: type[Event]
    version: str  #: ``"1"``, ``"2"`` … or ``"current"``
    raw: dict[str, Any]  #: the file's JSON
    parsed: Any  #: what fastavro wants
    fingerprint: bytes  #: CRC-64-AVRO, 8 bytes, little-endian as the single-object encoding has it


def schemas_dir() -> Path:
    """The folder ``schemas/``: inside the package when it is installed, at the root in a checkout.

    Raises:
        FileNotFoundError: the distribution was built without it.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "schemas", here.parents[1] / "schemas"):
        if (folder / "events").is_dir():
            return folder
    raise FileNotFoundError(f"No schemas/events beside {here} or at its root; reinstall the package.")


def event_name(event_type: type) -> str:
    """The event's name in file names and headers: ``RequestModerated`` is ``request_moderated``."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", event_type.__name__).lower()


@cache
def event_type_named(name: str) -> type[Event] | None:
    """The event whose class has this name, or none."""
    return next((t for t in EVENT_TYPES if t.__name__ == name), None)


def avro_fingerprint(schema: Mapping[str, Any]) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, little-endian (Avro 1.12, "Single-object encoding")."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(dict(schema)), "CRC-64-AVRO"))


def read_schema(event_type: type[Event], path: Path) -> EventSchema:
    """Read one ``.avsc`` file, whose stem is the version."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return EventSchema(
        event_type=event_type,
        version=path.stem,
        raw=raw,
        # Its own table of names: else a nested record of one event would be taken for that of another.
        parsed=fastavro.parse_schema(raw, named_schemas={}),
        fingerprint=avro_fingerprint(raw),
    )


@cache
def load_event_schemas() -> Mapping[type[Event], tuple[EventSchema, ...]]:
    """All versions of all events: the published ones in ascending order, then ``current``."""
    return {event_type: _versions(event_type) for event_type in EVENT_TYPES}


def current_schema(event_type: type[Event]) -> EventSchema:
    """The schema that this code writes the event with and reads it into."""
    return load_event_schemas()[event_type][-1]


@cache
def schemas_by_fingerprint() -> Mapping[bytes, EventSchema]:
    """Which schema a single-object record was written with; ``current`` wins over the published version it equals."""
    return {s.fingerprint: s for versions in load_event_schemas().values() for s in versions}


def _versions(event_type: type[Event]) -> tuple[EventSchema, ...]:
    """The versions of one event, oldest first, ``current`` last."""
    folder = schemas_dir() / "events" / event_name(event_type)
    published = sorted((p for p in folder.glob("*.avsc") if p.stem != CURRENT), key=lambda p: int(p.stem))
    return tuple(read_schema(event_type, p) for p in (*published, folder / f"{CURRENT}.avsc"))
