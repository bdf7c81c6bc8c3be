"""The poll loop: one thread polls the lanes for ever, while slot threads run what is addressed to this worker.

Faust is not used here: its eager rebalances stop every worker until the slowest job ends.  ``poll`` is never
left uncalled for long, so that the group keeps the member while a job takes minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.chassis import metrics as m
from services.chassis.edge import place, read
from services.chassis.health import Health
from services.chassis.kafka import client_config
from services.chassis.logs import get_logger
from services.chassis.records import Record
from services.chassis.sync_outbox import SyncOutbox, until_acknowledged
from services.contracts.codec import Codec
from services.contracts.errors import SchemaRegistryError, UndecodableRecord
from services.contracts.events import JobDispatched
from services.contracts.topics import DISPATCHED
from services.gpu_worker import decide
from services.gpu_worker.holdings import Assignment, Holdings, LaneOffsets
from services.gpu_worker.lease import Lease
from services.gpu_worker.records import to_record
from services.gpu_worker.settings import WorkerSettings

log = get_logger()
POLL_SECONDS = 0.2
#: A commit for each of many short jobs would cost the broker more than the jobs' own records.
COMMIT_SECONDS = 1.0
#: Before a record is read again whose schema the registry could not give; far below ``max.poll.interval.ms``.
REGISTRY_SECONDS = 1.0
#: How long leaving the group may take: with the broker away the client would wait for half a minute.
CLOSE_SECONDS = 5.0
#: Dispatch ids kept to recognise a lane that is read again; far more than a worker holds between two commits.
REMEMBERED = 10_000
#: What a coordinator answers while the group is moving; the next round tries again.
_MOVING = {
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError._NO_OFFSET,
    KafkaError._ASSIGNMENT_LOST,
}


def consumer_config(settings: WorkerSettings) -> dict[str, Any]:
    """The lanes' consumer.

    ``earliest`` is safe here, unlike in most queues: a record addressed to an earlier incarnation is skipped, so
    reading an old lane from its start runs nothing.
    """
    config = client_config(settings, "gpu_worker") | {
        "group.id": settings.topic_prefix + "gpu_worker",
        "group.protocol": settings.kafka_group_protocol,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": 300_000,
        "fetch.wait.max.ms": settings.kafka_fetch_wait_ms,
    }
    if settings.kafka_group_protocol == "classic":
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = int(settings.kafka_session_timeout_seconds * 1000)
    return config


def commit_failure(error: KafkaError | None, offsets: Sequence[TopicPartition]) -> KafkaError | None:
    """What went wrong with a commit, if it is worth a word; a group that moves refuses as a matter of course."""
    errors = [error, *(offset.error for offset in offsets)]
    return next((one for one in errors if one is not None and one.code() not in _MOVING), None)


class LaneConsumer:
    """Reads the lanes and keeps their offsets; used from the thread that calls `poll` and `close`."""

    def __init__(
        self,
        settings: WorkerSettings,
        lease: Lease,
        holdings: Holdings,
        outbox: SyncOutbox,
        codec: Codec,
        metrics: m.Metrics,
        health: Health,
        on_lanes: Callable[[], None],
        on_job: Callable[[Assignment], None],
    ) -> None:
        """Join the group; nothing is read before the first `poll`.

        ``on_lanes`` is called when the lanes have moved, ``on_job`` when a job is in hand; neither may wait.
        """
        self._lease = lease
        self._holdings = holdings
        self._outbox = outbox
        self._codec = codec
        self._metrics = metrics
        self._health = health
        self._on_lanes = on_lanes
        self._on_job = on_job
        self._prefix = settings.topic_prefix
        self._offsets = LaneOffsets()
        self._seen: dict[str, None] = {}
        self._lanes: set[int] = set()
        self._commit_at = 0.0
        self.draining = False
        self._poison: SimpleQueue[tuple[Record, UndecodableRecord] | None] = SimpleQueue()
        self._closing = threading.Event()
        threading.Thread(target=self._bury_all, name="dead-letters", daemon=True).start()
        self._consumer = Consumer(consumer_config(settings) | {"on_commit": self._committed})
        self._consumer.subscribe(
            [self._prefix + DISPATCHED],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def lanes(self) -> set[int]:
        """The lanes that this worker reads now."""
        return set(self._lanes)

    def poll(self) -> None:
        """One turn: take a record if there is one, and commit what is done."""
        message = self._consumer.poll(POLL_SECONDS)
        self._health.beat()
        if message is not None:
            self._take(message)
        if time.monotonic() >= self._commit_at:
            self._commit()

    def finished(self, assignment: Assignment) -> None:
        """A job's ``completed`` is acknowledged, or the job is void, so its record may be passed.  From any thread."""
        self._offsets.done(assignment.lane, assignment.offset)

    def close(self) -> None:
        """Commit and leave the group, which moves the lanes at once.

        A poison record that is not in ``dead-letters`` yet is not committed: the lane's next owner buries it.
        """
        self._closing.set()
        self._poison.put(None)
        self._commit()
        leaving = threading.Thread(target=self._consumer.close, name="leave-group", daemon=True)
        leaving.start()
        leaving.join(CLOSE_SECONDS)

    def _take(self, message: Message) -> None:
        if message.error() is not None:
            log.warning("lane_poll_failed", why=str(message.error()))
            return
        record = to_record(message, self._prefix)
        self._offsets.arrived(record.partition, record.offset)
        try:
            received = read(record, self._codec)
        except UndecodableRecord as error:
            self._poison.put((record, error))
            return
        except SchemaRegistryError as error:
            log.warning("lane_postponed", **place(record), why=str(error))
            self._consumer.seek(TopicPartition(message.topic() or "", record.partition, record.offset))
            self._closing.wait(REGISTRY_SECONDS)
            return
        if isinstance(received.event, JobDispatched):
            self._judge(
                Assignment(
                    job=received.event,
                    envelope=received.envelope,
                    lane=record.partition,
                    offset=record.offset,
                )
            )
        else:
            self._offsets.done(record.partition, record.offset)

    def _judge(self, assignment: Assignment) -> None:
        job = assignment.job
        verdict = decide.judge(job, self._lease.identity(), self._seen, draining=self.draining)
        run = verdict is decide.Verdict.RUN
        self._metrics.count(m.EVENTS, DISPATCHED, "ok" if run else "skipped")
        if run:
            self._remember(job.dispatch_id)
            self._holdings.add(assignment)
            self._on_job(assignment)
            return
        log.info("dispatch_skipped", request_id=job.request_id, attempt=job.attempt, verdict=verdict.value)
        self._offsets.done(assignment.lane, assignment.offset)

    def _remember(self, dispatch_id: str) -> None:
        self._seen[dispatch_id] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _bury_all(self) -> None:
        """In a thread of its own: the poll loop keeps the group, and sees that it is told to leave."""
        while (poison := self._poison.get()) is not None and not self._closing.is_set():
            self._bury(*poison)

    def _bury(self, record: Record, error: UndecodableRecord) -> None:
        log.error("event_dead_lettered", **place(record), error=str(error))
        if until_acknowledged(
            lambda: self._outbox.dead_letter(record, error), self._closing, what="dead letter"
        ):
            self._metrics.count(m.EVENTS, DISPATCHED, "poison")
            self._offsets.done(record.partition, record.offset)

    def _commit(self) -> None:
        self._commit_at = time.monotonic() + COMMIT_SECONDS
        moved = self._offsets.committable()
        if not moved:
            return
        topic = self._prefix + DISPATCHED
        offsets = [
            TopicPartition(topic, lane, offset) for lane, offset in moved.items() if lane in self._lanes
        ]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            self._committed(error.args[0], offsets)

    def _committed(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        """The answer to a commit: one that failed is tried again, as a lane may have no further record for hours."""
        for offset in offsets:
            if error is not None or offset.error is not None:
                self._offsets.not_committed(offset.partition)
        if (failure := commit_failure(error, offsets)) is not None:
            # Harmless beyond a second reading of these records, which are then recognised.
            log.warning("lane_commit_failed", why=str(failure))

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._lanes |= {p.partition for p in partitions}
        self._moved()

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {p.partition for p in partitions}
        self._commit()
        self._lanes -= gone
        # A job that came over a lost lane runs on: the dispatcher, not the lane's owner, says who runs what.
        self._offsets.lost(gone)
        self._moved()

    def _moved(self) -> None:
        self._metrics.count(m.REBALANCES)
        self._metrics.set(m.ASSIGNED_PARTITIONS, len(self._lanes))
        log.info("lanes_moved", lanes=len(self._lanes))
        self._on_lanes()
