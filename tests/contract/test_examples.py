"""Examples of every version, and the bytes that they were when it was published, are read by the code of today."""

from __future__ import annotations

import io
import json
import re

import fastavro
import msgspec
import pytest

from services.contracts.codec import decode, encode
from services.contracts.events import Event
from services.contracts.printable import MASK, to_printable
from services.contracts.schema_files import (
    CURRENT,
    EVENT_TYPES,
    EventSchema,
    event_name,
    load_event_schemas,
    schemas_dir,
)
from tests.contract.examples import Example, load_examples
from tests.contract.golden import read_golden

EXAMPLES = load_examples()
PUBLISHED = [s for versions in load_event_schemas().values() for s in versions if s.version != CURRENT]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_survives_being_written_and_read(example: Example) -> None:
    """Read, written by today's code and read again, it is the same event."""
    event = example.event()
    assert decode(encode(event), example.schema.event_type) == event


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_reads_as_what_its_file_says(example: Example) -> None:
    """Every field of the file that today's event still has holds what the file says."""
    read = json.loads(msgspec.json.encode(example.event()))
    assert {name: read[name] for name in example.json if name in read} == {
        name: value for name, value in example.json.items() if name in read
    }


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=event_name)
def test_every_version_has_an_ordinary_an_edge_and_a_hostile_example(event_type: type[Event]) -> None:
    """So that each stage is shown all three."""
    for schema in load_event_schemas()[event_type][:-1]:
        names = {e.name for e in load_examples(event_type) if e.schema.version == schema.version}
        assert names >= {"ordinary", "edge", "hostile"}, schema.version


@pytest.mark.parametrize("schema", PUBLISHED, ids=lambda s: f"{event_name(s.event_type)}-{s.version}")
def test_golden_bytes_are_what_that_version_writes(schema: EventSchema) -> None:
    """The bytes on the topics do not change with a library's release."""
    records = {
        e.name: e.record() for e in load_examples(schema.event_type) if e.schema.version == schema.version
    }
    assert read_golden(schema) == records


@pytest.mark.parametrize("schema", PUBLISHED, ids=lambda s: f"{event_name(s.event_type)}-{s.version}")
def test_golden_bytes_are_read_by_every_later_version(schema: EventSchema) -> None:
    """fastavro resolves them, which is another program than the one that judged the schemas compatible."""
    versions = load_event_schemas()[schema.event_type]
    for later in versions[versions.index(schema) :]:
        for name, record in read_golden(schema).items():
            body = io.BytesIO(record[10:])
            datum = fastavro.schemaless_reader(body, schema.parsed, later.parsed)
            assert body.read() == b"", name
            assert isinstance(datum, dict)
            assert datum.keys() == {field["name"] for field in later.raw["fields"]}, name


@pytest.mark.parametrize("schema", PUBLISHED, ids=lambda s: f"{event_name(s.event_type)}-{s.version}")
def test_golden_bytes_decode_to_their_examples(schema: EventSchema) -> None:
    """What was written then is today's event."""
    events = {
        e.name: e.event() for e in load_examples(schema.event_type) if e.schema.version == schema.version
    }
    assert {name: decode(record) for name, record in read_golden(schema).items()} == events


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_is_printed_without_its_token(example: Example) -> None:
    """Neither what is printed nor the repr holds the one credential that an event may hold."""
    event = example.event()
    tokens = re.findall(r'"interaction_token":"((?:[^"\\]|\\.)+)"', msgspec.json.encode(event).decode())
    printed = json.dumps(to_printable(event), ensure_ascii=False, separators=(",", ":"))
    for token in map(json.loads, (f'"{t}"' for t in tokens)):
        assert json.dumps(token, ensure_ascii=False)[1:-1] not in printed
        assert repr(token)[1:-1] not in repr(event)
    assert not tokens or f'"interaction_token":"{MASK}"' in printed


@pytest.mark.parametrize("path", sorted((schemas_dir() / "examples").rglob("*.json")), ids=lambda p: p.stem)
def test_an_example_file_lies_where_a_published_version_is(path: object) -> None:
    """A file beside the versions would be an example of nothing and never be read."""
    event, version, _ = str(path).rsplit("/", 3)[1:]
    assert (event, version) in {(event_name(s.event_type), s.version) for s in PUBLISHED}


def test_examples_hold_no_snowflake_that_could_be_somebodys() -> None:
    """Made-up ids are 0, 1, the largest, or start with 1000000000000000: no account is that old."""
    for example in EXAMPLES:
        for snowflake in re.findall(r"\b\d{17,20}\b", json.dumps(example.json)):
            assert snowflake.startswith("1000000000000000") or int(snowflake) >= 2**63 - 1, example
