"""Stalls are read off the broker's timestamps: what a process's end delayed, and by how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos import histories as h
from tests.chaos.history import History, Incident, Place
from tests.chaos.schedule import Kind
from tests.chaos.stalls import PARTITIONS, stalls

KILLED_AT = 2_000_000.0


def killed(target: str, kind: Kind = Kind.KILL) -> Incident:
    """The end of a process."""
    return Incident(kind=kind, target=target, since=KILLED_AT, until=KILLED_AT + 1)


#: Work of partitions that go on at once: as many as the sibling owns.
OTHERS = tuple((partition, -1.0, 0.01) for partition in range(PARTITIONS // 2, PARTITIONS))


def decided(
    *waits: tuple[int, float, float], others: tuple[tuple[int, float, float], ...] = OTHERS
) -> History:
    """Requests in these partitions, which came and were decided so many seconds after a kill of a moderator."""
    requests, decisions = [], []
    for number, (partition, came, done) in enumerate((*waits, *others)):
        place = Place("requests", partition, number)
        requests.append(h.requested(f"r{number}", place=place, at=KILLED_AT + came))
        decisions.append(h.moderated(f"r{number}", at=KILLED_AT + done))
    return History(requested=tuple(requests), moderated=tuple(decisions), incidents=(killed("moderator-1"),))


def seconds(history: History) -> list[float]:
    """How long each stall was."""
    return [stall.seconds for stall in stalls(history)]


def test_a_stall_lasts_to_the_next_event_of_the_partition_that_waits_longest() -> None:
    """The sibling's own partitions go on at once; those of the dead process are what counts."""
    assert seconds(decided((0, -1, 0.1), (0, -1, 0.2), (1, -1, 9.5), (1, 0.5, 9.6))) == [9.5]


def test_a_stall_begins_when_there_is_work() -> None:
    """A record that came 2 s after the end has waited 2 s less."""
    assert seconds(decided((0, 2.0, 9.0))) == [7.0]


def test_what_was_handled_before_and_what_came_much_later_is_no_stall() -> None:
    """Neither says anything of this end."""
    assert seconds(decided((0, -5.0, -1.0), (1, 30.0, 30.2))) == []


def test_an_end_of_which_only_the_siblings_partitions_may_tell_is_no_stall() -> None:
    """With work in no more partitions than the sibling owns, they may all be its own."""
    assert seconds(decided((0, -1, 9.5), others=OTHERS[:5])) == []
    assert seconds(decided((0, -1, 9.5))) == [9.5]


def test_a_worker_is_missed_until_the_ledger_says_something_new_of_its_jobs() -> None:
    """Other workers' jobs do not count, nor what the ledger said before."""
    given = (
        replace(h.dispatched("r0", 1, "gpu_worker-1"), at=KILLED_AT - 1),
        replace(h.dispatched("r1", 1, "gpu_worker-2"), at=KILLED_AT - 1),
    )
    ledger = tuple(
        replace(h.recorded(request), at=KILLED_AT + at)
        for request, at in (("r0", -1.001), ("r0", 6.0), ("r0", 8.0), ("r1", 20.0))
    )
    history = History(dispatched=given, recorded=ledger, incidents=(killed("gpu_worker-1"),))
    assert seconds(history) == [6.0]


def test_a_bots_commands_wait_for_its_own_restart() -> None:
    """No other process has its shard."""
    told = tuple(h.told(f"r{number}", shard=number) for number in (0, 1))
    taken = (h.requested("r0", at=KILLED_AT + 0.5), h.requested("r1", at=KILLED_AT + 3))
    history = History(told=told, requested=taken, incidents=(killed("ingest_bot-2"),))
    assert seconds(history) == [3.0]


@pytest.mark.parametrize(
    ("other", "disturbed"),
    [
        (Incident(kind=Kind.BROKER_KILL, target="broker", since=1.0, until=4.0), True),
        (Incident(kind=Kind.FREEZE, target="moderator-2", since=-20.0, until=-3.0), True),
        (Incident(kind=Kind.RESET, target="kafka:moderator-2", since=2.0, until=3.0), True),
        (Incident(kind=Kind.KILL, target="moderator-2", since=9.0, until=9.5), False),
        (Incident(kind=Kind.KILL, target="moderator-2", since=-40.0, until=-30.0), False),
        (Incident(kind=Kind.KILL, target="notifier-1", since=1.0, until=2.0), False),
    ],
)
def test_a_stall_is_told_apart_where_another_fault_had_a_part(other: Incident, disturbed: bool) -> None:
    """One of the same stage, of its links or of the broker, at the time or just before."""
    moved = replace(other, since=KILLED_AT + other.since, until=KILLED_AT + other.until)
    history = decided((0, 0.0, 5.0))
    (stall,) = (
        s for s in stalls(replace(history, incidents=(*history.incidents, moved))) if s.seconds == 5.0
    )
    assert stall.disturbed is disturbed
