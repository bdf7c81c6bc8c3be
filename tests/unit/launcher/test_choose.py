"""Which broker a run gets, and what it says when none can be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.settings import SettingsError, load
from services.launcher.brokers import choose
from services.launcher.brokers.broker import BrokerDescription, BrokerError, broker_settings
from services.launcher.brokers.choose import BrokerSettings, open_broker
from services.launcher.brokers.docker import container_environment
from services.launcher.brokers.external import ExternalBroker
from services.launcher.brokers.local import properties


class FakeBroker:
    """A broker that starts, or says why it does not."""

    def __init__(self, kind: str, failure: str = "") -> None:
        self._kind = kind
        self._failure = failure

    def start(self) -> str:
        """Its address, or the failure."""
        if self._failure:
            raise BrokerError(self._failure)
        return f"{self._kind}:9092"

    def stop(self) -> None:
        """Nothing runs."""

    def restart(self) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""

    def describe(self) -> BrokerDescription:
        """What it pretends to be."""
        return BrokerDescription(
            kind=self._kind, version="0", bootstrap=f"{self._kind}:9092", keeps_data=False
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeBroker]:
    """The brokers of a machine, by kind; a test changes what is there."""
    brokers = {kind: FakeBroker(kind) for kind in ("external", "docker", "local", "embedded")}
    monkeypatch.setattr(
        choose, "_ways", lambda *_: {kind: lambda kind=kind: brokers[kind] for kind in brokers}
    )
    return brokers


def test_the_most_real_broker_is_chosen(machine: dict[str, FakeBroker]) -> None:
    """A container where Docker answers, then the jars, then the mock cluster; the reason names what failed."""
    assert _open({}) == ("docker:9092", "a Docker engine answers")
    machine["docker"] = FakeBroker("docker", "No Docker engine answers.")
    assert _open({}) == ("local:9092", "No docker broker: No Docker engine answers.")
    machine["local"] = FakeBroker("local", "No java was found.")
    bootstrap, reason = _open({})
    assert bootstrap == "embedded:9092"
    assert reason == "No docker broker: No Docker engine answers. No local broker: No java was found."


def test_a_named_cluster_wins(machine: dict[str, FakeBroker]) -> None:
    """Who names a cluster wants that one."""
    bootstrap, reason = _open({"KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092"})
    assert (bootstrap, reason) == ("external:9092", "KAFKA_BOOTSTRAP_SERVERS names it")


@pytest.mark.parametrize("kind", ["docker", "local", "embedded", "external"])
def test_the_broker_asked_for_is_the_one_that_starts(machine: dict[str, FakeBroker], kind: str) -> None:
    """BROKER wins over everything, even over a named cluster."""
    bootstrap, reason = _open({"BROKER": kind, "KAFKA_BOOTSTRAP_SERVERS": "kafka.example.com:9092"})
    assert (bootstrap, reason) == (f"{kind}:9092", f"BROKER={kind} asks for it")


def test_a_broker_asked_for_that_cannot_start_is_an_error(machine: dict[str, FakeBroker]) -> None:
    """It is not silently replaced by another."""
    machine["local"] = FakeBroker("local", "No java was found.")
    with pytest.raises(BrokerError, match="No java was found"):
        _open({"BROKER": "local"})


def test_when_no_broker_can_be_had_all_reasons_are_told(machine: dict[str, FakeBroker]) -> None:
    """The user can choose which to mend."""
    for kind in machine:
        machine[kind] = FakeBroker(kind, f"{kind} is broken.")
    with pytest.raises(
        BrokerError, match=r"docker is broken\. No local.*No embedded broker: embedded is broken\."
    ):
        _open({})


def test_external_without_a_cluster_says_what_is_missing() -> None:
    """The setting that it needs is named."""
    with pytest.raises(BrokerError, match="BROKER=external needs KAFKA_BOOTSTRAP_SERVERS"):
        _open({"BROKER": "external"})


def test_an_unknown_broker_is_refused() -> None:
    """A typo is named with what was expected."""
    with pytest.raises(SettingsError, match="BROKER"):
        load(BrokerSettings, {"BROKER": "locla"})


def test_a_cluster_that_does_not_answer_is_named() -> None:
    """The address and the time waited are in the message."""
    broker = ExternalBroker({"bootstrap.servers": "127.0.0.1:1"}, answer_seconds=0.1)
    with pytest.raises(BrokerError, match=r"The broker at 127\.0\.0\.1:1 did not answer within 0 s"):
        broker.start()


def test_someone_elses_cluster_is_never_restarted_or_killed() -> None:
    """A chaos test pointed at it fails before it does harm."""
    broker = ExternalBroker({"bootstrap.servers": "kafka.example.com:9092"})
    with pytest.raises(BrokerError, match="is not ours to restart"):
        broker.restart()
    with pytest.raises(BrokerError, match="is not ours to kill"):
        broker.kill()


def test_a_container_takes_the_same_settings_by_environment() -> None:
    """The image's way of naming settings: upper case, underscores, a prefix."""
    env = container_environment(broker_settings({"log.dirs": "data"}))
    assert env["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert env["KAFKA_LOG_DIRS"] == "data"


def test_a_backslash_survives_a_properties_file() -> None:
    """Java reads a backslash there as the start of an escape."""
    assert properties({"log.dirs": r"C:\kafka"}) == "log.dirs=C:\\\\kafka\n"


def _open(env: dict[str, str]) -> tuple[str, str]:
    opened = open_broker(load(BrokerSettings, env), data_dir=Path("unused"), topics={})
    return opened.bootstrap, opened.reason
