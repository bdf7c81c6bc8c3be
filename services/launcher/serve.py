"""``distillery serve``: one request through the running demo, told stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

from confluent_kafka import Consumer, Message, TopicPartition

from services.audit.describe import event_line
from services.chassis.clock import from_millis
from services.contracts.codec import decode
from services.contracts.envelope import CORRELATION_ID
from services.contracts.errors import UndecodableRecord
from services.contracts.events import Event, JobCompleted, RequestDelivered
from services.contracts.topics import (
    COMPLETED,
    DELIVERED,
    DISPATCHED,
    JOBS,
    MODERATED,
    PROGRESS,
    REQUESTS,
    prefixed,
    unprefixed,
)
from services.launcher.demo import RunningDemo
from services.sandbox.discord.client import SandboxDiscord, SandboxRefused

#: The first of the page's demo users.
USER = "100000000000000001"
_WATCHED = (REQUESTS, MODERATED, JOBS, DISPATCHED, PROGRESS, COMPLETED, DELIVERED)

#: When, on which topic and partition, and what.
_Entry = tuple[datetime, str, int, Event]


class ServeError(Exception):
    """The request could not be made or did not end in time."""


def serve(
    demo: RunningDemo, prompt: str, say: Callable[[str], None], *, timeout_seconds: float = 300.0
) -> bool:
    """Make one request as a demo user and print its journey; whether it ended in images.

    Raises:
        ServeError: the demo has no loopback Discord, refuses the command, or does not answer in time.
    """
    if not demo.page_url:
        raise ServeError("The demo is connected to the real Discord, where only a person can type /serve.")
    consumer = _watch(demo)
    try:
        request_id = _submit(demo, prompt)
        say(f"request {request_id}")
        return _follow(demo, consumer, request_id, say, timeout_seconds)
    finally:
        consumer.close()


def _watch(demo: RunningDemo) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": demo.bootstrap,
            "group.id": "distillery-serve",  # never joined
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
            "log_level": 3,
        }
    )
    topics = consumer.list_topics(timeout=10.0).topics
    assignment = []
    for name in (prefixed(topic, demo.topic_prefix) for topic in _WATCHED):
        for partition in topics[name].partitions if name in topics else ():
            _, end = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10.0)
            assignment.append(TopicPartition(name, partition, end))
    consumer.assign(assignment)
    return consumer


def _submit(demo: RunningDemo, prompt: str) -> str:
    try:
        return SandboxDiscord(demo.page_url).submit(USER, prompt)
    except (OSError, ValueError, KeyError, SandboxRefused) as error:
        raise ServeError(
            f"The loopback Discord at {demo.page_url} did not take the command: {error}."
        ) from error


def _follow(
    demo: RunningDemo, consumer: Consumer, request_id: str, say: Callable[[str], None], timeout_seconds: float
) -> bool:
    begun: datetime | None = None
    images: list[str] = []
    delivered: RequestDelivered | None = None
    for batch in _batches(demo, consumer, request_id, timeout_seconds):
        if delivered is not None and not batch:
            for key in images:
                say(f"            image       {demo.objects}/{key}")
            return delivered.images > 0
        for at, topic, partition, event in batch:
            begun = begun or at
            say(f"{(at - begun).total_seconds():8.3f} s  {topic:<11} {event_line(event, partition)}")
            if isinstance(event, JobCompleted) and event.images:
                images = [image.object_key for image in event.images]
            delivered = event if isinstance(event, RequestDelivered) else delivered
    raise ServeError(
        f"Request {request_id} had not ended after {timeout_seconds:.0f} s; see the demo's logs."
    )


def _batches(
    demo: RunningDemo, consumer: Consumer, request_id: str, timeout_seconds: float
) -> Iterator[list[_Entry]]:
    """What arrived in the last moment, by time: topics are read side by side, and not in the order of writing."""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        messages = consumer.consume(100, timeout=0.25)
        read = (_event(demo, message, request_id) for message in messages)
        yield sorted((entry for entry in read if entry is not None), key=lambda entry: entry[:2])


def _event(demo: RunningDemo, message: Message, request_id: str) -> _Entry | None:
    value = message.value()
    if message.error() is not None or _correlation(message) != request_id or not isinstance(value, bytes):
        return None
    try:
        event = decode(value)
    except UndecodableRecord:
        return None
    topic = unprefixed(message.topic() or "", demo.topic_prefix) or ""
    return from_millis(message.timestamp()[1]), topic, message.partition() or 0, event


def _correlation(message: Message) -> str:
    found = dict(message.headers() or []).get(CORRELATION_ID)
    return found.decode(errors="replace") if isinstance(found, bytes) else ""
