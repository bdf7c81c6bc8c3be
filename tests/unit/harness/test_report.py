"""The last page of a run says which broker ran, what ran on it, and what was skipped."""

from __future__ import annotations

from services.launcher.brokers.broker import BrokerDescription
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.external import ExternalBroker
from tests.harness.report import Report, fails_for_skips


class Described(ExternalBroker):
    """A broker that describes itself as told."""

    def __init__(self, kind: str, unproven: tuple[str, ...] = ()) -> None:
        super().__init__({"bootstrap.servers": "127.0.0.1:9092"})
        self._kind, self._unproven = kind, unproven

    def describe(self) -> BrokerDescription:
        """As told."""
        return BrokerDescription(
            kind=self._kind, version="Kafka", bootstrap="b:1", keeps_data=True, unproven=self._unproven
        )


def test_tests_are_counted_by_tier_and_broker() -> None:
    """A reader sees how many integration tests a real Kafka has seen."""
    report = Report()
    report.add_run("unit", [])
    report.add_run("integration", [_opened("local")])
    report.add_run("integration", [_opened("local")])
    report.add_run("integration", [_opened("embedded")])
    assert report.lines() == [
        "embedded broker: Kafka at b:1; why not",
        "local broker: Kafka at b:1; why not",
        "integration      1 on embedded",
        "integration      2 on local",
        "unit             1 on no broker",
    ]


def test_without_a_real_broker_the_page_says_what_was_not_proven() -> None:
    """Green on the mock cluster is not green on Kafka."""
    report = Report()
    report.add_run("integration", [_opened("embedded", ("rebalance timing", "transactions"))])
    assert "NOT PROVEN, since no real Kafka could be had: rebalance timing, transactions" in report.lines()
    report.add_run("integration", [_opened("local")])
    assert not any("NOT PROVEN" in line for line in report.lines())


def test_every_skip_is_shown_with_its_reason() -> None:
    """Nobody takes a skipped test for a passed one."""
    report = Report()
    report.add_skip("tests/a.py::test_x", "Skipped: promtool is missing")
    assert "skipped tests/a.py::test_x: promtool is missing" in report.lines()


def test_in_ci_a_skip_without_a_reason_fails_the_run() -> None:
    """pytest's own words for no reason count as none."""
    for nothing in ("Skipped: unconditional skip", "Skipped: ", "Skipped"):
        report = Report()
        report.add_skip("tests/a.py::test_x", nothing)
        assert fails_for_skips(report, {"CI": "true"})
        assert not fails_for_skips(report, {})
    reasoned = Report()
    reasoned.add_skip("tests/a.py::test_x", "Skipped: promtool is missing")
    assert not fails_for_skips(reasoned, {"CI": "true"})


def _opened(kind: str, unproven: tuple[str, ...] = ()) -> OpenBroker:
    return OpenBroker(broker=Described(kind, unproven), bootstrap="b:1", reason="why not")
