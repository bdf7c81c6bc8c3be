"""A user takes a request back: wherever it is, it ends once, and no other attempt of it is made."""

from __future__ import annotations

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import Outcome
from tests.unit.dispatcher.world import World


def outcomes(world: World) -> list[Outcome]:
    """How requests ended by the dispatcher's word."""
    return [end.outcome for end in world.ends()]


def test_a_waiting_request_ends_at_once(world: World) -> None:
    """It never comes to a worker."""
    world.request("A1")
    world.cancel("A1")
    world.report("w1")
    assert (outcomes(world), world.order()) == ([Outcome.CANCELLED], [])


def test_a_request_that_a_worker_has_is_left_to_that_worker(world: World) -> None:
    """It alone knows whether it is running, and says how it ended: by a success that was sooner, perhaps."""
    world.report("w1")
    world.request("A1")
    world.cancel("A1")
    assert outcomes(world) == []
    assert world.state.jobs["A1"].record.cancelled


def test_a_cancelled_request_whose_worker_is_lost_is_not_drawn_again(world: World) -> None:
    """Nobody wants it any more."""
    world.report("w1")
    world.request("A1")
    world.cancel("A1")
    world.leave("w1")
    world.report("w2")
    world.tick()
    assert (outcomes(world), world.order()) == ([Outcome.CANCELLED], ["A1"])


def test_a_cancelled_request_that_failed_meanwhile_is_cancelled(world: World) -> None:
    """That is what its user asked for."""
    world.report("w1")
    world.request("A1")
    world.cancel("A1")
    world.complete("A1", error=error_info(ErrorCode.OUT_OF_MEMORY))
    assert (outcomes(world), world.order()) == ([Outcome.CANCELLED], ["A1"])


def test_only_its_user_takes_a_request_back(world: World) -> None:
    """Anybody can make a button's id up."""
    world.request("A1")
    world.cancel("A1", by="B")
    assert (outcomes(world), len(world.state.backlog)) == ([], 1)


def test_a_finished_or_unknown_request_cannot_be_cancelled(world: World) -> None:
    """It has its images; and what was never seen is nobody's."""
    world.report("w1")
    world.request("A1")
    world.complete("A1")
    world.cancel("A1")
    world.cancel("Z9")
    assert outcomes(world) == []
