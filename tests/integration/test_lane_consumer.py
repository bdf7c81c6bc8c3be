"""The poll loop on a broker: poison is put aside without stopping it, and a commit that fails is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from structlog.testing import capture_logs

from services.chassis.health import Health
from services.chassis.metrics import Metrics
from services.chassis.records import Record
from services.chassis.retry import SendFailed
from services.contracts.codec import Codec
from services.contracts.topics import DEAD_LETTERS, DISPATCHED
from services.gpu_worker import consumer
from services.gpu_worker.consumer import LaneConsumer, commit_failure
from services.gpu_worker.decide import Identity
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.lease import Lease
from services.gpu_worker.settings import WorkerSettings
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.fakes.flaky_codec import FlakyCodec
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.test_decide import JOB


class Named(Lease):
    """A lease that never lapses, under a given name."""

    def __init__(self, me: Identity) -> None:
        super().__init__(me.worker_id, silence_seconds=3600.0)
        self._me = me


class DeadLetters:
    """Stands in for the outbox: keeps dead letters, once it is told that the broker is back."""

    def __init__(self) -> None:
        self.away = True
        self.tries = 0
        self.buried: list[Record] = []

    def dead_letter(self, record: Record, error: Exception) -> None:
        """As `SyncOutbox.dead_letter`."""
        self.tries += 1
        if self.away:
            raise SendFailed("away", after_seconds=0.05)
        self.buried.append(record)


class Lanes:
    """A consumer of one worker's, alone in its group."""

    def __init__(self, kafka: KafkaCorner) -> None:
        self.kafka = kafka
        self.settings = WorkerSettings(
            kafka_bootstrap_servers=kafka.bootstrap, topic_prefix=kafka.prefix, kafka_fetch_wait_ms=10
        )
        self.holdings = Holdings()
        self.outbox = DeadLetters()
        self.codec = FlakyCodec()
        self.arrived: list[Assignment] = []
        self.consumer = LaneConsumer(
            self.settings,
            Named(Identity(worker_id=JOB.worker_id, incarnation=JOB.incarnation)),
            self.holdings,
            self.outbox,  # type: ignore[arg-type]  # all that the poll loop uses of an outbox
            self.codec,  # type: ignore[arg-type]  # all that the poll loop uses of a codec
            Metrics("gpu_worker"),
            Health(),
            on_lanes=lambda: None,
            on_job=self.arrived.append,
        )
        self.closed = False

    def polled(self, condition: object) -> bool:
        """Take a turn, and say whether ``condition`` is true then."""
        self.consumer.poll()
        return bool(condition() if callable(condition) else condition)

    def committed(self) -> int:
        """The first lane's committed offset; 0 where there is none."""
        return self.kafka.committed("gpu_worker", DISPATCHED).get(0, 0)

    def close(self) -> None:
        """Leave, once."""
        if not self.closed:
            self.closed = True
            self.consumer.close()


@pytest.fixture
def quick(embedded_broker: OpenBroker, topic_prefix: str) -> Iterator[KafkaCorner]:
    """A corner of the embedded broker, with the lanes."""
    with KafkaCorner(embedded_broker, topic_prefix) as corner:
        corner.create_topics({DISPATCHED: 4, DEAD_LETTERS: 4})
        yield corner


@pytest.fixture
def doomed(topic_prefix: str) -> Iterator[KafkaCorner]:
    """A corner of a broker of the test's own, for it to kill."""
    broker = EmbeddedBroker()
    opened = OpenBroker(broker=broker, bootstrap=broker.start(), reason="the test kills it")
    with KafkaCorner(opened, topic_prefix) as corner:
        corner.create_topics({DISPATCHED: 4})
        yield corner
    broker.stop()


@pytest.fixture
def lanes(quick: KafkaCorner) -> Iterator[Lanes]:
    """A worker's poll loop, on four lanes."""
    opened = Lanes(quick)
    yield opened
    opened.close()


def poison_and_a_job(kafka: KafkaCorner) -> None:
    """A record that nobody can decode, and a job right behind it."""
    kafka.produce(DISPATCHED, b"poison", partition=0)
    kafka.produce(DISPATCHED, Codec().encode(replace(JOB, dispatch_id="d2")), partition=0)


def test_the_loop_goes_on_while_poison_cannot_be_put_aside(lanes: Lanes) -> None:
    """Else the group would throw the worker out after five minutes, and SIGTERM would go unseen."""
    poison_and_a_job(lanes.kafka)
    eventually(lambda: lanes.polled(lambda: lanes.outbox.tries > 1 and lanes.holdings.reported()), 20)
    assert [job.dispatch_id for job in lanes.holdings.reported()] == ["d2"]
    assert [assignment.job.dispatch_id for assignment in lanes.arrived] == ["d2"]


def test_poison_is_passed_once_it_is_in_the_dead_letters(lanes: Lanes) -> None:
    """And not before."""
    lanes.kafka.produce(DISPATCHED, b"poison", partition=0)
    eventually(lambda: lanes.polled(lambda: lanes.outbox.tries > 1), 20)
    assert lanes.committed() == 0
    lanes.outbox.away = False
    eventually(lambda: lanes.polled(lambda: lanes.committed() == 1), 20)
    assert [record.value for record in lanes.outbox.buried] == [b"poison"]


def test_a_worker_that_leaves_leaves_poison_to_the_lanes_next_owner(lanes: Lanes) -> None:
    """It is in no topic but this one."""
    lanes.kafka.produce(DISPATCHED, b"poison", partition=0)
    eventually(lambda: lanes.polled(lambda: lanes.outbox.tries > 1), 20)
    lanes.close()
    eventually(lambda: not any(thread.name == "dead-letters" for thread in threading.enumerate()))
    assert lanes.committed() == 0
    assert lanes.outbox.buried == []


def test_a_record_whose_schema_the_registry_cannot_give_now_is_read_again(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no poison, and the worker with its running job must not end of it."""
    monkeypatch.setattr(consumer, "REGISTRY_SECONDS", 0.01)
    lanes.codec.failures = 2
    lanes.kafka.produce(DISPATCHED, Codec().encode(JOB), partition=0)
    eventually(lambda: lanes.polled(lambda: lanes.holdings.reported()), 20)
    assert lanes.codec.failures == 0
    assert lanes.outbox.tries == 0
    assert len(lanes.holdings.reported()) == 1


def test_leaving_a_dead_broker_takes_no_half_minute(
    doomed: KafkaCorner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would wait for the coordinator for longer than a container gets."""
    # It cannot be ended while its broker is away, and lives as long as this process: let it be quiet.
    quiet = {"log_level": 0, "reconnect.backoff.ms": 60_000, "reconnect.backoff.max.ms": 60_000}
    real = consumer.consumer_config
    monkeypatch.setattr(consumer, "consumer_config", lambda settings: real(settings) | quiet)
    lanes = Lanes(doomed)
    doomed.produce(DISPATCHED, Codec().encode(replace(JOB, worker_id="another")), partition=0)
    eventually(lambda: lanes.polled(lambda: lanes.consumer.lanes()), 20)
    doomed.broker.kill()
    started = time.monotonic()
    lanes.close()
    assert time.monotonic() - started < 2 * consumer.CLOSE_SECONDS


def test_a_commit_that_the_broker_refuses_is_said_and_tried_again(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asynchronous: nobody would notice otherwise that a lane is read from the same place for ever."""
    monkeypatch.setattr(consumer, "COMMIT_SECONDS", 0.05)
    eventually(lambda: lanes.polled(lambda: 0 in lanes.consumer.lanes()), 20)
    real, tries = lanes.consumer._consumer.commit, list[list[TopicPartition]]()

    class Elsewhere:
        """The client, but its first commit is for a partition that is not there."""

        def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
            assert asynchronous, "the poll loop must not wait"
            tries.append(offsets)
            topic = offsets[0].topic + ("-none" if len(tries) == 1 else "")
            real(
                offsets=[TopicPartition(topic, o.partition, o.offset) for o in offsets],
                asynchronous=True,
            )

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    client = lanes.consumer._consumer
    monkeypatch.setattr(lanes.consumer, "_consumer", Elsewhere())
    lanes.kafka.produce(DISPATCHED, Codec().encode(replace(JOB, worker_id="another")), partition=0)
    with capture_logs() as logs:
        eventually(lambda: lanes.polled(lambda: lanes.committed() == 1), 20)
    assert [[(o.partition, o.offset) for o in offsets] for offsets in tries[:2]] == [[(0, 1)], [(0, 1)]]
    assert "lane_commit_failed" in [line["event"] for line in logs]


@pytest.mark.parametrize(
    ("overall", "of_the_lane", "worth_a_word"),
    [
        (None, None, False),
        (KafkaError.ILLEGAL_GENERATION, None, False),
        (None, KafkaError.REBALANCE_IN_PROGRESS, False),
        (KafkaError._NO_OFFSET, None, False),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, None, True),
        (None, KafkaError.TOPIC_AUTHORIZATION_FAILED, True),
    ],
)
def test_only_a_commit_that_no_later_one_makes_good_is_said(
    overall: int | None, of_the_lane: int | None, worth_a_word: bool
) -> None:
    """A group that moves refuses commits as a matter of course."""
    place = TopicPartition("t", 0, 1)
    if of_the_lane is not None:
        place = Refused(KafkaError(of_the_lane))  # type: ignore[assignment]  # confluent's own cannot be given one
    error = None if overall is None else KafkaError(overall)
    assert (commit_failure(error, [place]) is not None) == worth_a_word


class Refused:
    """An offset as a commit's answer names it."""

    def __init__(self, error: KafkaError) -> None:
        self.error = error
