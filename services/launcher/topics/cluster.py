"""The cluster's side of the topic commands: reads what is there and carries out a plan, by Kafka's admin protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from services.contracts.errors import RetryableError
from services.launcher.topics.plan import Change, Configure, Create, FoundGroup, FoundTopic, Grow

T = TypeVar("T")

_SESSION_TIMEOUT = "consumer.session.timeout.ms"
_LEAST_SESSION_TIMEOUT = "group.consumer.min.session.timeout.ms"

_LOOK_AGAIN_SECONDS = 0.05

#: How a broker, or librdkafka for it, says that there is nobody to ask.
_AWAY = frozenset(
    {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
)


class ClusterError(RetryableError):
    """The cluster is away or refuses; the message is one sentence that names the step."""


class Cluster:
    """Topics and groups of one cluster.  Blocks, at most ``timeout_seconds`` a call.

    Every method raises `ClusterError`.
    """

    def __init__(self, client_config: Mapping[str, Any], *, timeout_seconds: float = 15.0) -> None:
        self._bootstrap = str(client_config["bootstrap.servers"])
        self._timeout = timeout_seconds
        # Failures come back as exceptions; librdkafka would also print them.
        self._admin = AdminClient({**client_config, "log_level": 0})

    def find_topics(self, names: Iterable[str]) -> dict[str, FoundTopic]:
        """Those of the topics that exist."""
        listed = self._topics()
        present = [name for name in names if name in listed]
        configs = self._configs(ResourceType.TOPIC, present)
        return {
            name: FoundTopic(
                partitions=len(listed[name].partitions),
                replication_factor=min(len(p.replicas) for p in listed[name].partitions.values()),
                config=configs[name],
            )
            for name in present
        }

    def topic_sizes(self, prefix: str) -> dict[str, int]:
        """The partition count of every topic whose name starts with ``prefix``."""
        return {name: len(t.partitions) for name, t in self._topics().items() if name.startswith(prefix)}

    def find_group(self, name: str) -> FoundGroup:
        """The group's timeouts, as far as the cluster tells them: older brokers and small rights do not."""
        try:
            group = self._configs(ResourceType.GROUP, [name])[name]
            broker = str(next(iter(self._admin.list_topics(timeout=self._timeout).brokers)))
            least = self._configs(ResourceType.BROKER, [broker])[broker].get(_LEAST_SESSION_TIMEOUT)
        except (ClusterError, KafkaException):
            return FoundGroup(session_timeout_ms=None, least_session_timeout_ms=None)
        now = group.get(_SESSION_TIMEOUT)
        return FoundGroup(
            session_timeout_ms=int(now) if now else None,
            least_session_timeout_ms=int(least) if least else None,
        )

    def carry_out(self, change: Change) -> None:
        """Make one change; a topic that somebody else made meanwhile is an error, so that its shape is not assumed."""
        match change:
            case Create(topic=topic):
                new = NewTopic(
                    topic.name, topic.partitions, topic.replication_factor, config=dict(topic.config)
                )
                self._wait(
                    self._admin.create_topics([new], operation_timeout=self._timeout), f"create {topic.name}"
                )
            case Grow():
                grown = NewPartitions(change.name, change.partitions)
                self._wait(self._admin.create_partitions([grown]), f"add partitions to {change.name}")
            case Configure():
                self._wait(self._admin.incremental_alter_configs([_altered(change)]), f"alter {change.name}")

    def wait_until_served(self, sizes: Mapping[str, int]) -> None:
        """Wait until the brokers lead every partition of these topics.

        The controller answers as soon as a topic is decided on; its brokers make it a moment later, and a stage
        that subscribes before that fails.
        """
        end = time.monotonic() + self._timeout
        while waiting := self._unserved(sizes):
            if time.monotonic() > end:
                raise ClusterError(
                    f"{', '.join(waiting)} is made, but its partitions have no leader after {self._timeout:g} s; "
                    "look at the brokers' logs, then run this again."
                )
            self._admin.poll(_LOOK_AGAIN_SECONDS)

    def _unserved(self, sizes: Mapping[str, int]) -> list[str]:
        """Those of the topics that lack partitions, or leaders of them."""
        listed = self._topics() if sizes else {}
        leaders = {
            name: [p.leader for p in t.partitions.values() if p.leader >= 0] for name, t in listed.items()
        }
        return sorted(name for name, size in sizes.items() if len(leaders.get(name, ())) < size)

    def _topics(self) -> Mapping[str, Any]:
        try:
            return self._admin.list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            raise self._error(error, "list topics") from error

    def _configs(self, kind: ResourceType, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(kind, name) for name in names]
        if not resources:
            return {}
        futures = self._admin.describe_configs(resources)
        described = self._wait(futures, f"read the settings of {kind.name.lower()}s")
        return {
            resource.name: {k: e.value for k, e in found.items()} for resource, found in described.items()
        }

    def _wait(self, futures: Mapping[T, Future[Any]], what: str) -> dict[T, Any]:
        try:
            return {key: future.result(timeout=self._timeout + 1) for key, future in futures.items()}
        except (KafkaException, TimeoutError) as error:
            raise self._error(error, what) from error

    def _error(self, error: Exception, what: str) -> ClusterError:
        reason = error.args[0] if error.args else None
        if isinstance(error, TimeoutError) or (isinstance(reason, KafkaError) and reason.code() in _AWAY):
            return ClusterError(
                f"No Kafka broker at {self._bootstrap} answered within {self._timeout:g} s when it was asked to "
                f"{what}; nothing more was tried.  Is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
            )
        said = f"{reason.name()}: {reason.str()}" if isinstance(reason, KafkaError) else str(error)
        return ClusterError(f"Kafka refused to {what}; nothing more was tried.  {said}")


def _altered(change: Configure) -> ConfigResource:
    """The settings to set, leaving every other one as it is."""
    kind = ResourceType.GROUP if change.kind == "group" else ResourceType.TOPIC
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in change.values.items()
    ]
    return ConfigResource(kind, change.name, incremental_configs=entries)
