"""The worker's reports go on, whatever one of them meets."""

from __future__ import annotations

import threading

from services.chassis.clock import system_clock
from services.contracts.envelope import Envelope
from services.contracts.events import Event
from services.gpu_worker.decide import Identity
from services.gpu_worker.holdings import Holdings
from services.gpu_worker.reporter import Reporter
from services.gpu_worker.settings import WorkerSettings
from tests.fakes.renderer import FakeRenderer


class Refusing:
    """An outbox to which the first report is too large."""

    def __init__(self) -> None:
        self.tries = 0
        self.second = threading.Event()

    def send_soon(self, event: Event, cause: Envelope | None) -> None:
        """As `SyncOutbox.send_soon`."""
        self.tries += 1
        if self.tries == 1:
            raise ValueError("too large")
        self.second.set()

    def tombstone(self, topic: str, key: str) -> None:
        """As `SyncOutbox.tombstone`."""


def test_a_report_that_fails_is_followed_by_the_next() -> None:
    """Else the worker would count as lost and yet draw."""
    outbox = Refusing()
    me = Identity(worker_id="w", incarnation="i")
    reporter = Reporter(
        me,
        WorkerSettings(worker_report_seconds=0.01),
        Holdings(),
        FakeRenderer(),
        outbox,  # type: ignore[arg-type]  # all that a reporter uses of an outbox
        system_clock,
        lambda: {0},
    )
    reporter.start()
    assert outbox.second.wait(10)
    reporter.leave()
