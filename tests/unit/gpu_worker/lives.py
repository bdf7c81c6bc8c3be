"""A worker on fakes, in a thread, for tests of what it does around its jobs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from services.chassis.clock import system_clock
from services.chassis.health import Health
from services.chassis.metrics import Metrics
from services.contracts.events import Outcome
from services.gpu_worker.availability import Availability
from services.gpu_worker.cancelling import Canceller, Taken
from services.gpu_worker.disk import Disk, DiskWatch
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.lease import Lease
from services.gpu_worker.slot import Slot
from services.gpu_worker.warm_up import WarmUp
from services.gpu_worker.worker import Worker
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.renderer import FakeRenderer
from tests.unit.gpu_worker.test_holdings import ENVELOPE
from tests.unit.gpu_worker.test_jobs import Sent, a_job


class Lanes:
    """Stands in for the consumer: no records, and notes what may be passed."""

    def __init__(self, turn: threading.Event) -> None:
        self.draining = False
        self.passed: list[Assignment] = []
        self.closed = False
        self._turn = turn

    def poll(self) -> None:
        """As `LaneConsumer.poll`."""
        self._turn.wait(0.01)

    def finished(self, assignment: Assignment) -> None:
        """As `LaneConsumer.finished`."""
        self.passed.append(assignment)

    def close(self) -> None:
        """As `LaneConsumer.close`."""
        self.closed = True


class Reporter:
    """Stands in for the reporter."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self) -> None:
        """As `Reporter.start`."""

    def wake(self) -> None:
        """As `Reporter.wake`."""
        self.said.append("woken")

    def relist(self) -> None:
        """As `Reporter.relist`."""
        self.said.append("relisted")

    def drain(self) -> None:
        """As `Reporter.drain`."""
        self.said.append("draining")

    def leave(self) -> None:
        """As `Reporter.leave`."""
        self.said.append("gone")


class Outbox(Sent):
    """Keeps what was sent."""

    def close(self) -> None:
        """As `SyncOutbox.close`."""


class Life:
    """A worker of one slot in a thread, on fakes."""

    def __init__(
        self,
        renderer: FakeRenderer,
        grace_seconds: float = 30.0,
        warm_up: WarmUp | None = None,
        folders: Sequence[Path] = (),
        restarts_well: bool = True,
    ) -> None:
        self._restarts_well = restarts_well
        self.stopping, self.reclaimed = threading.Event(), threading.Event()
        self.renderer = renderer
        self.lanes = Lanes(threading.Event())
        self.reporter = Reporter()
        self.outbox = Outbox()
        self.holdings = Holdings()
        self.restarts: list[str] = []
        self.health = Health()
        self.availability = Availability(self.health, changed=lambda: None)
        self.stopped_for = 0.0
        self.lease = Lease(
            "w1", 6.0, lapsed=lambda: self.worker.start_over(), clocks=[lambda: self.stopped_for]
        )
        self.taken = Taken()
        self.abandoning, self.metrics = threading.Event(), Metrics("gpu_worker")
        self.canceller = Canceller(
            self.taken, self.holdings, cast(Any, self.outbox), self.metrics, system_clock,
            interrupt=renderer.interrupt, finished=self.lanes.finished, leaving=self.abandoning,
        )  # fmt: skip
        self.slot = self._slot(warm_up, folders)
        self.worker = self._worker(self.slot, grace_seconds)
        self._thread = threading.Thread(
            target=self.worker.run, args=(self.stopping, self.reclaimed), daemon=True
        )
        self._thread.start()

    def _slot(self, warm_up: WarmUp | None, folders: Sequence[Path]) -> Slot:
        outbox: Any = self.outbox
        return Slot(
            self.renderer,
            JobRunner(
                self.renderer, FakeObjectStore(), outbox, self.metrics, system_clock, self.taken.covers
            ),
            self.lease,
            self.holdings,
            self.availability,
            DiskWatch(Disk(folders, 0), self.availability),
            warm_up=warm_up,
            abandoning=self.abandoning,
            finished=self.lanes.finished,
            relist=self.reporter.relist,
            restart_renderer=self.restarted,
        )

    def _worker(self, slot: Slot, grace_seconds: float) -> Worker:
        outbox, lanes, reporter = cast(Any, self.outbox), cast(Any, self.lanes), cast(Any, self.reporter)
        return Worker(
            lanes,
            self.holdings,
            reporter,
            [slot],
            outbox,
            self.health,
            self.availability,
            interrupt=self.renderer.interrupt,
            abandoning=self.abandoning,
            grace_seconds=grace_seconds,
        )

    def give(self, dispatch_id: str = "d1", offset: int = 0, **changes: object) -> Assignment:
        """Let a job of a request of its own arrive, as the poll loop does."""
        own = {"dispatch_id": dispatch_id, "request_id": f"request of {dispatch_id}"}
        changes = own | {"incarnation": self.lease.identity().incarnation} | changes
        assignment = Assignment(job=a_job(**changes), envelope=ENVELOPE, lane=0, offset=offset)
        self.holdings.add(assignment)
        self.canceller.arrived(assignment)
        return assignment

    def restarted(self, why: str) -> None:
        """Start ComfyUI again: it is up at once, or when the test says so."""
        self.renderer.alive = self._restarts_well
        self.restarts.append(why)

    def outcomes(self) -> list[tuple[str, Outcome]]:
        """What was told, by dispatch id."""
        return [(event.dispatch_id or "", event.outcome) for event in self.outbox.completed]

    def is_alive(self) -> bool:
        """Whether the process would still be there."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """SIGTERM, and wait until it has left."""
        self.stopping.set()
        self.ended()

    def ended(self) -> None:
        """Wait until it has left."""
        self._thread.join(20)
        assert not self._thread.is_alive()
