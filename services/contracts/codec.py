"""Events to bytes and back: Avro in single-object encoding, or in Confluent's framing where a registry is configured.

Pure but for the injected registry.  Readers accept both framings: the first byte tells them apart
(``C3 01`` + 8-byte fingerprint, or ``00`` + 4-byte registry id).  The writer's schema is always found first and
resolved into the reader's, since reading one version's bytes with another's schema gives garbage without an error.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Protocol, TypeVar, overload

import fastavro
import msgspec
from fastavro.read import SchemaResolutionError
from fastavro.schema import SchemaParseException, UnknownType

from services.contracts.errors import EventTooLarge, UndecodableReason, UndecodableRecord, UnencodableEvent
from services.contracts.events import Event
from services.contracts.schema_files import (
    EVENT_TYPES,
    avro_fingerprint,
    current_schema,
    event_type_named,
    schemas_by_fingerprint,
)

MAX_EVENT_BYTES = 256 * 1024  #: a record's value, framing included; images never travel on the bus

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONFLUENT_MAGIC = b"\x00"
_SINGLE_OBJECT_HEADER = 10  #: bytes: marker and fingerprint
_CONFLUENT_HEADER = 5  #: bytes: magic and id

E = TypeVar("E", bound=Event)


class SchemaRegistry(Protocol):
    """A Confluent-compatible schema registry, as far as the codec needs one."""

    def schema_for(self, schema_id: int) -> Mapping[str, Any] | None:
        """The schema's JSON, or none where the registry does not know the id.

        Raises:
            SchemaRegistryError: the registry is away; the record may be fine.
        """

    def id_for(self, event_type: type[Event]) -> int:
        """The id of the event's current schema, registered where it was not.

        Raises:
            SchemaRegistryError: the registry is away or refuses the schema.
        """


class Codec:
    """Encodes and decodes every event.  Safe to share between threads."""

    def __init__(self, registry: SchemaRegistry | None = None) -> None:
        self._registry = registry
        self._writers_by_id: dict[int, tuple[type[Event], Any]] = {}

    def encode(self, event: Event) -> bytes:
        """One record's value.  Instants keep their milliseconds, finer digits are dropped.

        Raises:
            UnencodableEvent: a field holds what its type does not allow, such as a naive datetime.
            EventTooLarge: more than ``MAX_EVENT_BYTES``.
            SchemaRegistryError: only with a registry.
        """
        event_type = type(event)
        if event_type not in EVENT_TYPES:
            raise UnencodableEvent(
                f"{event_type.__name__} is not an event of this project, so it was not encoded."
            )
        buffer = io.BytesIO()
        buffer.write(self._header(event_type))
        _write_body(buffer, event)
        if buffer.tell() > MAX_EVENT_BYTES:
            raise EventTooLarge(event_type.__name__, buffer.tell(), MAX_EVENT_BYTES)
        return buffer.getvalue()

    @overload
    def decode(self, data: bytes, expect: type[E]) -> E: ...
    @overload
    def decode(self, data: bytes, expect: None = None) -> Event: ...
    def decode(self, data: bytes, expect: type[Any] | None = None) -> Any:
        """The event of a record's value, whatever version and framing it was written in.

        Raises:
            UndecodableRecord: with the reason; never another error for any bytes.
            SchemaRegistryError: only with a registry, for an id not seen before.
        """
        event_type, writer, start = self._writer_of(data)
        if expect is not None and event_type is not expect:
            raise UndecodableRecord(
                UndecodableReason.WRONG_EVENT_TYPE,
                f"The record holds a {event_type.__name__} where a {expect.__name__} was expected",
            )
        return _read_body(data, start, event_type, writer)

    def _header(self, event_type: type[Event]) -> bytes:
        """The framing that goes before the body."""
        if self._registry is None:
            return SINGLE_OBJECT_MARKER + current_schema(event_type).fingerprint
        return CONFLUENT_MAGIC + struct.pack(">i", self._registry.id_for(event_type))

    def _writer_of(self, data: bytes) -> tuple[type[Event], Any, int]:
        """The event's type, the parsed schema that it was written with, and where its body starts."""
        if data[:2] == SINGLE_OBJECT_MARKER:
            _need(data, _SINGLE_OBJECT_HEADER)
            schema = schemas_by_fingerprint().get(data[2:_SINGLE_OBJECT_HEADER])
            if schema is None:
                raise UndecodableRecord(
                    UndecodableReason.UNKNOWN_FINGERPRINT,
                    f"No schema version here has the fingerprint {data[2:_SINGLE_OBJECT_HEADER].hex()}",
                )
            return schema.event_type, schema.parsed, _SINGLE_OBJECT_HEADER
        if data[:1] == CONFLUENT_MAGIC:
            _need(data, _CONFLUENT_HEADER)
            (schema_id,) = struct.unpack_from(">i", data, 1)
            return *self._writer_by_id(schema_id), _CONFLUENT_HEADER
        _need(data, 2)
        raise UndecodableRecord(
            UndecodableReason.UNKNOWN_FRAMING,
            "The record starts neither with Avro's single-object marker nor with Confluent's magic byte",
        )

    def _writer_by_id(self, schema_id: int) -> tuple[type[Event], Any]:
        """The event's type and parsed schema of a registry id; remembered, for an id never changes its meaning."""
        if (known := self._writers_by_id.get(schema_id)) is not None:
            return known
        raw = self._registry.schema_for(schema_id) if self._registry is not None else None
        if raw is None:
            raise UndecodableRecord(
                UndecodableReason.UNKNOWN_SCHEMA_ID,
                f"The record names schema {schema_id}, which no configured registry knows",
            )
        self._writers_by_id[schema_id] = writer = _parse_foreign(schema_id, raw)
        return writer


def _parse_foreign(schema_id: int, raw: Mapping[str, Any]) -> tuple[type[Event], Any]:
    """A registry's schema: one of our versions, or one that a newer release has registered."""
    try:
        parsed = fastavro.parse_schema(dict(raw), named_schemas={})
        known = schemas_by_fingerprint().get(avro_fingerprint(raw))
    except (SchemaParseException, UnknownType, ValueError, TypeError, LookupError) as error:
        raise UndecodableRecord(
            UndecodableReason.INCOMPATIBLE_SCHEMA, f"Schema {schema_id} of the registry is not Avro"
        ) from error
    if known is not None:
        return known.event_type, known.parsed
    event_type = event_type_named(str(raw.get("name", "")).rpartition(".")[2])
    if event_type is None:
        raise UndecodableRecord(
            UndecodableReason.WRONG_EVENT_TYPE,
            f"Schema {schema_id} of the registry is not of an event of ours",
        )
    return event_type, parsed


def _write_body(buffer: io.BytesIO, event: Event) -> None:
    """Append the schemaless body."""
    try:
        datum = msgspec.to_builtins(event, builtin_types=(datetime,))
        # Dataclasses do not check their fields, and fastavro lets 1.5 pass for a long and a naive datetime for an
        # instant: converting back costs 2 us and refuses both here instead of at a reader.
        msgspec.convert(datum, type(event))
        fastavro.schemaless_writer(buffer, current_schema(type(event)).parsed, datum, strict=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnencodableEvent(f"{type(event).__name__} does not fit its schema: {_cause(error)}") from error


def _read_body(data: bytes, start: int, event_type: type[Event], writer: Any) -> Event:
    """Read the body, all of it and nothing more."""
    reader = current_schema(event_type).parsed
    buffer = io.BytesIO(data)
    buffer.seek(start)
    try:
        # No resolution where the schemas are one: fastavro would walk both.
        datum = fastavro.schemaless_reader(buffer, writer, None if writer is reader else reader)
        event = msgspec.convert(datum, event_type)
    except _BODY_ERRORS as error:
        raise UndecodableRecord(
            _reason(error), f"The body of this {event_type.__name__} cannot be read"
        ) from error
    if buffer.tell() != len(data):
        raise UndecodableRecord(
            UndecodableReason.TRAILING_BYTES,
            f"{len(data) - buffer.tell()} bytes are left after this {event_type.__name__}",
        )
    return event


#: All that fastavro and msgspec raise for bytes that are not what the schema says; a fuzz test holds it complete.
_BODY_ERRORS = (
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    MemoryError,
    SchemaResolutionError,
)


def _reason(error: BaseException) -> UndecodableReason:
    """Which reason a library's error amounts to."""
    if isinstance(error, EOFError):
        return UndecodableReason.TRUNCATED_BODY
    if isinstance(error, UnicodeDecodeError):
        return UndecodableReason.INVALID_UTF8
    if isinstance(error, SchemaResolutionError):
        return UndecodableReason.INCOMPATIBLE_SCHEMA
    return UndecodableReason.INVALID_VALUE


def _cause(error: BaseException) -> str:
    """What went wrong, without the value: a UnicodeEncodeError's text would quote the prompt."""
    return "a string holds a lone surrogate" if isinstance(error, UnicodeEncodeError) else str(error)


def _need(data: bytes, size: int) -> None:
    """Refuse a record that cannot even hold a header."""
    if len(data) < size:
        raise UndecodableRecord(
            UndecodableReason.TOO_SHORT, f"The record has {len(data)} bytes, too few for a header"
        )


@cache
def _plain() -> Codec:
    """The codec without a registry."""
    return Codec()


def encode(event: Event) -> bytes:
    """``Codec().encode``: single-object encoding."""
    return _plain().encode(event)


@overload
def decode(data: bytes, expect: type[E]) -> E: ...
@overload
def decode(data: bytes, expect: None = None) -> Event: ...
def decode(data: bytes, expect: type[Any] | None = None) -> Any:
    """``Codec().decode``: without a registry, a record in Confluent's framing is undecodable."""
    return _plain().decode(data, expect)
