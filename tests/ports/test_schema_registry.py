"""The schema registry port: one suite for the fake and for the HTTP adapter, then what HTTP adds."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from services.chassis.schema_registry import HttpSchemaRegistry, open_codec
from services.chassis.settings import StageSettings, load
from services.contracts.codec import Codec, SchemaRegistry, encode
from services.contracts.errors import SchemaRegistryError, UndecodableRecord
from services.contracts.events import CancellationRequested, WorkerReported
from services.contracts.schema_files import EVENT_TYPES, current_schema
from tests.contract.examples import Example, load_examples
from tests.fakes.schema_registry import FakeSchemaRegistry
from tests.ports.registry_server import RegistryServer, registry_server

Join = Callable[[], SchemaRegistry]


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """A registry on loopback."""
    with registry_server() as running:
        yield running


@pytest.fixture(params=["fake", "http"])
def join(request: pytest.FixtureRequest) -> Join:
    """Gives one more client of the same registry."""
    if request.param == "fake":
        shared = FakeSchemaRegistry()
        return lambda: FakeSchemaRegistry(shared.schemas)
    running: RegistryServer = request.getfixturevalue("server")
    return lambda: HttpSchemaRegistry(running.url)


def test_an_event_has_one_id_whoever_asks_and_however_often(join: Join) -> None:
    """Five stages register the same schemas at every start."""
    first, second = join(), join()
    ids = {event_type: first.id_for(event_type) for event_type in EVENT_TYPES}
    assert len(set(ids.values())) == len(EVENT_TYPES)
    assert {t: first.id_for(t) for t in EVENT_TYPES} == ids
    assert {t: second.id_for(t) for t in EVENT_TYPES} == ids


def test_an_id_gives_the_schema_that_was_registered(join: Join) -> None:
    """Whole, with defaults and logical types, which resolution needs."""
    schema_id = join().id_for(WorkerReported)
    assert join().schema_for(schema_id) == current_schema(WorkerReported).raw


def test_an_unknown_id_gives_none(join: Join) -> None:
    """The record is poison; the registry is not away."""
    assert join().schema_for(4711) is None


@pytest.mark.parametrize("example", [e for e in load_examples() if e.name == "ordinary"], ids=str)
def test_what_one_stage_writes_another_reads(join: Join, example: Example) -> None:
    """Through two clients of one registry."""
    event = example.event()
    assert Codec(join()).decode(Codec(join()).encode(event)) == event


def test_a_registry_that_does_not_listen_is_said_to_be_away() -> None:
    """Trying again can help, so it is not the record's fault."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        registry = HttpSchemaRegistry(f"http://127.0.0.1:{closed.getsockname()[1]}", timeout_seconds=0.5)
        with pytest.raises(SchemaRegistryError, match="did not answer GET /schemas/ids/1"):
            registry.schema_for(1)


def test_a_registry_that_hangs_is_given_up_after_the_timeout() -> None:
    """A call blocks its stage, so it must end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = HttpSchemaRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.1)
        with pytest.raises(SchemaRegistryError, match="did not answer POST"):
            registry.id_for(WorkerReported)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((409, {"message": "Schema being registered is incompatible"}), "409.*incompatible"),
        ((401, {"message": "Unauthorized"}), "401"),
        ((500, b"oops"), "500: oops"),
        ((200, b"<html>"), "something else than JSON"),
        ((200, [1]), "something else than an object"),
        ((200, {"id": "seven"}), "gave no id for the subject workers-value"),
        ((404, {"message": "no such subject"}), "gave no id"),
        ((302, b""), "302"),
    ],
)
def test_a_refused_registration_is_one_sentence(
    server: RegistryServer, refusal: tuple[int, object], said: str
) -> None:
    """An operator sees what the registry said, not a traceback."""
    server.refusal = refusal
    with pytest.raises(SchemaRegistryError, match=said):
        HttpSchemaRegistry(server.url).id_for(WorkerReported)


@pytest.mark.parametrize(
    "answer",
    [{"schema": "{}", "schemaType": "PROTOBUF"}, {"schema": '"string"'}],
    ids=["protobuf", "primitive"],
)
def test_a_schema_of_another_kind_makes_the_record_undecodable(
    server: RegistryServer, answer: dict[str, str]
) -> None:
    """A registry is shared with others, who use what they like."""
    server.refusal = (200, answer)
    with pytest.raises(UndecodableRecord):
        Codec(HttpSchemaRegistry(server.url)).decode(b"\x00\x00\x00\x00\x01")


def test_a_schema_that_is_not_json_is_the_registrys_fault(server: RegistryServer) -> None:
    """Trying again may help."""
    server.refusal = (200, {"schema": "{"})
    with pytest.raises(SchemaRegistryError, match="not JSON"):
        HttpSchemaRegistry(server.url).schema_for(1)


def test_an_unknown_id_is_asked_for_again_only_after_a_while(server: RegistryServer) -> None:
    """A run of poison records costs one call; an id registered meanwhile is found in the end."""
    now = 0.0
    registry = HttpSchemaRegistry(server.url, forget_unknown_after_seconds=30, monotonic=lambda: now)
    assert [registry.schema_for(1), registry.schema_for(1)] == [None, None]
    assert server.calls == ["GET /schemas/ids/1"]
    HttpSchemaRegistry(server.url).id_for(WorkerReported)
    now = 31.0
    assert registry.schema_for(1) == current_schema(WorkerReported).raw


def test_poison_records_of_many_ids_do_not_fill_the_memory(server: RegistryServer) -> None:
    """They may name any of 2**32."""
    registry = HttpSchemaRegistry(server.url)
    for schema_id in range(1005):
        assert registry.schema_for(schema_id) is None
    assert len(registry._unknown_until) <= 1000


def test_subjects_are_those_of_the_topics_with_their_prefix(server: RegistryServer) -> None:
    """Kafka UIs look for ``<topic>-value``; two installations do not share a subject."""
    HttpSchemaRegistry(server.url + "/", prefix="blue-").id_for(CancellationRequested)
    assert server.calls == ["POST /subjects/blue-cancellations-value/versions"]


def test_a_user_and_password_in_the_url_are_sent_and_never_said(server: RegistryServer) -> None:
    """Managed registries want them."""
    registry = HttpSchemaRegistry(server.url.replace("//", "//key:s%40cret@"))
    registry.id_for(WorkerReported)
    assert server.headers[0]["authorization"] == "Basic a2V5OnNAY3JldA=="
    server.refusal = (401, {})
    with pytest.raises(SchemaRegistryError) as raised:
        registry.schema_for(1)
    assert "cret" not in str(raised.value)


def test_a_stage_without_a_registry_writes_single_object_encoding() -> None:
    """The default needs nothing beside Kafka."""
    (event,) = [e.event() for e in load_examples(WorkerReported) if e.name == "ordinary"]
    assert open_codec(load(StageSettings, {})).encode(event) == encode(event)


def test_a_stage_with_a_registry_knows_every_id_before_it_is_ready(server: RegistryServer) -> None:
    """So no send on the request path waits for it."""
    codec = open_codec(load(StageSettings, {"SCHEMA_REGISTRY_URL": server.url, "TOPIC_PREFIX": "t-"}))
    assert len(server.calls) == len(EVENT_TYPES)
    (event,) = [e.event() for e in load_examples(WorkerReported) if e.name == "ordinary"]
    assert codec.encode(event)[:1] == b"\x00"
    assert len(server.calls) == len(EVENT_TYPES)
