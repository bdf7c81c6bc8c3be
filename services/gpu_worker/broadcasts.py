"""Reads topics that every worker hears whole: each in a thread of its own, and without a group."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from services.chassis.clock import Clock
from services.chassis.edge import guard, place, read
from services.chassis.kafka import client_config
from services.chassis.logs import get_logger
from services.chassis.records import Record
from services.contracts.codec import Codec
from services.contracts.errors import SchemaRegistryError, UndecodableRecord
from services.gpu_worker.records import to_record
from services.gpu_worker.settings import WorkerSettings

log = get_logger()
E = TypeVar("E")
POLL_SECONDS = 0.5
#: Between two tries to find the topic's partitions.
AGAIN_SECONDS = 2.0
_ANSWER_SECONDS = 10.0


def reader_config(settings: WorkerSettings, reset: str) -> dict[str, Any]:
    """A consumer that assigns itself: the client wants a group's name, but joins none and commits nothing.

    ``reset`` says where to go on when what comes next has been deleted: ``earliest`` or ``latest``.
    """
    return client_config(settings, "gpu_worker-broadcasts") | {
        "group.id": settings.topic_prefix + "gpu_worker",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": reset,
        "fetch.wait.max.ms": settings.kafka_fetch_wait_ms,
    }


class BroadcastReader(Generic[E]):
    """A thread that hands every event of a topic on."""

    def __init__(
        self,
        settings: WorkerSettings,
        codec: Codec,
        clock: Clock,
        name: str,
        kind: type[E],
        heard: Callable[[E], None],
        *,
        look_back: timedelta | None,
    ) -> None:
        """
        Args:
            name: the topic, without prefix.
            kind: the event that it carries.
            heard: called in the reader's thread, for older and repeated events too; it must not wait.
            look_back: how old an event may be that is read at the start; where the broker cannot tell, all are read.
                None reads what is written from then on, and nothing else.
        """
        self._settings = settings
        self._topic = settings.topic_prefix + name
        self._codec = codec
        self._clock = clock
        self._kind = kind
        self._heard = heard
        self._look_back = look_back
        self.partitions = 0  #: of the topic; known before the first event is handed on
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read-{name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more.  Does not wait: the thread may be waiting for a broker."""
        self._stopping.set()

    def _run(self) -> None:
        reset = "latest" if self._look_back is None else "earliest"
        consumer = Consumer(reader_config(self._settings, reset))
        while not self._stopping.is_set() and (failure := guard(partial(self._assign, consumer))) is not None:
            log.warning("broadcast_unreadable", topic=self._topic, why=str(failure))
            self._stopping.wait(AGAIN_SECONDS)
        while not self._stopping.is_set():
            message = consumer.poll(POLL_SECONDS)
            if message is not None and (failure := guard(partial(self._take, message))) is not None:
                log.error("broadcast_failed", error=repr(failure), exc_info=failure)
        consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        """Take every partition.

        Raises:
            KafkaException: the broker does not answer, or has no such topic.
        """
        metadata = consumer.list_topics(self._topic, timeout=_ANSWER_SECONDS).topics[self._topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        self.partitions = len(metadata.partitions)
        consumer.assign([TopicPartition(self._topic, *begin) for begin in self._begins(consumer)])

    def _begins(self, consumer: Consumer) -> list[tuple[int, int]]:
        """Each partition with the offset to begin at.

        Raises:
            KafkaException: the broker does not answer.
        """
        if self._look_back is None:
            return [(number, OFFSET_END) for number in range(self.partitions)]
        since = int((self._clock() - self._look_back).timestamp() * 1000)
        asked = [TopicPartition(self._topic, number, since) for number in range(self.partitions)]
        found = consumer.offsets_for_times(asked, timeout=_ANSWER_SECONDS)
        return [(p.partition, _from(p.offset)) for p in found]

    def _take(self, message: Message) -> None:
        if message.error() is not None:
            log.warning("broadcast_poll_failed", why=str(message.error()))
            return
        event = self._decoded(to_record(message, self._settings.topic_prefix))
        if event is not None:
            self._heard(event)

    def _decoded(self, record: Record) -> E | None:
        while not self._stopping.is_set():
            try:
                event = read(record, self._codec).event
            except UndecodableRecord as error:
                # A dispatcher puts a cancellation into the dead letters; an announcement is followed by the next.
                log.warning("broadcast_skipped", **place(record), error=str(error))
                return None
            except SchemaRegistryError as error:
                log.warning("broadcast_postponed", **place(record), why=str(error))
                self._stopping.wait(AGAIN_SECONDS)
            else:
                return event if isinstance(event, self._kind) else None
        return None


def _from(offset: int) -> int:
    """Where to begin: a negative answer says that nothing is so young, or, of the embedded broker, nothing at all."""
    return offset if offset >= 0 else OFFSET_BEGINNING
