"""The threaded outbox on a broker: what it says was sent is there, and what is not is said in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from confluent_kafka import Message

from services.chassis.clock import system_clock
from services.chassis.kafka import producer_config
from services.chassis.metrics import SEND_FAILURES, Metrics
from services.chassis.records import Record
from services.chassis.retry import SendFailed
from services.chassis.settings import StageSettings
from services.chassis.sync_outbox import SyncOutbox
from services.contracts.codec import Codec, decode
from services.contracts.events import JobProgressed, Phase
from services.contracts.partitioner import partition_for
from services.contracts.topics import DEAD_LETTERS, PROGRESS
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually
from tests.unit.moderator.requests import a_request

PARTITIONS = {PROGRESS: 12, DEAD_LETTERS: 12}
#: Of a delivery in the tests without a broker; in production it is 30 s.  The first send, to a live broker, must
#: fit as well: an idempotent producer may need over half a second for its id, and more on a busy machine.
GIVES_UP_MS = 3_000
LARGEST_RECORD = 1_048_000  #: bytes of a value that a topic with Kafka's own limit still takes


class Opened:
    """An outbox on a corner, with its metrics."""

    def __init__(self, kafka: KafkaCorner, **config: Any) -> None:
        settings = StageSettings(kafka_bootstrap_servers=kafka.bootstrap, topic_prefix=kafka.prefix)
        self.metrics = Metrics("gpu_worker")
        self.outbox = SyncOutbox(
            producer_config(settings, "test") | {"log_level": 0} | config,
            Codec(),
            self.metrics,
            system_clock,
            stage="gpu_worker",
            prefix=kafka.prefix,
        )

    def failures(self, topic: str) -> float:
        """How many sends to ``topic`` were counted as failed."""
        labels = {"stage": "gpu_worker", "topic": topic}
        return self.metrics.registry.get_sample_value(SEND_FAILURES.name, labels) or 0.0


OpenOutbox = Callable[..., Opened]


@pytest.fixture
def open_outbox() -> Iterator[OpenOutbox]:
    """Open outboxes as `Opened` does; all are closed after the test."""
    with ExitStack() as closing:

        def open_one(kafka: KafkaCorner, **config: Any) -> Opened:
            opened = Opened(kafka, **config)
            closing.callback(opened.outbox.close)
            return opened

        yield open_one


@pytest.fixture
def quick_kafka(embedded_broker: OpenBroker, topic_prefix: str) -> Iterator[KafkaCorner]:
    """A corner of the embedded broker."""
    with KafkaCorner(embedded_broker, topic_prefix) as corner:
        corner.create_topics(PARTITIONS)
        yield corner


@pytest.fixture
def doomed(topic_prefix: str) -> Iterator[KafkaCorner]:
    """A corner of a broker of the test's own, for it to kill."""
    broker = EmbeddedBroker()
    opened = OpenBroker(broker=broker, bootstrap=broker.start(), reason="the test kills it")
    with KafkaCorner(opened, topic_prefix) as corner:
        corner.create_topics(PARTITIONS)
        yield corner
    broker.stop()


def progress(user: str = "42", percent: int = 0) -> JobProgressed:
    """An event of a user's."""
    return JobProgressed(
        request_id="1",
        phase=Phase.RUNNING,
        progressed_at=system_clock(),
        reply_to=a_request(user=user).reply_to,
        command_string="a boat",
        percent=percent,
    )


def a_record(value: bytes = b"poison") -> Record:
    """A record that could not be handled."""
    return Record(
        topic=PROGRESS,
        partition=0,
        offset=7,
        key=b"42",
        value=value,
        headers={"correlation-id": b"1"},
        appended_at=system_clock(),
    )


def fails_in_time(send: Callable[[], None]) -> None:
    """Assert that ``send`` says that it failed, soon after the producer gave up."""
    started = time.monotonic()
    with pytest.raises(SendFailed, match="Kafka did not acknowledge"):
        send()
    assert time.monotonic() - started < 3 * GIVES_UP_MS / 1000


def test_what_was_sent_is_there_when_send_returns(open_outbox: OpenOutbox, quick_kafka: KafkaCorner) -> None:
    """With its key and envelope, and no time of its own lost: nothing has to be flushed."""
    opened = open_outbox(quick_kafka)
    event = progress()
    opened.outbox.send(event, None)
    (message,) = quick_kafka.consume_all(PROGRESS)
    assert decode(message.value() or b"") == event
    assert message.key() == b"42"
    headers = dict(message.headers() or [])
    assert headers["correlation-id"] == b"1"
    assert str(headers["producer"]).startswith("b'gpu_worker/")


def test_threads_that_send_at_once_each_get_their_own_answer(
    open_outbox: OpenOutbox, quick_kafka: KafkaCorner
) -> None:
    """A sender that polled for itself could take another's delivery report."""
    opened = open_outbox(quick_kafka)
    threads = [
        threading.Thread(target=opened.outbox.send, args=(progress(percent=n), None)) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    sent = [decode(message.value() or b"") for message in quick_kafka.consume_all(PROGRESS)]
    assert sorted(event.percent for event in sent if isinstance(event, JobProgressed)) == list(range(16))


def test_each_users_records_lie_where_the_contract_says(
    open_outbox: OpenOutbox, quick_kafka: KafkaCorner
) -> None:
    """librdkafka's own default hash would put them where another process looks after the user."""
    opened = open_outbox(quick_kafka)
    users = [str(100_000_000_000_000_000 + 7 * n) for n in range(40)]
    for user in users:
        opened.outbox.send_soon(progress(user), None)
    opened.outbox.close()
    found = {message.key(): message.partition() for message in quick_kafka.consume_all(PROGRESS)}
    assert found == {user.encode(): partition_for(user.encode(), 12) for user in users}


def test_a_report_lies_where_it_is_told_to(open_outbox: OpenOutbox, quick_kafka: KafkaCorner) -> None:
    """A worker attaches itself to a dispatcher by the partition that it reports in, and leaves it by the same."""
    opened = open_outbox(quick_kafka)
    for partition in (3, 7):
        opened.outbox.send_soon(progress(), None, partition=partition)
    opened.outbox.tombstone_soon(PROGRESS, "42", partition=3)
    opened.outbox.flush(10.0)
    found = [(message.partition(), message.value() is None) for message in quick_kafka.consume_all(PROGRESS)]
    assert sorted(found) == [(3, False), (3, True), (7, False)]


def test_it_is_told_once_a_report_is_acknowledged_and_not_before(
    open_outbox: OpenOutbox, doomed: KafkaCorner
) -> None:
    """A worker leaves its old partition only then."""
    opened, told = open_outbox(doomed, **{"delivery.timeout.ms": GIVES_UP_MS}), list[int]()
    opened.outbox.send_soon(progress(), None, acknowledged=lambda: told.append(1))
    eventually(lambda: told == [1])
    doomed.broker.kill()
    opened.outbox.send_soon(progress(), None, acknowledged=lambda: told.append(2))
    opened.outbox.flush(3 * GIVES_UP_MS / 1000)
    assert told == [1]


def test_a_send_to_a_dead_broker_fails_in_bounded_time_and_is_counted(
    open_outbox: OpenOutbox, doomed: KafkaCorner
) -> None:
    """The job's thread goes on to try again instead of hanging."""
    opened = open_outbox(doomed, **{"delivery.timeout.ms": GIVES_UP_MS})
    opened.outbox.send(progress(), None)
    doomed.broker.kill()
    fails_in_time(lambda: opened.outbox.send(progress(), None))
    assert opened.failures(PROGRESS) == 1


def test_a_dead_letter_to_a_dead_broker_is_not_taken_for_written(
    open_outbox: OpenOutbox, doomed: KafkaCorner
) -> None:
    """Its caller must not let the record's offset move: the bytes are nowhere else."""
    opened = open_outbox(doomed, **{"delivery.timeout.ms": GIVES_UP_MS})
    opened.outbox.dead_letter(a_record(), ValueError("no"))
    doomed.broker.kill()
    fails_in_time(lambda: opened.outbox.dead_letter(a_record(), ValueError("no")))
    assert opened.failures(DEAD_LETTERS) == 1


def test_a_report_to_a_dead_broker_costs_no_wait(open_outbox: OpenOutbox, doomed: KafkaCorner) -> None:
    """Progress is replaced by the next; the GPU does not wait for it."""
    opened = open_outbox(doomed, **{"delivery.timeout.ms": GIVES_UP_MS})
    doomed.broker.kill()
    started = time.monotonic()
    for percent in range(100):
        opened.outbox.send_soon(progress(percent=percent), None)
    assert time.monotonic() - started < 1.0


def test_a_record_of_the_largest_size_still_fits_among_the_dead_letters(
    open_outbox: OpenOutbox, chain_kafka: KafkaCorner
) -> None:
    """Poison can be as large as its topic takes, and the headers come on top."""
    opened = open_outbox(chain_kafka)
    value = b"x" * LARGEST_RECORD
    opened.outbox.dead_letter(a_record(value), ValueError("no"))
    dead = only(chain_kafka.consume_all(DEAD_LETTERS))
    assert dead.value() == value
    assert dict(dead.headers() or [])["dlq-error-class"] == b"ValueError"


def only(messages: list[Message]) -> Message:
    """The one message."""
    (message,) = messages
    return message
