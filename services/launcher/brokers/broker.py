"""What every broker can do, what it says of itself, and how its readiness is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


class BrokerError(Exception):
    """A broker cannot be had or does not answer; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerDescription:
    """What a person must know of the broker that a run used."""

    kind: str  #: embedded, local, docker or external
    version: str  #: such as ``Apache Kafka 4.3.1``
    bootstrap: str  #: host:port, comma separated
    keeps_data: bool  #: whether records outlive a restart
    unproven: tuple[str, ...] = ()  #: what a test passing on this broker does not prove


class Broker(Protocol):
    """A Kafka that this process can start and stop.  Methods block; none is for an event loop's thread."""

    def start(self) -> str:
        """Start it, wait until it answers, and return its bootstrap servers.

        Raises:
            BrokerError: it cannot start; nothing is left running.
        """

    def stop(self) -> None:
        """End it in good order; harmless when it does not run."""

    def restart(self) -> None:
        """Stop and start it at the same address; clients lose their connections."""

    def kill(self) -> None:
        """End it by SIGKILL; `restart` brings it back."""

    def describe(self) -> BrokerDescription:
        """What it is; valid once started."""


def wait_until_answers(
    client: Mapping[str, Any], *, deadline_seconds: float, why_not: Callable[[], str | None]
) -> None:
    """Ask for the cluster's metadata until it names a broker.

    ``client`` is a confluent-kafka configuration; ``why_not`` says why to give up early, or None.

    Raises:
        BrokerError: it gave a reason, or the deadline passed.
    """
    # The default back-off between connection attempts grows to 10 s, far longer than a broker takes to start.
    admin = AdminClient({**client, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})
    end = time.monotonic() + deadline_seconds
    while True:
        try:
            if admin.list_topics(timeout=0.25).brokers:
                return
        except KafkaException:
            pass  # Not yet: the port is closed, or metadata is not served.
        if reason := why_not():
            raise BrokerError(reason)
        if time.monotonic() > end:
            address = client["bootstrap.servers"]
            raise BrokerError(f"The broker at {address} did not answer within {deadline_seconds:.0f} s.")


def client_config(bootstrap: str) -> dict[str, Any]:
    """The least that a confluent-kafka client needs; silent, since failures come back as exceptions."""
    return {"bootstrap.servers": bootstrap, "log_level": 0}


def broker_settings(overrides: Mapping[str, str]) -> dict[str, str]:
    """Settings of a one-node Kafka for demo and tests: quick groups, small internal topics, no typo topics."""
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # Classic groups: form at once, and notice a killed member as fast as the client asks.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # KIP-848 groups take these from the broker alone; the defaults (45 s, 5 s) make every failover slow.
        "group.consumer.min.session.timeout.ms": "3000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "500",
        "group.consumer.heartbeat.interval.ms": "1000",
        # After a SIGKILL the new process waits until the old one's registration expires; the default is 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Tests make and delete many topics: give their disk back soon.
        "file.delete.delay.ms": "1000",
        "log.index.size.max.bytes": "1048576",
        "num.recovery.threads.per.data.dir": "2",
        **overrides,
    }
