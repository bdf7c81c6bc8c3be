"""The last page of a test run: which broker, what ran where, what was skipped and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.launcher.brokers.broker import BrokerDescription
from services.launcher.brokers.choose import OpenBroker

#: What pytest itself writes where a test's author gave no reason.
_NO_REASON = ("", "unconditional skip", "Skipped")


@dataclass
class Report:
    """What a run has seen so far."""

    brokers: dict[str, tuple[BrokerDescription, str]] = field(
        default_factory=dict
    )  #: with the reason, by kind
    ran: Counter[tuple[str, str]] = field(default_factory=Counter)  #: tests by tier and brokers
    skipped: dict[str, str] = field(default_factory=dict)  #: reason by test

    def add_run(self, tier: str, opened: Iterable[OpenBroker]) -> None:
        """Count a test that ran, on these brokers or on none."""
        kinds = {one.broker.describe().kind: one for one in opened}
        for kind, one in kinds.items():
            self.brokers.setdefault(kind, (one.broker.describe(), one.reason))
        self.ran[tier, " + ".join(sorted(kinds)) or "no broker"] += 1

    def add_skip(self, name: str, reason: str) -> None:
        """Note a test that did not run."""
        self.skipped[name] = reason.removeprefix("Skipped:").strip()

    def unexplained(self) -> list[str]:
        """The tests that were skipped without a reason."""
        return [name for name, reason in self.skipped.items() if reason in _NO_REASON]

    def lines(self) -> list[str]:
        """The page, line by line."""
        return [*self._broker_lines(), *self._tier_lines(), *self._skip_lines(), *self._unproven_lines()]

    def _broker_lines(self) -> list[str]:
        if not self.brokers:
            return ["no test needed a broker"]
        return [
            f"{kind} broker: {told.version} at {told.bootstrap}; {reason}"
            for kind, (told, reason) in sorted(self.brokers.items())
        ]

    def _tier_lines(self) -> list[str]:
        return [f"{tier:<12} {count:>5} on {where}" for (tier, where), count in sorted(self.ran.items())]

    def _skip_lines(self) -> list[str]:
        shown = self.skipped | dict.fromkeys(self.unexplained(), "NO REASON GIVEN")
        return [f"skipped {name}: {reason}" for name, reason in sorted(shown.items())]

    def _unproven_lines(self) -> list[str]:
        """What the whole run did not prove, for want of a real broker."""
        if any(kind != "embedded" for kind in self.brokers) or "embedded" not in self.brokers:
            return []
        unproven = ", ".join(self.brokers["embedded"][0].unproven)
        return [f"NOT PROVEN, since no real Kafka could be had: {unproven}"]


def fails_for_skips(report: Report, env: dict[str, str] | None = None) -> bool:
    """Whether the run must fail: in CI a skip without a reason hides a broken test."""
    in_ci = (os.environ if env is None else env).get("CI", "").lower() in ("true", "1")
    return in_ci and bool(report.unexplained())
