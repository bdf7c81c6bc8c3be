"""The short form of ``make chaos``, for CI: every kind of fault at least once, in about two minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.launcher.brokers.broker import BrokerError
from tests.chaos.report import table
from tests.chaos.run import prove
from tests.chaos.schedule import Kind
from tests.chaos.settings import SHORT


def test_every_promise_is_kept_under_every_kind_of_fault(tmp_path: Path) -> None:
    """500 requests through two of each stage, while processes die and freeze, links break and records are poisoned."""
    try:
        outcome = prove(SHORT, tmp_path, lambda what: print(f"chaos: {what}"))  # noqa: T201 - pytest shows it
    except BrokerError as error:
        pytest.skip(f"no local Kafka can be had here: {error}")
    assert outcome.violations == [], table(outcome.figures, outcome.violations)
    struck = {incident.kind for incident in outcome.history.incidents}
    assert struck == set(Kind), "a fault that did not strike has proved nothing"
    assert int(outcome.figures["requests"] or 0) > SHORT.requests * 0.7, (
        "too few commands were taken to prove much"
    )
