"""Where a worker reports, by what it hears."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from services.chassis.metrics import ATTACHMENTS, Metrics
from services.contracts.events import BacklogReported
from services.contracts.partitioner import partition_for
from services.gpu_worker.attaching import Attaching, Luck
from services.gpu_worker.holdings import Assignment, Holdings
from tests.unit.gpu_worker.test_attachment import HOME, THERE
from tests.unit.gpu_worker.test_decide import JOB
from tests.unit.gpu_worker.test_holdings import ENVELOPE

OWN = partition_for(b"w", 12)
MINE = replace(HOME, partitions=[OWN])
OTHERS = replace(THERE, partitions=[OWN + 1])


class World:
    """One worker's, with the time and what it is in hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.offers = True
        self.checkpoints: tuple[str, ...] = ()
        self.moved = 0
        self.holdings = Holdings()
        self.metrics = Metrics("gpu_worker")
        self.attaching = Attaching(
            "w",
            self.holdings,
            self.metrics,
            checkpoints=lambda: self.checkpoints,
            offers=lambda: self.offers,
            moved=self._moved,
            session_seconds=10.0,
            luck=Luck(draw=lambda: 0.0, monotonic=lambda: self.now),
        )

    def hear(self, *events: BacklogReported, partitions: int = 12) -> int | None:
        """Announcements arrive; where to report then."""
        for event in events:
            self.attaching.heard(event, partitions)
        return self.attaching.place()

    def _moved(self) -> None:
        self.moved += 1


@pytest.fixture
def world() -> World:
    """It has just started."""
    return World()


def test_a_worker_begins_in_the_partition_of_its_key(world: World) -> None:
    """Which needs no number: the producer finds it, whether a dispatcher was heard or not."""
    assert world.attaching.place() is None
    assert world.hear(MINE) is None
    assert world.hear(OTHERS) == OWN + 1
    world.now = 5.0
    assert world.hear(replace(OTHERS, queued=0), replace(MINE, queued=3)) is None


def test_a_move_is_told_at_once(world: World) -> None:
    """The dispatcher that waits for the worker hears of it by a report, and the operators by log and metric."""
    with capture_logs() as logs:
        world.hear(MINE)
        assert world.moved == 0
        world.hear(OTHERS)
    assert world.moved == 1
    assert [(line["event"], line["partition"]) for line in logs] == [("worker_attached", OWN + 1)]
    assert world.metrics.registry.get_sample_value(ATTACHMENTS.name, {"stage": "gpu_worker"}) == 1


def test_a_partition_that_workers_lacks_is_nobodys(world: World) -> None:
    """A report there would be lost, and the worker with it."""
    assert world.hear(MINE, replace(OTHERS, partitions=[-1, 12, 2**31 - 1])) is None
    assert world.hear(replace(OTHERS, partitions=[-1, OWN + 1, 12])) == OWN + 1


def test_a_worker_is_what_it_is_when_it_hears(world: World) -> None:
    """Its checkpoints and its availability change."""
    world.offers = False
    assert world.hear(MINE, OTHERS) is None
    world.offers, world.checkpoints = True, ("sdxl",)
    assert world.hear(replace(OTHERS, checkpoints={"flux": 5})) is None
    world.checkpoints = ("sdxl", "flux")
    assert world.hear(replace(OTHERS, checkpoints={"flux": 5})) == OWN + 1


def test_a_worker_with_a_job_in_hand_is_not_idle(world: World) -> None:
    """Where an idle one covers what waits, it stays."""
    world.holdings.add(Assignment(job=JOB, envelope=ENVELOPE, lane=0, offset=0))
    assert world.hear(MINE, replace(OTHERS, queued=1)) is None
    world.holdings.close()
    assert world.hear(MINE, replace(OTHERS, queued=1)) == OWN + 1


def test_a_worker_that_took_a_job_where_it_came_for_one_may_go_on(world: World) -> None:
    """Not before."""
    needed, louder = replace(MINE, queued=1, oldest_wait_seconds=1.0), replace(OTHERS, queued=1000)
    assert world.hear(needed, louder) is None
    world.attaching.took()
    assert world.hear(louder) == OWN + 1
