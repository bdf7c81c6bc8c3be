"""The dataclasses of ``services/contracts/events.py`` are the current schemas, field by field."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import StrEnum
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from services.contracts.events import Event, Instant
from services.contracts.schema_files import EVENT_TYPES, current_schema, event_name, schemas_dir

NONE = object()  #: no default


def described(kind: Any) -> Any:
    """A Python type in the schema's words; records and enums by name, since they are compared on their own."""
    if kind == Instant:
        return "instant"
    if kind in (str, int, float, bool):
        return {str: "string", int: "long", float: "double", bool: "boolean"}[kind]
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return ["null", described(arguments[0])]
    if origin is list:
        return {"array": described(arguments[0])}
    if origin is dict:
        return {"map": described(arguments[1])}
    return kind.__name__


def described_schema(kind: Any) -> Any:
    """An Avro type in the same words."""
    match kind:
        case {"logicalType": "timestamp-millis"}:
            return "instant"
        case {"type": "record" | "enum", "name": name}:
            return name
        case {"type": "array", "items": inner}:
            return {"array": described_schema(inner)}
        case {"type": "map", "values": inner}:
            return {"map": described_schema(inner)}
        case [null, inner]:
            return [null, described_schema(inner)]
    return kind.removeprefix("distillery.")


def fields_of(cls: type) -> list[tuple[str, Any, Any]]:
    """Name, type and default of each field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return [(f.name, described(hints[f.name]), default_of(f)) for f in dataclasses.fields(cls)]


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default as JSON has it."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else NONE


def named_types(schema: Any) -> dict[str, Any]:
    """Every record and enum of a schema by name."""
    if isinstance(schema, list):
        return {name: found for branch in schema for name, found in named_types(branch).items()}
    if not isinstance(schema, dict):
        return {}
    own = {schema["name"]: schema} if schema.get("type") in ("record", "enum") else {}
    inner = [f["type"] for f in schema["fields"]] if schema.get("type") == "record" else []
    inner += [schema[key] for key in ("items", "values") if key in schema]
    return own | named_types(inner)


def classes_of(cls: type) -> dict[str, type]:
    """Every dataclass and enum that a dataclass holds, itself included, by name."""
    found = {cls.__name__: cls}
    if not dataclasses.is_dataclass(cls):
        return found
    waiting: list[Any] = list(get_type_hints(cls).values())
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, StrEnum)):
            found |= classes_of(kind)  # type: ignore[arg-type]  # get_type_hints gives Any, narrowed to instances too
    return found


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=event_name)
def test_each_type_of_an_event_has_the_fields_of_its_schema(event_type: type[Event]) -> None:
    """Name, order, type and default agree, in nested types too, so that no event's copy of one lags behind."""
    schemas, classes = named_types(current_schema(event_type).raw), classes_of(event_type)
    assert schemas.keys() == classes.keys()
    for name, schema in schemas.items():
        if schema["type"] == "enum":
            continue
        declared = [
            (f["name"], described_schema(f["type"]), f.get("default", NONE)) for f in schema["fields"]
        ]
        assert fields_of(classes[name]) == declared, name


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=event_name)
def test_each_enum_of_an_event_has_the_symbols_of_its_schema(event_type: type[Event]) -> None:
    """Symbols, their order and their Python names agree."""
    classes = classes_of(event_type)
    for name, schema in named_types(current_schema(event_type).raw).items():
        if schema["type"] == "enum":
            members = classes[name].__members__  # type: ignore[attr-defined]  # an enum, by its schema
            assert list(members) == [m.value for m in members.values()] == schema["symbols"], name


def test_every_event_has_a_folder_and_every_folder_an_event() -> None:
    """A schema that no class reads would be dead, a class without a schema could not be sent."""
    folders = {path.name for path in (schemas_dir() / "events").iterdir() if path.is_dir()}
    assert folders == {event_name(event_type) for event_type in EVENT_TYPES}
