"""The discrete-event clock: loads, held requests, ticks, and orders that it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.simulate.clock import BadOrder, Give, Load, Order, Scheduler, Worker, simulate
from tests.simulate.trace import Request
from tests.unit.simulate.small_traces import trace_of

ONE_AFTER_THE_OTHER = trace_of(("A1", 0, 5, "x"), ("A2", 1, 5, "x"), ("A3", 2, 5, "y"))


class ToTheFirst:
    """Gives whatever arrives to the first worker at once."""

    held_limit = 2
    tick_seconds = math.inf

    def __init__(self, fleet: Sequence[Worker]) -> None:
        self.worker = fleet[0]

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """Give it."""
        yield Give(self.worker, request)

    def freed(self, worker: Worker, ended: Request | None, now: float) -> Iterator[Order]:
        """Nothing."""
        return iter(())

    def ticked(self, now: float) -> Iterator[Order]:
        """Nothing."""
        return iter(())


class WithNoRoom(ToTheFirst):
    """Says that its workers hold nothing, and lets them."""

    held_limit = 0


class Twice(ToTheFirst):
    """Gives each request two times."""

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """Give it, and again."""
        yield Give(self.worker, request)
        yield Give(self.worker, request)


class Never(ToTheFirst):
    """Gives nothing."""

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """Nothing."""
        return iter(())


class OnTheTick(ToTheFirst):
    """Gives requests only as time passes, every 4 s, and loads ``y`` first."""

    tick_seconds = 4.0

    def __init__(self, fleet: Sequence[Worker]) -> None:
        super().__init__(fleet)
        self.waiting: list[Request] = []

    def arrived(self, request: Request, now: float) -> Iterator[Order]:
        """Load once; keep it."""
        self.waiting.append(request)
        if request.id == "A1":
            yield Load(self.worker, "y")

    def ticked(self, now: float) -> Iterator[Order]:
        """Give what waits, when there is room."""
        while self.waiting and not self.worker.busy:
            yield Give(self.worker, self.waiting.pop(0))


def test_a_checkpoint_is_loaded_when_another_is_in_memory() -> None:
    """A held request starts without a gap; only a change of checkpoint takes a load."""
    run = simulate(ONE_AFTER_THE_OTHER, 1, ToTheFirst)
    assert [(s.request.id, s.started, s.ended) for s in run.served] == [
        ("A1", 10, 15),
        ("A2", 15, 20),
        ("A3", 30, 35),
    ]
    assert (run.loads, run.load_seconds) == (2, 20.0)


def test_time_passes_on_the_grid_while_requests_wait() -> None:
    """A load without a request occupies the worker; ticks come at multiples of the period and end with the waiting."""
    run = simulate(trace_of(("A1", 0, 5, "y"), ("A2", 1, 1, "y")), 1, OnTheTick)
    assert [(s.request.id, s.started) for s in run.served] == [("A1", 12), ("A2", 20)]
    assert run.loads == 1


@pytest.mark.parametrize(
    ("scheduler", "complaint"),
    [
        (WithNoRoom, "worker 0 has no room for A2"),
        (Twice, "request A1 was given but does not wait"),
        (Never, "3 requests were never given"),
    ],
)
def test_an_order_that_no_worker_could_carry_out_voids_the_run(
    scheduler: Callable[[Sequence[Worker]], Scheduler], complaint: str
) -> None:
    """A scheduler cannot look better by losing, repeating or overloading."""
    with pytest.raises(BadOrder, match=complaint):
        simulate(ONE_AFTER_THE_OTHER, 1, scheduler)
