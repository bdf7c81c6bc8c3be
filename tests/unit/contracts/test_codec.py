"""The codec: both framings, every way in which bytes are no event, and every value that is none."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.codec import MAX_EVENT_BYTES, Codec, decode, encode
from services.contracts.errors import (
    EventTooLarge,
    SchemaRegistryError,
    UndecodableReason,
    UndecodableRecord,
    UnencodableEvent,
)
from services.contracts.events import CancellationRequested, Event, RequestModerated, Verdict, WorkerReported
from services.contracts.schema_files import avro_fingerprint, current_schema
from tests.contract.examples import load_examples
from tests.fakes.schema_registry import FakeSchemaRegistry

NOON = datetime(2026, 3, 14, 12, 0, 0, 250_000, tzinfo=UTC)
CANCELLATION = CancellationRequested(request_id="1", user_id="2", requested_at=NOON)
REPORT = WorkerReported(
    worker_id="gpu-1",
    incarnation="a",
    sequence=1,
    reported_at=NOON,
    lanes=[0, 1],
    slots=1,
    held_limit=1,
    loaded=["a.safetensors"],
    price_per_hour=0.5,
)


def reason_of(
    data: bytes, expect: type[Event] | None = None, codec: Codec | None = None
) -> UndecodableReason:
    """Why these bytes are no event."""
    with pytest.raises(UndecodableRecord) as raised:
        (codec or Codec()).decode(data, expect)
    return raised.value.reason


def written_with(schema: dict[str, Any], datum: dict[str, Any]) -> bytes:
    """The body that a producer with another schema writes."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema, named_schemas={}), datum, strict=True)
    return body.getvalue()


def test_a_record_starts_with_the_marker_and_the_fingerprint_of_its_schema() -> None:
    """Avro 1.12, single-object encoding."""
    assert encode(CANCELLATION)[:10] == b"\xc3\x01" + current_schema(CancellationRequested).fingerprint


def test_the_fingerprint_is_the_one_that_avro_publishes() -> None:
    """The Java reference gives 63dd24e7cc258f8a for "null"; on the wire it is little-endian."""
    assert avro_fingerprint({"type": "null"}) == bytes.fromhex("8a8f25cce724dd63")


def test_an_event_survives_both_framings() -> None:
    """A reader with a registry reads what one without has written, and the other way round where it can."""
    registered = Codec(FakeSchemaRegistry())
    assert registered.decode(encode(REPORT)) == REPORT
    assert registered.decode(registered.encode(REPORT), WorkerReported) == REPORT


def test_confluent_framing_is_a_zero_byte_and_a_big_endian_id() -> None:
    """The body is the same in both framings."""
    framed = Codec(FakeSchemaRegistry(first_id=258)).encode(REPORT)
    assert framed == b"\x00\x00\x00\x01\x02" + encode(REPORT)[10:]


def test_a_registry_is_asked_once_for_an_id() -> None:
    """An id never changes its meaning, and the call blocks."""
    registry = FakeSchemaRegistry()
    codec = Codec(registry)
    record = codec.encode(REPORT)
    assert [codec.decode(record), codec.decode(record)] == [REPORT, REPORT]
    assert registry.asked == [1]


def test_a_version_that_only_the_registry_knows_is_read() -> None:
    """During a rollout the new producers are ahead: what they added is left out."""
    newer = current_schema(CancellationRequested).raw
    newer = newer | {"fields": [*newer["fields"], {"name": "why", "type": "string", "default": ""}]}
    body = written_with(newer, {"request_id": "1", "user_id": "2", "requested_at": NOON, "why": "bored"})
    codec = Codec(FakeSchemaRegistry({9: newer}))
    assert codec.decode(b"\x00" + struct.pack(">i", 9) + body) == CANCELLATION


def test_an_enum_symbol_of_a_later_version_reads_as_unknown() -> None:
    """So a new verdict stops no reader of the old one."""
    raw = current_schema(RequestModerated).raw
    fields = [dict(field) for field in raw["fields"]]
    fields[1]["type"] = fields[1]["type"] | {"symbols": ["UNKNOWN", "APPROVED", "REJECTED", "DEFERRED"]}
    codec = Codec(FakeSchemaRegistry({9: raw | {"fields": fields}}))
    (example,) = [e for e in load_examples(RequestModerated) if e.name == "ordinary"]
    datum = {**example.datum(), "verdict": "DEFERRED"}
    event = codec.decode(
        b"\x00" + struct.pack(">i", 9) + written_with(raw | {"fields": fields}, datum), RequestModerated
    )
    assert event.verdict is Verdict.UNKNOWN


def test_instants_come_back_aware_in_utc_with_milliseconds() -> None:
    """Whatever zone they were written from; finer digits are dropped."""
    zone = timezone(timedelta(hours=5, minutes=30))
    local = replace(CANCELLATION, requested_at=NOON.astimezone(zone) + timedelta(microseconds=999))
    read = decode(encode(local), CancellationRequested)
    assert read.requested_at == NOON
    assert read.requested_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", UndecodableReason.TOO_SHORT),
        (b"\xc3", UndecodableReason.TOO_SHORT),
        (b"\xc3\x01\x00\x00", UndecodableReason.TOO_SHORT),
        (b"\x00\x00\x00", UndecodableReason.TOO_SHORT),
        (b'{"a": 1}', UndecodableReason.UNKNOWN_FRAMING),
        (b"\xc3\x02" + encode(REPORT)[2:], UndecodableReason.UNKNOWN_FRAMING),
        (b"\xc3\x01" + bytes(8), UndecodableReason.UNKNOWN_FINGERPRINT),
        (b"\x00" + bytes(4), UndecodableReason.UNKNOWN_SCHEMA_ID),
        (encode(REPORT)[:10], UndecodableReason.TRUNCATED_BODY),
        (encode(REPORT)[:-1], UndecodableReason.TRUNCATED_BODY),
        (encode(REPORT) + b"\x00", UndecodableReason.TRAILING_BYTES),
        (encode(REPORT).replace(b"gpu-1", b"gpu-\xff"), UndecodableReason.INVALID_UTF8),
        (encode(CANCELLATION)[:-6] + b"\xff" * 9 + b"\x01", UndecodableReason.INVALID_VALUE),
    ],
)  # fmt: skip
def test_bytes_that_are_no_event_say_why(data: bytes, reason: UndecodableReason) -> None:
    """Each reason is one that an operator can act on."""
    assert reason_of(data) is reason


def test_another_event_than_the_expected_one_is_refused() -> None:
    """A record on the wrong topic is not handled as if it were right."""
    assert reason_of(encode(REPORT), CancellationRequested) is UndecodableReason.WRONG_EVENT_TYPE


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "record", "name": "Stranger", "fields": []}, UndecodableReason.WRONG_EVENT_TYPE),
        (
            {"type": "record", "name": "distillery.WorkerReported", "fields": []},
            UndecodableReason.INCOMPATIBLE_SCHEMA,
        ),
        ({"type": "record", "name": "WorkerReported"}, UndecodableReason.INCOMPATIBLE_SCHEMA),
        ({"type": "nonsense"}, UndecodableReason.INCOMPATIBLE_SCHEMA),
    ],
)
def test_a_foreign_schema_in_the_registry_makes_a_record_undecodable(
    schema: dict[str, Any], reason: UndecodableReason
) -> None:
    """A registry is shared: other people's schemas are not ours."""
    codec = Codec(FakeSchemaRegistry({1: schema}))
    assert reason_of(b"\x00\x00\x00\x00\x01", codec=codec) is reason


def test_a_registry_that_is_away_is_no_fault_of_the_record() -> None:
    """The record may be fine, so the caller has to try again instead of burying it."""
    registry = FakeSchemaRegistry()
    registry.away = True
    with pytest.raises(SchemaRegistryError):
        Codec(registry).decode(b"\x00\x00\x00\x00\x01")


@given(st.binary(max_size=300))
def test_any_body_is_an_event_or_undecodable(body: bytes) -> None:
    """No bytes escape as another error: a poison record never stops a partition."""
    for event_type in (WorkerReported, RequestModerated):
        header = b"\xc3\x01" + current_schema(event_type).fingerprint
        with suppress(UndecodableRecord):
            assert isinstance(decode(header + body), event_type)


@given(st.integers(min_value=10), st.binary(min_size=1, max_size=12))
def test_a_damaged_record_is_an_event_or_undecodable(place: int, damage: bytes) -> None:
    """The same for a record that was whole once, which reaches deeper into the reader."""
    whole = encode(REPORT)
    place = 10 + place % (len(whole) - 10)
    with suppress(UndecodableRecord):
        assert isinstance(decode(whole[:place] + damage + whole[place + len(damage) :]), WorkerReported)


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": None},
        {"user_id": 5},
        {"user_id": "\ud800"},
        {"requested_at": datetime(2026, 3, 14, 12, 0)},  # noqa: DTZ001 - naive on purpose
        {"requested_at": "2026-03-14T12:00:00Z "},
    ],
    ids=["null", "number", "surrogate", "naive", "text"],
)
def test_a_value_that_the_schema_has_no_place_for_is_refused(changed: dict[str, Any]) -> None:
    """At the producer, where the fault is, and not at every reader."""
    with pytest.raises(UnencodableEvent):
        encode(replace(CANCELLATION, **changed))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.5, True, "1", None])
def test_a_number_that_is_no_long_is_refused(value: Any) -> None:
    """Avro's long has 64 bits, and a float would lose its fraction without a word."""
    with pytest.raises(UnencodableEvent):
        encode(replace(REPORT, vram_bytes=value))


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_the_ends_of_a_long_are_kept(value: int) -> None:
    """A seed may be as large as 2**63-1."""
    assert decode(encode(replace(REPORT, vram_bytes=value)), WorkerReported).vram_bytes == value


def test_something_that_is_no_event_is_refused() -> None:
    """A nested value has no topic and no schema of its own."""
    with pytest.raises(UnencodableEvent):
        encode(Verdict.APPROVED)  # type: ignore[arg-type]  # what is tested


def test_the_refusal_does_not_quote_the_value() -> None:
    """What a user typed is no part of an error message, which is logged."""
    with pytest.raises(UnencodableEvent) as raised:
        encode(replace(CANCELLATION, user_id="a private prompt \ud800"))
    assert "private" not in str(raised.value)


def test_an_event_may_have_256_kib_and_not_one_byte_more() -> None:
    """Images never travel on the bus."""
    spare = MAX_EVENT_BYTES - len(encode(replace(REPORT, gpu="x" * 100_000))) + 100_000
    assert len(encode(replace(REPORT, gpu="x" * spare))) == MAX_EVENT_BYTES
    with pytest.raises(EventTooLarge) as raised:
        encode(replace(REPORT, gpu="x" * (spare + 1)))
    assert (raised.value.size, raised.value.limit) == (MAX_EVENT_BYTES + 1, MAX_EVENT_BYTES)
