"""A cluster that someone else runs, named by ``KAFKA_BOOTSTRAP_SERVERS``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.launcher.brokers.broker import BrokerDescription, BrokerError, wait_until_answers


class ExternalBroker:
    """Any real cluster; it is used, never started, stopped or restarted."""

    def __init__(self, client: Mapping[str, Any], *, answer_seconds: float = 15.0) -> None:
        """``client`` is a confluent-kafka configuration with all that the cluster's security needs."""
        self._client = dict(client) | {"log_level": 0}
        self._bootstrap = str(client["bootstrap.servers"])
        self._answer_seconds = answer_seconds

    def start(self) -> str:
        """See `Broker.start`: only asks whether it answers."""
        wait_until_answers(self._client, deadline_seconds=self._answer_seconds, why_not=lambda: None)
        return self._bootstrap

    def stop(self) -> None:
        """Leave it running: it is not ours."""

    def restart(self) -> None:
        """Refused, since others may use it.

        Raises:
            BrokerError: always.
        """
        raise BrokerError(f"The cluster at {self._bootstrap} is not ours to restart.")

    def kill(self) -> None:
        """Refused, since others may use it.

        Raises:
            BrokerError: always.
        """
        raise BrokerError(f"The cluster at {self._bootstrap} is not ours to kill.")

    def describe(self) -> BrokerDescription:
        """See `Broker.describe`."""
        return BrokerDescription(
            kind="external",
            version="of unknown version",
            bootstrap=self._bootstrap,
            keeps_data=True,
            unproven=("recovery from a broker's restart or death",),
        )
