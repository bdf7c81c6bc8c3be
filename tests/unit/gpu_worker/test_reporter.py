"""The worker's reports go on, whatever one of them meets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from services.chassis.clock import system_clock
from services.chassis.health import Health
from services.chassis.retry import SendFailed
from services.contracts.envelope import Envelope
from services.contracts.events import Event, WorkerReported
from services.gpu_worker import description
from services.gpu_worker.availability import Availability, Obstacle
from services.gpu_worker.holdings import Holdings
from services.gpu_worker.lease import CLOCKS, Lease
from services.gpu_worker.ports import ComfyUIUnreachable, Renderer, RendererInfo
from services.gpu_worker.reporter import Reporter
from services.gpu_worker.settings import WorkerSettings
from tests.fakes.renderer import FakeRenderer
from tests.harness.waiting import eventually


class Reports:
    """Stands in for the outbox: keeps the reports, and fails where told."""

    def __init__(self) -> None:
        self.sent: list[WorkerReported] = []
        self.gone: list[str] = []
        self.too_large = 0  #: reports that are refused before one goes through
        self.away = False  #: tombstones fail

    def send_soon(
        self,
        event: Event,
        cause: Envelope | None,
        *,
        partition: int | None = None,
        acknowledged: Callable[[], None] | None = None,
    ) -> None:
        """As `SyncOutbox.send_soon`."""
        if self.too_large:
            self.too_large -= 1
            raise ValueError("too large")
        assert isinstance(event, WorkerReported)
        self.sent.append(event)

    def flush(self, seconds: float) -> None:
        """As `SyncOutbox.flush`."""

    def tombstone_soon(self, topic: str, key: str, *, partition: int | None = None) -> None:
        """As `SyncOutbox.tombstone_soon`."""
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


class Holding(FakeRenderer):
    """A renderer whose last job left these models in memory."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names

    def loaded(self) -> tuple[str, ...]:
        """See `Renderer.loaded`."""
        return self._names


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


class Reporting:
    """A reporter that reports a hundred times a second, and the availability that it reports."""

    def __init__(
        self, reports: Reports, *renderers: Renderer, clocks: Sequence[Callable[[], float]] = CLOCKS
    ) -> None:
        self.availability = Availability(Health(), changed=lambda: self.reporter.changed())
        self.lease = Lease("w", 6.0, clocks=clocks)
        self.reporter = Reporter(
            self.lease,
            WorkerSettings(worker_report_seconds=0.01),
            Holdings(),
            self.availability,
            renderers,
            reports,  # type: ignore[arg-type]  # all that a reporter uses of an outbox
            system_clock,
            lambda: {0},
            lambda: None,
        )
        self.reporter.start()

    def comfyui_is_up(self) -> None:
        """It answers and is warm."""
        self.availability.clear(Obstacle.COMFYUI)

    def leave(self) -> None:
        """End."""
        self.reporter.leave()


def test_a_report_that_fails_is_followed_by_the_next(reports: Reports) -> None:
    """Else the worker would count as lost and yet draw."""
    reports.too_large = 1
    reporter = Reporting(reports, FakeRenderer())
    reports.more(1)
    reporter.leave()


def test_reports_go_on_while_comfyui_is_asked_and_does_not_answer(reports: Reports, silent: Silent) -> None:
    """Three reports missed, and the worker's job is drawn elsewhere a second time."""
    reporter = Reporting(reports, silent)
    reporter.comfyui_is_up()
    assert silent.asked.wait(10)
    reports.more()
    reporter.leave()


def test_no_slot_is_offered_before_the_models_are_known(reports: Reports, silent: Silent) -> None:
    """A report without them would say that the worker can draw nothing."""
    reporter = Reporting(reports, silent)
    reporter.comfyui_is_up()
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

    reporter = Reporting(reports, Away())
    reporter.comfyui_is_up()
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

    reporter = Reporting(reports, Nonsense())
    reporter.comfyui_is_up()
    eventually(lambda: any(report.slots for report in reports.sent))
    reporter.leave()


def test_a_worker_that_cannot_draw_offers_nothing_until_it_can_again(reports: Reports) -> None:
    """Whatever the reason, and with the next report, not after a period."""
    reporter = Reporting(reports, FakeRenderer())
    reporter.comfyui_is_up()
    eventually(lambda: reports.sent and reports.sent[-1].slots == 1)
    reporter.availability.block(Obstacle.DISK, "the disk is full")
    eventually(lambda: (reports.sent[-1].slots, reports.sent[-1].held_limit) == (0, 0))
    reporter.availability.clear(Obstacle.DISK)
    eventually(lambda: reports.sent[-1].slots == 1)
    reporter.leave()


def test_a_report_names_what_any_slot_left_in_memory(reports: Reports) -> None:
    """The next job for that model comes here."""
    reporter = Reporting(reports, Holding("a", "b"), Holding("b", "c"))
    reports.more(1)
    assert reports.sent[-1].loaded == ["a", "b", "c"]
    reporter.leave()


def test_a_new_incarnation_counts_its_reports_from_one(reports: Reports) -> None:
    """Its sequence says nothing of the old one's."""
    stopped = [0.0]
    reporter = Reporting(reports, FakeRenderer(), clocks=[lambda: stopped[0]])
    reports.more()
    stopped[0] += 60.0
    old = reports.sent[-1].incarnation
    first = eventually(lambda: next((r for r in reports.sent if r.incarnation != old), None))
    assert first.sequence == 1
    reports.more()
    assert reports.sent[-1].sequence > 1
    reporter.leave()


def test_a_worker_that_leaves_says_so(reports: Reports) -> None:
    """Its last report is deleted, so that nobody counts on it."""
    reporter = Reporting(reports, FakeRenderer())
    reporter.leave()
    assert reports.gone == ["w"]


def test_a_worker_leaves_even_if_it_cannot_say_so(reports: Reports) -> None:
    """What follows gives its lanes back."""
    reports.away = True
    reporter = Reporting(reports, FakeRenderer())
    reporter.leave()
    assert reports.gone == []
