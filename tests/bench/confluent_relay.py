"""One hop of the bare confluent-kafka relay: ``python -m tests.bench.confluent_relay BOOTSTRAP PREFIX HOP``."""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, Producer


def main() -> None:
    """Relay ``hop-N`` to ``hop-N+1`` for ever, each send acknowledged before the next record."""
    bootstrap, prefix, hop = sys.argv[1], sys.argv[2], int(sys.argv[3])
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{prefix}confluent-relay-{hop}",
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
    consumer.subscribe([f"{prefix}hop-{hop}"])
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            producer.produce(f"{prefix}hop-{hop + 1}", message.value(), key=message.key())
            producer.flush()


if __name__ == "__main__":
    main()
