"""A schedule is repeated by its seed, and leaves nothing out."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from tests.chaos.cast import CAST, stage_of
from tests.chaos.schedule import COMFYUI_ERRORS, DUPLICATED, POISONED, Fault, Kind, schedule

SEEDS = range(12)


def short(seed: int) -> list[Fault]:
    """The schedule of the short form."""
    return schedule(seed, CAST, seconds=75.0, spacing=4.0, thorough=False)


def long(seed: int) -> list[Fault]:
    """The schedule of a whole run."""
    return schedule(seed, CAST, seconds=600.0, spacing=4.0, thorough=True)


def test_the_same_seed_gives_the_same_schedule() -> None:
    """SEED repeats a run's schedule; another seed gives another."""
    assert long(7) == long(7)
    assert long(7) != long(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_short_form_strikes_with_every_kind(seed: int) -> None:
    """Fewer faults, and each kind at least once."""
    assert {fault.kind for fault in short(seed)} == set(Kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_whole_run_kills_ends_and_freezes_every_stage(seed: int) -> None:
    """So that there is a stall to measure for each."""
    struck = defaultdict(set)
    for fault in long(seed):
        struck[fault.kind].add(fault.target.rpartition("-")[0])
    for kind in (Kind.KILL, Kind.TERMINATE, Kind.FREEZE):
        assert set(CAST.stages) <= struck[kind]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_whole_run_leaves_no_variety_out(seed: int) -> None:
    """Every error of ComfyUI, and every topic that is read."""
    faults = long(seed)
    assert {fault.detail for fault in faults if fault.kind is Kind.COMFYUI_ERROR} == set(COMFYUI_ERRORS)
    assert {fault.target for fault in faults if fault.kind is Kind.POISON} == set(POISONED)
    assert {fault.target for fault in faults if fault.kind is Kind.DUPLICATE} == set(DUPLICATED)
    (longest,) = (fault for fault in faults if fault.kind is Kind.FREEZE and fault.seconds > 60)
    assert stage_of(longest.target) in CAST.grouped


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_faults_strike_one_target_at_once(seed: int) -> None:
    """Each is over, and its target back, before the next: else one would hide the other."""
    by_target = defaultdict(list)
    for fault in long(seed):
        by_target[fault.target].append(fault)
    for faults in by_target.values():
        assert all(later.at > earlier.until for earlier, later in pairwise(faults))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fault_ends_within_the_run(seed: int) -> None:
    """What is left is the time to recover in."""
    assert all(fault.at >= 0 and fault.until <= 75.0 for fault in short(seed))
    assert all(fault.at >= 0 and fault.until <= 600.0 for fault in long(seed))
