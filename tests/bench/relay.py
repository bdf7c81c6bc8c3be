"""Runs a relay of five hops and measures it from end to end."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from services.launcher.child import spawn
from tests.bench.statistics import percentiles
from tests.harness.kafka import KafkaCorner

HOPS = 5


def relay_latency(
    kind: str, kafka: KafkaCorner, logs: Path, *, payload: bytes, rate: float, count: int
) -> dict[str, float]:
    """p50 and p99 in ms of ``count`` records at ``rate`` a second through five processes of ``kind``."""
    kafka.create_topics({f"hop-{hop}": 1 for hop in range(HOPS + 1)})
    children = [
        spawn(
            [sys.executable, "-m", f"tests.bench.{kind}_relay", kafka.bootstrap, kafka.prefix, str(hop)],
            log=logs / f"{kind}-{hop}.log",
        )
        for hop in range(HOPS)
    ]
    try:
        taken = _measure(kafka, payload, rate, count)
    finally:
        for child in children:
            child.kill()
    return percentiles(taken, f"{kind}_relay")


def _measure(kafka: KafkaCorner, payload: bytes, rate: float, count: int) -> list[float]:
    arrivals: dict[bytes, float] = {}
    arrived = threading.Event()
    stop = threading.Event()
    reader = threading.Thread(target=_read, args=(kafka, arrivals, arrived, stop), daemon=True)
    reader.start()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "linger.ms": 0})
    sent: dict[bytes, float] = {}

    def send(key: bytes) -> None:
        sent[key] = time.monotonic()
        producer.produce(kafka.name("hop-0"), payload, key=key)
        producer.flush()

    _warm(send, arrivals, arrived)
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))  # noqa: TID251 - keeps the rate
        send(b"m%d" % number)
    end = time.monotonic() + 30
    while time.monotonic() < end and not all(b"m%d" % n in arrivals for n in range(count)):
        arrived.wait(0.1)
    stop.set()
    reader.join(5)
    return [arrivals[key] - sent[key] for key in (b"m%d" % n for n in range(count)) if key in arrivals]


def _warm(send: object, arrivals: dict[bytes, float], arrived: threading.Event) -> None:
    """Send until ten in a row came through: every group has joined and every producer has its id."""
    assert callable(send)
    for number in range(10):
        key = b"w%d" % number
        send(key)
        end = time.monotonic() + 60
        while key not in arrivals:
            assert time.monotonic() < end, "the relay does not relay"
            arrived.wait(0.05)


def _read(
    kafka: KafkaCorner, arrivals: dict[bytes, float], arrived: threading.Event, stop: threading.Event
) -> None:
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": "reader", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(kafka.name(f"hop-{HOPS}"), 0, 0)])
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            arrivals.setdefault(bytes(message.key() or b""), time.monotonic())
            arrived.set()
            arrived.clear()
    consumer.close()
