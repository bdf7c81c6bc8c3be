"""Apache Kafka in a container, by testcontainers, where a Docker engine answers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from services.launcher.brokers.broker import (
    BrokerDescription,
    BrokerError,
    broker_settings,
    client_config,
    wait_until_answers,
)
from services.launcher.brokers.jars import KAFKA_VERSION
from services.launcher.brokers.ports import ReservedPort, reserve_port

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_INSIDE = 9092


class DockerBroker:
    """The official image, on one port of 127.0.0.1; records live as long as the container."""

    def __init__(self, image: str = IMAGE, *, start_seconds: float = 60.0) -> None:
        self._image = image
        self._start_seconds = start_seconds
        self._port: ReservedPort | None = None
        self._container: Any = None
        self._address = ""

    def start(self) -> str:
        """See `Broker.start`; the first time, the image is pulled."""
        if why := engine_missing():
            raise BrokerError(why)
        self._port = reserve_port()
        self._address = f"127.0.0.1:{self._port.number}"
        try:
            self._container = self._run(self._port.number)
            self._wait()
        except BrokerError:
            self.stop()
            raise
        return self._address

    def stop(self) -> None:
        """See `Broker.stop`; removes the container."""
        if self._container is not None:
            self._container.stop()
            self._container = None
        if self._port is not None:
            self._port.release()
            self._port = None

    def restart(self) -> None:
        """See `Broker.restart`; the container, its records and its port stay."""
        self._container.get_wrapped_container().restart(timeout=15)
        self._wait()

    def kill(self) -> None:
        """See `Broker.kill`."""
        self._container.get_wrapped_container().kill()

    def describe(self) -> BrokerDescription:
        """See `Broker.describe`."""
        return BrokerDescription(
            kind="docker",
            version=f"Apache Kafka ({self._image}, KRaft, 1 node)",
            bootstrap=self._address,
            keeps_data=True,
        )

    def _run(self, port: int) -> Any:
        containers = importlib.import_module("testcontainers.core.container")
        errors = importlib.import_module("docker.errors")
        container = containers.DockerContainer(self._image)
        # Not with_bind_ports: it can only bind every interface.
        container.ports[f"{_INSIDE}/tcp"] = ("127.0.0.1", port)
        for name, value in container_environment(broker_settings(_listeners(port))).items():
            container = container.with_env(name, value)
        try:
            return container.start()
        except (errors.DockerException, OSError) as error:
            raise BrokerError(f"Docker could not run {self._image}: {error}") from error

    def _wait(self) -> None:
        wait_until_answers(
            client_config(self._address), deadline_seconds=self._start_seconds, why_not=self._why_dead
        )

    def _why_dead(self) -> str | None:
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status != "exited":
            return None
        return f"The container of {self._image} ended; its log ends:\n{wrapped.logs(tail=15).decode()}"


def engine_missing() -> str | None:
    """Why no container can be had here, or None when a Docker engine answers."""
    try:
        docker = importlib.import_module("docker")
        importlib.import_module("testcontainers.core.container")
    except ImportError:
        return "The Python package testcontainers is not installed."
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except (docker.errors.DockerException, OSError):
        return "No Docker engine answers."
    return None


def container_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Broker settings as the image takes them: ``log.dirs`` becomes ``KAFKA_LOG_DIRS``."""
    return {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in settings.items()}


def _listeners(port: int) -> dict[str, str]:
    return {
        "listeners": f"BROKER://0.0.0.0:{_INSIDE},CONTROLLER://localhost:9093",
        "advertised.listeners": f"BROKER://127.0.0.1:{port}",
        "controller.quorum.voters": "1@localhost:9093",
    }
