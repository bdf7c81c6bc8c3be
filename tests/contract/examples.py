"""The examples of ``schemas/examples``: as JSON, as a record of their version, and as the event read from it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro

from services.contracts.codec import SINGLE_OBJECT_MARKER, decode
from services.contracts.events import Event
from services.contracts.schema_files import (
    EVENT_TYPES,
    EventSchema,
    event_name,
    load_event_schemas,
    schemas_dir,
)

EXAMPLES = schemas_dir() / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example file."""

    schema: EventSchema  #: of the version that it is an example of
    name: str  #: such as ``ordinary``, ``edge`` or ``hostile``
    json: Mapping[str, Any]

    def datum(self) -> Any:
        """What fastavro writes: instants are RFC 3339 text in the file and datetimes here."""
        return _datum(self.json, self.schema.parsed)

    def record(self) -> bytes:
        """The record's value as a producer of that version wrote it, in single-object encoding."""
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self.schema.parsed, self.datum(), strict=True)
        return SINGLE_OBJECT_MARKER + self.schema.fingerprint + body.getvalue()

    def event(self) -> Event:
        """The event as this code reads it, whatever the version."""
        return decode(self.record())

    def __str__(self) -> str:
        """For the names of tests."""
        return f"{event_name(self.schema.event_type)}-{self.schema.version}-{self.name}"


def load_examples(event_type: type[Event] | None = None) -> list[Example]:
    """All examples of all versions, or those of one event."""
    wanted = EVENT_TYPES if event_type is None else (event_type,)
    return [
        example for each in wanted for schema in load_event_schemas()[each] for example in examples_of(schema)
    ]


def examples_of(schema: EventSchema, examples: Path = EXAMPLES) -> list[Example]:
    """The examples of one version, or none for ``current``, which has none of its own."""
    folder = examples / event_name(schema.event_type) / schema.version
    return [
        Example(schema=schema, name=path.stem, json=json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.json"))
    ]


def _datum(value: Any, schema: Any, named: dict[str, Any] | None = None) -> Any:
    """Turn text into datetimes wherever the schema has instants."""
    named = {} if named is None else named
    match schema:
        case str() if schema in named:
            return _datum(value, named[schema], named)
        case ["null", inner]:
            return None if value is None else _datum(value, inner, named)
        case {"logicalType": "timestamp-millis"}:
            return datetime.fromisoformat(value)
        case {"type": "record", "name": name, "fields": fields}:
            named[name] = schema
            unknown = set(value) - {field["name"] for field in fields}
            assert not unknown, f"{name} has no field {unknown}"
            return {
                f["name"]: _datum(value[f["name"]], f["type"], named) for f in fields if f["name"] in value
            }
        case {"type": "enum", "name": name}:
            named[name] = schema
            return value
        case {"type": "array", "items": inner}:
            return [_datum(item, inner, named) for item in value]
        case {"type": "map", "values": inner}:
            return {key: _datum(item, inner, named) for key, item in value.items()}
        case {"type": inner}:
            return _datum(value, inner, named)
    return value
