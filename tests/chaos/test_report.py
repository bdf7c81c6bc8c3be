"""The figures of a run are flat and complete, and the table says what broke."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.chaos import histories as h
from tests.chaos.checker import INVARIANTS, check
from tests.chaos.history import History, Incident, Shown, State
from tests.chaos.report import Figures, figures, percentile, table
from tests.chaos.schedule import Kind
from tests.chaos.settings import SHORT, ChaosSettings
from tests.chaos.stalls import Stall

CLEAN = h.clean()


def counted(history: History, *stalls: Stall) -> Figures:
    """A run's figures."""
    return figures(SHORT, history, check(history), stalls, seconds=120.0, restarts={"moderator-1 70": 2})


def test_every_figure_is_a_number_in_one_flat_object() -> None:
    """What a dashboard or a comparison of runs needs."""
    found = json.loads(json.dumps(counted(CLEAN)))
    assert all(value is None or isinstance(value, int | float) for value in found.values())
    named = {"seed", "requests", "gpu_runs", *INVARIANTS, *(f"faults_{kind}" for kind in Kind)}
    assert named <= set(found)


def test_what_happened_is_counted() -> None:
    """Requests by their ends, runs, faults, and processes that ended by themselves."""
    strike = Incident(kind=Kind.KILL, target="moderator-1", since=0.0, until=1.0)
    found = counted(replace(CLEAN, incidents=(strike, strike)))
    wanted = {
        "requests": h.COUNT,
        "ended_succeeded": 6,
        "ended_failed": 1,
        "ended_rejected": 1,
        "gpu_runs": 7,
    }
    wanted |= {"faults": 2, "faults_kill": 2, "exits_by_themselves": 2, "violations": 0}
    assert {name: found[name] for name in wanted} == wanted


def test_a_command_whose_bot_died_before_it_was_queued_is_counted() -> None:
    """It was not promised, so it is not lost; but its user waits."""
    states = (State(text="Queueing: a boat", final=False),)
    hanging = h.told("r99", Shown(message_id="m", states=states), accepted=False)
    assert counted(CLEAN)["never_queued"] == 0
    assert counted(replace(CLEAN, told=(*CLEAN.told, hanging)))["never_queued"] == 1


def test_a_stall_with_another_fault_in_it_is_counted_and_left_out() -> None:
    """It is not what one process's end costs."""
    stalls = [
        Stall(stage="moderator", kind=Kind.KILL, seconds=seconds, disturbed=disturbed)
        for seconds, disturbed in ((3.0, False), (5.0, False), (40.0, True))
    ]
    found = counted(CLEAN, *stalls)
    assert (found["stall_kill_moderator_count"], found["stall_kill_moderator_alone"]) == (3, 2)
    assert (found["stall_kill_moderator_p50_s"], found["stall_kill_moderator_p99_s"]) == (3.0, 5.0)
    assert found["stall_kill_notifier_p50_s"] is None


def test_the_table_names_the_seed_and_every_violation() -> None:
    """So that the run can be repeated and the fault be found."""
    broken = replace(CLEAN, stored=frozenset())
    text = table(counted(broken), check(broken))
    assert "seed 1: 6 violations" in text
    assert "success_lost r0: succeeded at completed/0/0" in text
    assert "every invariant held" in table(counted(CLEAN), [])


def test_the_table_marks_an_aim_that_was_missed() -> None:
    """By stage and way to end."""
    late = Stall(stage="moderator", kind=Kind.KILL, seconds=12.5, disturbed=False)
    early = Stall(stage="notifier", kind=Kind.KILL, seconds=11.5, disturbed=False)
    lines = {
        line.split()[1]: line
        for line in table(counted(CLEAN, late, early), []).splitlines()
        if "kill  " in line
    }
    assert lines["moderator"].endswith("12 s  missed")
    assert lines["notifier"].endswith("11.5 s   12 s")


def test_a_percentile_is_one_of_the_values() -> None:
    """The smallest that enough of them do not exceed; none of none."""
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([], 0.5) is None


def test_the_work_of_a_job_follows_from_the_rate() -> None:
    """Three workers are busy for two thirds of the time, so that every fault leaves a backlog."""
    settings = ChaosSettings(requests=1000, minutes=5.0, users=30)
    assert settings.job_seconds + 0.03 == 3 * 300 / 1000 * 2 / 3
    assert settings.quota == 34
