"""Where a worker's reports lie, when it moves and when it leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.chassis.clock import system_clock
from services.contracts.envelope import Envelope
from services.contracts.events import Event, WorkerReported
from services.contracts.topics import WORKERS
from services.gpu_worker.places import Places

REPORT = WorkerReported(
    worker_id="w", incarnation="i", sequence=1, reported_at=system_clock(), lanes=[0], slots=1, held_limit=1
)


class Topic:
    """Stands in for the outbox: what lies in each partition, and reports that are not acknowledged yet."""

    def __init__(self) -> None:
        self.here: int | None = None
        self.lying: set[int | None] = set()
        self.open: list[Callable[[], None]] = []
        self.flushed = False

    def send_soon(
        self,
        event: Event,
        cause: Envelope | None,
        *,
        partition: int | None = None,
        acknowledged: Callable[[], None] | None = None,
    ) -> None:
        """As `SyncOutbox.send_soon`."""
        assert acknowledged is not None
        self.lying.add(partition)
        self.open.append(acknowledged)

    def tombstone_soon(self, topic: str, key: str, *, partition: int | None = None) -> None:
        """As `SyncOutbox.tombstone_soon`."""
        assert (topic, key) == (WORKERS, "w")
        self.lying.discard(partition)

    def flush(self, seconds: float) -> None:
        """As `SyncOutbox.flush`."""
        self.flushed = True

    def acknowledge(self) -> None:
        """All that was sent."""
        while self.open:
            self.open.pop(0)()


@pytest.fixture
def topic() -> Topic:
    """An empty one."""
    return Topic()


@pytest.fixture
def places(topic: Topic) -> Places:
    """Of a worker that reports where ``topic.here`` says."""
    return Places(topic, "w", lambda: topic.here)  # type: ignore[arg-type]  # all that is used of an outbox


def report(topic: Topic, places: Places, here: int | None, *, acknowledged: bool = True) -> set[int | None]:
    """One report from there; returns where reports lie then."""
    topic.here = here
    places.report(REPORT)
    if acknowledged:
        topic.acknowledge()
    return topic.lying


def test_an_old_place_is_given_up_once_a_report_in_the_new_one_is_acknowledged(
    topic: Topic, places: Places
) -> None:
    """In between a dispatcher that starts would know of no such worker."""
    assert report(topic, places, None) == {None}
    assert report(topic, places, 7, acknowledged=False) == {None, 7}
    assert report(topic, places, 7, acknowledged=False) == {None, 7}
    topic.acknowledge()
    assert report(topic, places, 7) == {7}


def test_a_worker_that_came_back_does_not_delete_its_present_report(topic: Topic, places: Places) -> None:
    """Its dispatcher would take it for gone, and its jobs for lost."""
    report(topic, places, 3)
    report(topic, places, 7, acknowledged=False)
    assert report(topic, places, 3) == {3, 7}
    assert report(topic, places, 3) == {3}


def test_a_worker_that_leaves_deletes_every_report_of_it(topic: Topic, places: Places) -> None:
    """In its present place and in one that it had not given up yet, and waits until that is sent."""
    report(topic, places, 3)
    report(topic, places, 7, acknowledged=False)
    places.leave()
    assert topic.lying == set()
    assert topic.flushed
