"""What a worker holds, and how far its lanes may be committed."""

from __future__ import annotations

import threading
from dataclasses import replace

from services.contracts.envelope import Envelope
from services.contracts.events import HeldState
from services.gpu_worker.holdings import Assignment, Holdings, LaneOffsets
from tests.unit.gpu_worker.test_decide import JOB

ENVELOPE = Envelope.from_headers({}, fallback_id="dispatched/0/0")
ASSIGNMENT = Assignment(job=JOB, envelope=ENVELOPE, lane=3, offset=7)


def test_a_waiting_job_is_reported_as_held_and_a_taken_one_as_running() -> None:
    """The dispatcher counts both."""
    holdings = Holdings()
    holdings.add(ASSIGNMENT)
    assert [job.state for job in holdings.reported()] == [HeldState.HELD]
    assert holdings.take() is ASSIGNMENT
    assert [job.state for job in holdings.reported()] == [HeldState.RUNNING]
    holdings.finish(ASSIGNMENT)
    assert holdings.reported() == []


def test_a_slot_waits_for_a_job_and_ends_when_the_worker_leaves() -> None:
    """No polling, and no thread left behind."""
    holdings = Holdings()
    taken: list[Assignment | None] = []
    slot = threading.Thread(target=lambda: taken.append(holdings.take()))
    slot.start()
    assert holdings.close() == []
    slot.join(5)
    assert taken == [None]


def test_closing_gives_back_what_waits_and_keeps_what_runs() -> None:
    """The dispatcher sends the first elsewhere."""
    holdings = Holdings()
    holdings.add(ASSIGNMENT)
    holdings.take()
    other = Assignment(job=JOB, envelope=ENVELOPE, lane=3, offset=8)
    holdings.add(other)
    assert holdings.close() == [other]
    assert holdings.running() == [ASSIGNMENT]


def test_a_claimed_job_is_in_hand_but_never_begun() -> None:
    """Its end is being told; until then the dispatcher must hear of it."""
    holdings = Holdings()
    holdings.add(ASSIGNMENT)
    assert holdings.claim(ASSIGNMENT)
    assert (holdings.running(), holdings.is_running(ASSIGNMENT)) == ([], False)
    assert [job.state for job in holdings.reported()] == [HeldState.HELD]
    assert not holdings.idle()
    holdings.finish(ASSIGNMENT)
    assert (holdings.reported(), holdings.idle()) == ([], True)


def test_a_job_is_claimed_once_and_never_from_a_slot() -> None:
    """Whoever has it ends it."""
    holdings = Holdings()
    holdings.add(ASSIGNMENT)
    assert [holdings.claim(ASSIGNMENT) for _ in range(2)] == [True, False]
    holdings.add(ASSIGNMENT)
    holdings.take()
    assert not holdings.claim(ASSIGNMENT)


def test_what_is_released_is_not_in_hand_any_more() -> None:
    """The worker goes on with what runs, and with what comes."""
    holdings = Holdings()
    holdings.add(ASSIGNMENT)
    assert holdings.release() == [ASSIGNMENT]
    assert holdings.reported() == []
    holdings.add(ASSIGNMENT)
    assert holdings.take() is ASSIGNMENT


def test_the_jobs_of_a_request_are_found_wherever_they_are() -> None:
    """An attempt that outlived its worker's name, and the next one."""
    holdings = Holdings()
    other = replace(ASSIGNMENT, job=replace(JOB, dispatch_id="d2"))
    foreign = replace(ASSIGNMENT, job=replace(JOB, dispatch_id="d3", request_id="another"))
    holdings.add(ASSIGNMENT)
    holdings.take()
    holdings.add(other)
    holdings.add(foreign)
    assert holdings.of_request(JOB.request_id) == [other, ASSIGNMENT]


def test_a_lane_is_committed_up_to_its_first_unfinished_record() -> None:
    """A later one that ended first does not carry the offset past it."""
    offsets = LaneOffsets()
    for offset in (5, 6, 7):
        offsets.arrived(1, offset)
    offsets.done(1, 6)
    assert offsets.committable() == {}
    offsets.done(1, 5)
    assert offsets.committable() == {1: 7}
    offsets.done(1, 7)
    assert offsets.committable() == {1: 8}


def test_a_lane_that_did_not_move_is_not_committed_again() -> None:
    """No needless commits."""
    offsets = LaneOffsets()
    offsets.arrived(1, 5)
    offsets.done(1, 5)
    offsets.committable()
    assert offsets.committable() == {}


def test_a_lost_lane_is_forgotten() -> None:
    """Its new owner reads what was not committed; ours would be a stale commit."""
    offsets = LaneOffsets()
    offsets.arrived(1, 5)
    offsets.lost({1})
    offsets.done(1, 5)
    assert offsets.committable() == {}


def test_a_commit_that_failed_is_due_again() -> None:
    """The lane may have no further record for hours, and would be read again from there."""
    offsets = LaneOffsets()
    offsets.arrived(1, 5)
    offsets.done(1, 5)
    assert offsets.committable() == {1: 6}
    offsets.not_committed(1)
    assert offsets.committable() == {1: 6}
    assert offsets.committable() == {}


def test_a_commit_that_failed_does_not_set_a_lane_back() -> None:
    """It has moved on meanwhile."""
    offsets = LaneOffsets()
    for offset in (5, 6):
        offsets.arrived(1, offset)
    offsets.done(1, 5)
    offsets.committable()
    offsets.done(1, 6)
    assert offsets.committable() == {1: 7}
    offsets.not_committed(1)  # the answer to the first
    assert offsets.committable() == {1: 7}


def test_a_commit_that_failed_for_a_lane_that_is_lost_is_nobodys_business() -> None:
    """Its new owner commits it."""
    offsets = LaneOffsets()
    offsets.arrived(1, 5)
    offsets.done(1, 5)
    offsets.committable()
    offsets.lost({1})
    offsets.not_committed(1)
    assert offsets.committable() == {}
