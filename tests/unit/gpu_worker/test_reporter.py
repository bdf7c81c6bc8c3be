"""The worker's reports go on, whatever one of them meets."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from services.chassis.clock import system_clock
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.events import Event, WorkerReported
from services.gpu_worker import description
from services.gpu_worker.decide import Identity
from services.gpu_worker.holdings import Holdings
from services.gpu_worker.ports import ComfyUIUnreachable, Renderer, RendererInfo
from services.gpu_worker.reporter import Reporter
from services.gpu_worker.settings import WorkerSettings
from tests.fakes.renderer import FakeRenderer
from tests.harness.waiting import eventually

ME = Identity(worker_id="w", incarnation="i")


class Reports:
    """Stands in for the outbox: keeps the reports, and fails where told."""

    def __init__(self) -> None:
        self.sent: list[WorkerReported] = []
        self.gone: list[str] = []
        self.too_large = 0  #: reports that are refused before one goes through
        self.away = False  #: tombstones fail

    def send_soon(self, event: Event, cause: Envelope | None) -> None:
        """As `SyncOutbox.send_soon`."""
        if self.too_large:
            self.too_large -= 1
            raise ValueError("too large")
        assert isinstance(event, WorkerReported)
        self.sent.append(event)

    def tombstone(self, topic: str, key: str) -> None:
        """As `SyncOutbox.tombstone`."""
        if self.away:
            raise SendFailed("the producer's queue is full")
        self.gone.append(key)

    def more(self, count: int = 3) -> None:
        """Wait for ``count`` further reports."""
        target = len(self.sent) + count
        eventually(lambda: len(self.sent) >= target)


class Silent(FakeRenderer):
    """A ComfyUI that takes the connection and does not answer until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.answer = threading.Event()

    def describe(self) -> RendererInfo:
        """See `Renderer.describe`."""
        self.asked.set()
        self.answer.wait(30)
        return super().describe()


@pytest.fixture
def reports() -> Reports:
    """An outbox that works."""
    return Reports()


@pytest.fixture
def silent() -> Iterator[Silent]:
    """A renderer that does not answer; it does once the test is over."""
    renderer = Silent()
    yield renderer
    renderer.answer.set()


def a_reporter(reports: Reports, renderer: Renderer) -> Reporter:
    """One that reports a hundred times a second."""
    reporter = Reporter(
        ME,
        WorkerSettings(worker_report_seconds=0.01),
        Holdings(),
        renderer,
        reports,  # type: ignore[arg-type]  # all that a reporter uses of an outbox
        system_clock,
        lambda: {0},
    )
    reporter.start()
    return reporter


def test_a_report_that_fails_is_followed_by_the_next(reports: Reports) -> None:
    """Else the worker would count as lost and yet draw."""
    reports.too_large = 1
    reporter = a_reporter(reports, FakeRenderer())
    reports.more(1)
    reporter.leave()


def test_reports_go_on_while_comfyui_is_asked_and_does_not_answer(reports: Reports, silent: Silent) -> None:
    """Three reports missed, and the worker's job is drawn elsewhere a second time."""
    reporter = a_reporter(reports, silent)
    reporter.set_available(True)
    assert silent.asked.wait(10)
    reports.more()
    reporter.leave()


def test_no_slot_is_offered_before_the_models_are_known(reports: Reports, silent: Silent) -> None:
    """A report without them would say that the worker can draw nothing."""
    reporter = a_reporter(reports, silent)
    reporter.set_available(True)
    assert silent.asked.wait(10)
    reports.more()
    assert {report.slots for report in reports.sent} == {0}
    silent.answer.set()
    offer = eventually(lambda: next((report for report in reports.sent if report.slots), None))
    assert offer.checkpoints == ["v1-5-pruned-emaonly.safetensors"]
    reporter.leave()


def test_a_comfyui_that_was_away_is_asked_again_soon(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when the models are due to be listed anew."""
    monkeypatch.setattr(description, "RETRY_SECONDS", 0.01)
    asked = threading.Event()

    class Away(FakeRenderer):
        def describe(self) -> RendererInfo:
            if not asked.is_set():
                asked.set()
                raise ComfyUIUnreachable("away")
            return super().describe()

    reporter = a_reporter(reports, Away())
    reporter.set_available(True)
    eventually(lambda: any(report.slots for report in reports.sent))
    assert asked.is_set()
    reporter.leave()


def test_a_nonsensical_answer_does_not_end_the_asking(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker would offer nothing for ever."""
    monkeypatch.setattr(description, "RETRY_SECONDS", 0.01)
    asked = threading.Event()

    class Nonsense(FakeRenderer):
        def describe(self) -> RendererInfo:
            if not asked.is_set():
                asked.set()
                raise ValueError("vram_total is no number")
            return super().describe()

    reporter = a_reporter(reports, Nonsense())
    reporter.set_available(True)
    eventually(lambda: any(report.slots for report in reports.sent))
    reporter.leave()


def test_a_worker_that_leaves_says_so(reports: Reports) -> None:
    """Its last report is deleted, so that nobody counts on it."""
    reporter = a_reporter(reports, FakeRenderer())
    reporter.leave()
    assert reports.gone == ["w"]


def test_a_worker_leaves_even_if_it_cannot_say_so(reports: Reports) -> None:
    """What follows gives its lanes back."""
    reports.away = True
    reporter = a_reporter(reports, FakeRenderer())
    reporter.leave()
    assert reports.gone == []
