"""The lease that each report renews, and what becomes of a worker whose lease has lapsed."""

from __future__ import annotations

import threading

import pytest

from services.gpu_worker.lease import CLOCKS, Lease

SILENCE = 6.0


class Clocks:
    """Two clocks that the test sets."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.wall = 1_000_000.0

    def lease(self, lapses: list[str] | None = None) -> Lease:
        """A lease on these clocks, which notes each lapse."""
        noted = [] if lapses is None else lapses
        return Lease(
            "w",
            SILENCE,
            lapsed=lambda: noted.append("lapsed"),
            clocks=[lambda: self.monotonic, lambda: self.wall],
        )

    def pass_time(self, seconds: float, *, asleep: bool = False) -> None:
        """Let time pass; the monotonic clock stands still in a machine that is asleep."""
        self.wall += seconds
        self.monotonic += 0.0 if asleep else seconds


def test_a_worker_that_reports_in_time_stays_who_it_is() -> None:
    """However long it lives."""
    clocks = Clocks()
    lease = clocks.lease()
    me = lease.identity()
    for _ in range(100):
        clocks.pass_time(SILENCE - 0.1)
        assert lease.renew() == me


def test_to_ask_who_one_is_renews_nothing() -> None:
    """Only a report does: a worker whose reports have stopped is lost, however busy it is."""
    clocks = Clocks()
    lease = clocks.lease()
    me = lease.identity()
    clocks.pass_time(SILENCE - 0.1)
    assert lease.identity() == me
    clocks.pass_time(0.2)
    assert lease.identity() != me


@pytest.mark.parametrize("asleep", [False, True], ids=["process stopped", "machine asleep"])
def test_a_worker_that_was_silent_for_too_long_is_another(asleep: bool) -> None:
    """Its jobs were given away; under its old name it would begin them."""
    clocks, lapses = Clocks(), list[str]()
    lease = clocks.lease(lapses)
    before = lease.identity()
    clocks.pass_time(SILENCE + 0.1, asleep=asleep)
    after = lease.identity()
    assert (after.worker_id, after.incarnation == before.incarnation) == ("w", False)
    assert lapses == ["lapsed"]


def test_a_report_after_the_silence_does_not_hide_it() -> None:
    """Whichever thread wakes first: the report, too, is that of another."""
    clocks, lapses = Clocks(), list[str]()
    lease = clocks.lease(lapses)
    before = lease.identity()
    clocks.pass_time(60.0)
    assert lease.renew() != before
    assert lapses == ["lapsed"]


def test_one_silence_makes_one_new_worker() -> None:
    """Every thread that asks afterwards is told the same."""
    clocks, lapses = Clocks(), list[str]()
    lease = clocks.lease(lapses)
    clocks.pass_time(60.0)
    asked = [lease.identity() for _ in range(3)]
    assert len(set(asked)) == 1
    assert lapses == ["lapsed"]


def test_a_wall_clock_that_is_set_back_ends_nothing() -> None:
    """It says nothing of how long the worker was silent."""
    clocks = Clocks()
    lease = clocks.lease()
    me = lease.identity()
    clocks.wall -= 3600.0
    assert lease.identity() == me


def test_threads_that_wake_together_find_one_lapse() -> None:
    """After a SIGCONT all of them run at once."""
    clocks, lapses = Clocks(), list[str]()
    lease = clocks.lease(lapses)
    clocks.pass_time(60.0)
    threads = [threading.Thread(target=lease.identity) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert lapses == ["lapsed"]


def test_real_clocks_run() -> None:
    """The default lease is on them."""
    assert len(CLOCKS) == 2
    assert Lease("w", SILENCE).identity().worker_id == "w"
