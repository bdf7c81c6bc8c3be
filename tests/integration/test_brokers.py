"""One suite for every broker that can be had here: what the chain relies on holds on each."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from services.chassis.settings import load
from services.launcher.brokers.broker import BrokerError, client_config
from services.launcher.brokers.choose import BrokerSettings, OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from services.launcher.brokers.local import LocalBroker
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually


@pytest.fixture(params=["broker", "embedded_broker"])
def any_broker(request: pytest.FixtureRequest) -> OpenBroker:
    """The run's broker, and the embedded one."""
    opened: OpenBroker = request.getfixturevalue(request.param)
    return opened


@pytest.fixture
def corner(any_broker: OpenBroker, topic_prefix: str) -> Iterator[KafkaCorner]:
    """This test's corner of either broker."""
    with KafkaCorner(any_broker, topic_prefix) as made:
        yield made


def test_a_record_comes_back_with_its_key_headers_and_partition(corner: KafkaCorner) -> None:
    """What is written to a partition is read from it unchanged."""
    corner.create_topics({"lanes": 12})
    written = corner.produce("lanes", b"value", key=b"key", headers={"event-id": b"e1"}, partition=11)
    [read] = corner.consume_until("lanes", lambda seen: seen)
    assert (read.value(), read.key(), read.headers()) == (b"value", b"key", [("event-id", b"e1")])
    assert (read.partition(), read.offset()) == (11, written.offset())


def test_a_tombstone_comes_back_as_one(corner: KafkaCorner) -> None:
    """A record without a value stays without one."""
    corner.create_topics({"jobs": 1})
    corner.produce("jobs", None, key=b"request-1")
    [read] = corner.consume_all("jobs")
    assert (read.key(), read.value()) == (b"request-1", None)


def test_every_topic_of_the_registry_is_made_with_its_partitions(corner: KafkaCorner) -> None:
    """A stage finds each topic with the partition count that its file declares."""
    corner.create_registry_topics({"dispatched": 7})
    found = Consumer(client_config(corner.bootstrap) | {"group.id": "none"}).list_topics(timeout=10).topics
    assert len(found[corner.name("dispatched")].partitions) == 7
    assert len(found[corner.name("requests")].partitions) == 12


def test_a_kip_848_consumer_is_given_all_partitions_and_shares_them_with_a_second(
    corner: KafkaCorner,
) -> None:
    """The gpu_worker's group protocol works: one member has all lanes, two have some each, none twice."""
    corner.create_topics({"lanes": 8})
    with _member(corner) as first, _member(corner) as second:
        first.subscribe([corner.name("lanes")])
        eventually(lambda: _lanes(first) == set(range(8)), 15)
        second.subscribe([corner.name("lanes")])

        def shared() -> bool:
            # Both poll in each round: the first gives lanes up inside poll.
            of_first, of_second = _lanes(first), _lanes(second)
            assert not of_first & of_second
            return bool(of_first) and bool(of_second) and of_first | of_second == set(range(8))

        eventually(shared, 30)


def test_a_committed_offset_is_remembered(corner: KafkaCorner) -> None:
    """A group that committed goes on behind the commit."""
    corner.create_topics({"lanes": 1})
    corner.produce("lanes", b"one")
    with _member(corner) as consumer:
        consumer.subscribe([corner.name("lanes")])
        message = eventually(lambda: consumer.poll(0.1), 15)
        consumer.commit(message=message, asynchronous=False)
    assert corner.committed("lanes-group", "lanes") == {0: 1}


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[OpenBroker]:
    """A real Kafka of this test's own, to be restarted and killed."""
    made = _local(tmp_path)
    try:
        opened = OpenBroker(broker=made, bootstrap=made.start(), reason="the test restarts or kills it")
    except BrokerError as error:
        pytest.skip(f"no local Kafka can be had here: {error}")
    yield opened
    made.stop()


def test_records_and_address_survive_a_restart(own_kafka: OpenBroker, topic_prefix: str) -> None:
    """A restarted local broker has its records, at the address that its clients know."""
    with KafkaCorner(own_kafka, topic_prefix) as corner:
        corner.create_topics({"requests": 3})
        corner.produce("requests", b"before", partition=2)
        own_kafka.broker.restart()
        assert own_kafka.broker.describe().bootstrap == own_kafka.bootstrap
        assert [m.value() for m in corner.consume_all("requests")] == [b"before"]


def test_an_embedded_brokers_restart_cuts_connections_and_keeps_its_address(topic_prefix: str) -> None:
    """Clients see the same as when a real broker restarts, only sooner."""
    broker = EmbeddedBroker()
    opened = OpenBroker(broker=broker, bootstrap=broker.start(), reason="the test restarts it")
    with KafkaCorner(opened, topic_prefix) as corner:
        corner.create_topics({"requests": 1})
        corner.produce("requests", b"before")
        broker.restart()
        corner.produce("requests", b"after")
        assert [m.value() for m in corner.consume_all("requests")] == [b"before", b"after"]
    broker.stop()


def test_records_survive_a_kill(own_kafka: OpenBroker, topic_prefix: str) -> None:
    """A broker killed without warning has its acknowledged records when it is back, within 20 s."""
    with KafkaCorner(own_kafka, topic_prefix) as corner:
        corner.create_topics({"requests": 1})
        corner.produce("requests", b"before")
        own_kafka.broker.kill()
        began = time.monotonic()
        own_kafka.broker.restart()
        corner.produce("requests", b"after")
        assert time.monotonic() - began < 20
        assert [m.value() for m in corner.consume_all("requests")] == [b"before", b"after"]


def test_records_survive_a_stop_and_a_later_start(
    tmp_path: Path, topic_prefix: str, own_kafka: OpenBroker
) -> None:
    """A second broker object on the same folder goes on with the data of the first, at whatever address."""
    with KafkaCorner(own_kafka, topic_prefix) as corner:
        corner.create_topics({"requests": 1})
        corner.produce("requests", b"before")
    own_kafka.broker.stop()
    again = _local(tmp_path)
    reopened = OpenBroker(broker=again, bootstrap=again.start(), reason="the test starts it again")
    try:
        assert [m.value() for m in KafkaCorner(reopened, topic_prefix).consume_all("requests")] == [b"before"]
    finally:
        again.stop()


def test_a_second_broker_on_the_same_data_is_refused(tmp_path: Path, own_kafka: OpenBroker) -> None:
    """Two brokers never write the same files; the error names the folder and the way out."""
    with pytest.raises(BrokerError, match="is in use by another running broker; stop that one first"):
        _local(tmp_path).start()


def test_a_killed_kip_848_member_loses_its_lanes_within_the_low_session_timeout(kafka: KafkaCorner) -> None:
    """Our own brokers give a dead member's lanes away after some seconds, not after Kafka's 45."""
    if kafka.broker.describe().kind not in ("local", "docker"):
        pytest.skip("the session timeout of a KIP-848 group is the broker's, and this broker is not ours")
    kafka.create_topics({"lanes": 4})
    script = _MEMBER.format(
        bootstrap=kafka.bootstrap, group=kafka.name("lanes-group"), topic=kafka.name("lanes")
    )
    dying = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert dying.stdout is not None
    assert dying.stdout.readline() == "has lanes\n"
    dying.kill()
    dying.wait()
    dying.stdout.close()
    with _member(kafka) as heir:
        heir.subscribe([kafka.name("lanes")])
        eventually(lambda: _lanes(heir) == set(range(4)), 20)


_MEMBER = """
from confluent_kafka import Consumer
consumer = Consumer({{"bootstrap.servers": {bootstrap!r}, "group.id": {group!r}, "group.protocol": "consumer"}})
consumer.subscribe([{topic!r}])
while not consumer.assignment():
    consumer.poll(0.1)
print("has lanes", flush=True)
while True:
    consumer.poll(1)
"""


def _local(tmp_path: Path) -> LocalBroker:
    settings = load(BrokerSettings)
    cache = settings.xdg_cache_home.expanduser() / "distillery"
    return LocalBroker(tmp_path / "kafka", cache_dir=cache, repository=settings.maven_repository_url)


def _member(corner: KafkaCorner) -> Consumer:
    return Consumer(
        client_config(corner.bootstrap)
        | {
            "group.id": corner.name("lanes-group"),
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )


def _lanes(consumer: Consumer) -> set[int]:
    consumer.poll(0.05)  # Group work is done inside poll.
    return {place.partition for place in consumer.assignment()}
