"""What keeps a worker from drawing, and that it is said."""

from __future__ import annotations

from services.chassis.health import Health
from services.gpu_worker.availability import Availability, Obstacle


def test_a_worker_is_not_ready_before_comfyui_has_answered() -> None:
    """Nothing is taken for granted."""
    health = Health()
    availability = Availability(health, changed=lambda: None)
    assert availability.why_not() is not None
    assert health.readiness() is not None


def test_a_worker_is_ready_once_the_last_obstacle_is_gone() -> None:
    """One that goes does not hide another."""
    health = Health()
    availability = Availability(health, changed=lambda: None)
    availability.block(Obstacle.DISK, "the disk is full")
    availability.clear(Obstacle.COMFYUI)
    assert (availability.why_not(), health.readiness()) == ("the disk is full", "the disk is full")
    availability.clear(Obstacle.DISK)
    assert (availability.why_not(), health.readiness()) == (None, None)


def test_the_gravest_reason_is_told() -> None:
    """A worker that leaves is not waited for, whatever else it lacks."""
    availability = Availability(Health(), changed=lambda: None)
    availability.block(Obstacle.DISK, "the disk is full")
    availability.block(Obstacle.LEAVING, "told to stop")
    assert availability.why_not() == "told to stop"


def test_each_change_is_said_once() -> None:
    """It wakes the reporter; what is looked at every few seconds must not."""
    changes: list[str] = []
    availability = Availability(Health(), changed=lambda: changes.append("changed"))
    for _ in range(3):
        availability.block(Obstacle.DISK, "the disk is full")
    for _ in range(3):
        availability.clear(Obstacle.DISK)
    assert len(changes) == 2
