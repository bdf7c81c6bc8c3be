"""Which broker to run on: the one asked for, or the most real one that this machine can have, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from services.chassis.kafka import client_config
from services.chassis.settings import StageSettings
from services.launcher.brokers.broker import Broker, BrokerError
from services.launcher.brokers.docker import DockerBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from services.launcher.brokers.external import ExternalBroker
from services.launcher.brokers.local import LocalBroker

Kind = Literal["auto", "embedded", "local", "docker", "external"]


class BrokerSettings(StageSettings, frozen=True, kw_only=True):
    """Which broker the launcher and the tests run on; what a stage needs to connect goes for an external one."""

    broker: Annotated[
        Kind,
        Meta(description="auto = a cluster if one is named, else docker, local, embedded in that order."),
    ] = "auto"
    kafka_bootstrap_servers: Annotated[
        str, Meta(description="A cluster that runs already, as host:port separated by commas.")
    ] = ""
    xdg_cache_home: Annotated[
        Path, Meta(description="Where Apache Kafka's jars are cached, in a folder named distillery.")
    ] = Path("~/.cache")
    maven_repository_url: Annotated[
        str, Meta(description="Where the jars come from; empty = Maven's own settings, else Maven Central.")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBroker:
    """A broker that runs, where it listens, and why it is this one."""

    broker: Broker
    bootstrap: str
    reason: str


def open_broker(
    settings: BrokerSettings,
    *,
    data_dir: Path,
    topics: Mapping[str, int],
    say: Callable[[str], None] = lambda _: None,
) -> OpenBroker:
    """Start the broker that the settings ask for.

    ``data_dir`` is where a local broker keeps its records; ``topics`` gives the partitions of the topics that an
    embedded one makes, since it answers no admin call; ``say`` is told before something slow.

    Raises:
        BrokerError: the one asked for cannot be had; with ``auto``, none can.
    """
    ways = _ways(settings, data_dir, topics, say)
    if settings.broker != "auto":
        return _opened(ways[settings.broker](), f"BROKER={settings.broker} asks for it")
    if settings.kafka_bootstrap_servers:
        return _opened(ways["external"](), "KAFKA_BOOTSTRAP_SERVERS names it")
    return _first_to_start({kind: ways[kind] for kind in ("docker", "local", "embedded")})


def _ways(
    settings: BrokerSettings, data_dir: Path, topics: Mapping[str, int], say: Callable[[str], None]
) -> dict[str, Callable[[], Broker]]:
    cache = settings.xdg_cache_home.expanduser() / "distillery"
    repository = settings.maven_repository_url
    return {
        "external": lambda: _named_cluster(settings),
        "docker": DockerBroker,
        "local": lambda: LocalBroker(data_dir, cache_dir=cache, repository=repository, say=say),
        "embedded": lambda: EmbeddedBroker(topics),
    }


def _named_cluster(settings: BrokerSettings) -> ExternalBroker:
    if not settings.kafka_bootstrap_servers:
        raise BrokerError("BROKER=external needs KAFKA_BOOTSTRAP_SERVERS, as host:port separated by commas.")
    return ExternalBroker(client_config(settings, "launcher"))


def _first_to_start(ways: Mapping[str, Callable[[], Broker]]) -> OpenBroker:
    failures: list[str] = []
    for kind, make in ways.items():
        try:
            return _opened(make(), " ".join(failures) or "a Docker engine answers")
        except BrokerError as error:
            failures.append(f"No {kind} broker: {error}")
    raise BrokerError(" ".join(failures))


def _opened(broker: Broker, reason: str) -> OpenBroker:
    return OpenBroker(broker=broker, bootstrap=broker.start(), reason=reason)
