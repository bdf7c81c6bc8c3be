"""Every producer puts a key on the partition that ``partition_for`` names."""

from __future__ import annotations

import random

from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import KafkaError, Message, Producer

from services.chassis.kafka import producer_config
from services.chassis.settings import StageSettings, load
from services.contracts.partitioner import partition_for
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker

PARTITIONS = 12
_RANDOM = random.Random(20260314)  # noqa: S311 - the same keys in every run
KEYS = [str(_RANDOM.randrange(10**17, 10**20)).encode() for _ in range(200)] + [b"gpu-1", b"\xff\x00", b"x"]


def test_librdkafkas_producer_agrees(embedded_broker: OpenBroker) -> None:
    """gpu_worker writes with it, to partitions that Faust stages own."""
    broker = embedded_broker.broker
    assert isinstance(broker, EmbeddedBroker)
    broker.create_topics({"partitioned": PARTITIONS})
    settings = load(StageSettings, {"KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap})
    producer = Producer(producer_config(settings, "test"))
    went: dict[bytes | None, int | None] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        went[message.key()] = None if error else message.partition()

    for key in KEYS:
        producer.produce("partitioned", b"", key=key, on_delivery=delivered)
    assert producer.flush(15) == 0
    assert went == {key: partition_for(key, PARTITIONS) for key in KEYS}


def test_aiokafkas_producer_agrees() -> None:
    """The Faust stages write with it."""
    numbers = list(range(PARTITIONS))
    choose = DefaultPartitioner()
    assert {key: choose(key, numbers, numbers) for key in KEYS} == {
        key: partition_for(key, PARTITIONS) for key in KEYS
    }
