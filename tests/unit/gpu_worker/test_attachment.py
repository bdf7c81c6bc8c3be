"""Which dispatcher a worker attaches itself to, and that a fleet of such workers serves several as it serves one."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import BacklogReported
from services.gpu_worker.attachment import (
    AGED_SECONDS,
    FRESH_SECONDS,
    MOVE_SECONDS,
    PATIENCE_SECONDS,
    Attachment,
    Situation,
)
from tests.unit.gpu_worker.fleet import SESSION_SECONDS, Fleet, Request, traffic

IDLE = Situation(checkpoints=(), offers=True, idle=True, taken=0)
BUSY = Situation(checkpoints=(), offers=True, idle=False, taken=0)
HOME = BacklogReported(
    dispatcher_id="home",
    reported_at=datetime(2026, 1, 1, tzinfo=UTC),
    partitions=[0, 1, 2],
    queued=0,
    workers=4,
    idle=1,
)
THERE = replace(HOME, dispatcher_id="there", partitions=[3, 4, 5], queued=5, oldest_wait_seconds=1.0, idle=0)
SURE = 0.0  #: a draw that any chance covers


def at_home(home: BacklogReported = HOME, me: Situation = IDLE) -> Attachment:
    """A worker that reports in partition 1 and has just heard its dispatcher, at 0 s."""
    attachment = Attachment(1, 0.0, session_seconds=SESSION_SECONDS)
    attachment.heard(home, me, 0.0, SURE)
    return attachment


def moves(
    home: BacklogReported,
    there: BacklogReported,
    me: Situation = IDLE,
    *,
    draw: float = SURE,
    now: float = 0.0,
) -> bool:
    """Whether a worker that heard its dispatcher follows another's announcement."""
    return at_home(home, me).heard(there, me, now, draw)


def waiting(backlog: BacklogReported, **checkpoints: int) -> BacklogReported:
    """The same, with requests that wait for these checkpoints."""
    return replace(backlog, queued=sum(checkpoints.values()), checkpoints=checkpoints)


def test_an_idle_worker_goes_where_requests_wait() -> None:
    """And reports in a partition of the dispatcher that has them."""
    attachment = at_home()
    assert attachment.heard(THERE, IDLE, 0.0, SURE)
    assert attachment.here in THERE.partitions


def test_nobody_goes_where_nothing_waits() -> None:
    """However many workers the other has."""
    assert not moves(HOME, replace(THERE, queued=0, workers=0))


def test_only_requests_that_this_worker_can_run_call_it() -> None:
    """A request that needs no checkpoint calls every worker; a worker that lists none is taken to have all."""
    sdxl = replace(IDLE, checkpoints=("sdxl",))
    assert not moves(HOME, waiting(THERE, flux=5), sdxl)
    assert moves(HOME, waiting(THERE, flux=5, sdxl=1), sdxl)
    assert moves(HOME, replace(THERE, queued=1, checkpoints={"": 1}), sdxl)
    assert moves(HOME, waiting(THERE, flux=5), IDLE)


@pytest.mark.parametrize(
    ("own", "own_wait", "moves_on"),
    [(5, 1.0, False), (3, 1.0, False), (1, 1.0, True), (5, 0.1, True), (1, 60.0, False)],
)
def test_a_worker_that_is_needed_leaves_only_for_a_clearly_higher_pressure(
    own: int, own_wait: float, moves_on: bool
) -> None:
    """Pressure is what waits times the longest wait, for each worker; less than twice is noise."""
    home = replace(HOME, queued=own, oldest_wait_seconds=own_wait, workers=5, idle=0)
    attachment = at_home(home, BUSY)
    served = replace(BUSY, taken=1)
    assert attachment.heard(THERE, served, 0.0, SURE) == moves_on


def test_a_worker_that_has_come_for_work_stays_until_it_got_some() -> None:
    """Else a pull from both sides would let it serve neither."""
    home = replace(HOME, queued=1, oldest_wait_seconds=1.0)
    attachment = at_home(home, BUSY)
    loud = replace(THERE, queued=1000)
    assert not attachment.heard(loud, BUSY, 0.0, SURE)
    assert attachment.heard(loud, replace(BUSY, taken=1), 0.1, SURE)


def test_a_worker_that_is_left_idle_is_not_needed_whatever_waits() -> None:
    """What waits needs a LoRA that it lacks, say; without this it would wait beside it for ever."""
    home = replace(HOME, queued=9, oldest_wait_seconds=600.0)
    attachment = at_home(home)
    assert not attachment.heard(THERE, IDLE, PATIENCE_SECONDS - 0.1, SURE)
    attachment.heard(home, IDLE, PATIENCE_SECONDS, SURE)
    assert attachment.heard(THERE, IDLE, PATIENCE_SECONDS, SURE)


def test_a_worker_that_runs_short_jobs_is_not_left_idle() -> None:
    """It has nothing to do whenever an announcement comes, and yet it is given something all the time."""
    home = replace(HOME, queued=9, oldest_wait_seconds=600.0)
    attachment = at_home(home)
    for second in range(1, 10):
        served = replace(IDLE, taken=second)
        attachment.heard(home, served, float(second), SURE)
        assert not attachment.heard(THERE, served, float(second), SURE)


def test_a_worker_moves_at_most_once_in_two_seconds() -> None:
    """The dispatcher that it joined needs as long to say what is left."""
    attachment = at_home()
    assert attachment.heard(THERE, IDLE, 1.0, SURE)
    attachment.heard(replace(THERE, queued=0), IDLE, 1.1, SURE)
    other = replace(THERE, dispatcher_id="other", partitions=[6])
    assert not attachment.heard(other, IDLE, 1.0 + MOVE_SECONDS - 0.1, SURE)
    assert attachment.heard(other, IDLE, 1.0 + MOVE_SECONDS, SURE)


def test_about_as_many_idle_workers_move_as_are_needed() -> None:
    """Of sixty that hear of three requests; a herd would leave the others' dispatchers with none."""
    luck = random.Random(1)  # noqa: S311 - repeats itself
    home = replace(HOME, workers=60, idle=60)
    for _ in range(20):
        moved = sum(moves(home, replace(THERE, queued=3), draw=luck.random()) for _ in range(60))
        assert 0 < moved < 15


def test_busy_workers_stay_while_idle_ones_cover_what_waits() -> None:
    """A job that is given to a busy worker waits for the one that it runs."""
    one, ten = replace(THERE, queued=1), replace(THERE, queued=10)
    assert not moves(replace(HOME, idle=1), one, BUSY)
    assert moves(replace(HOME, idle=0), one, BUSY)
    assert moves(replace(HOME, idle=1), ten, BUSY)


@pytest.mark.parametrize("alone", [{"workers": 0}, {"oldest_wait_seconds": AGED_SECONDS + 1}])
def test_a_small_backlog_is_visited_whatever_the_pressure_elsewhere(alone: dict[str, float]) -> None:
    """One of ten workers comes, at each announcement, or a backlog of thousands would outweigh it for ever."""
    home = replace(HOME, queued=5000, oldest_wait_seconds=600.0, workers=10, idle=0)
    there = replace(THERE, queued=1, **alone)  # type: ignore[arg-type]  # fields by name
    served = replace(BUSY, taken=1)
    for draw, comes in ((0.09, True), (0.11, False)):
        assert at_home(home, BUSY).heard(there, served, 0.0, draw) == comes
    calm = replace(THERE, queued=1)
    assert not at_home(home, BUSY).heard(calm, served, 0.0, SURE)


def test_a_worker_that_offers_nothing_stays() -> None:
    """Its ComfyUI is down, or it leaves: it would be of no use there."""
    assert not moves(HOME, THERE, replace(IDLE, offers=False))


def test_an_old_announcement_counts_no_more() -> None:
    """Its dispatcher has died, and what it had is another's by now."""
    attachment = at_home()
    assert not attachment.heard(THERE, IDLE, FRESH_SECONDS, SURE)


def test_a_worker_without_a_dispatcher_stays_for_a_session_and_then_goes_to_one() -> None:
    """Its partition may be assigned anew before that; after it, whoever announces any will do."""
    attachment = at_home()
    calm = replace(THERE, queued=0)
    assert not attachment.heard(calm, IDLE, SESSION_SECONDS - 0.1, SURE)
    assert attachment.heard(calm, IDLE, SESSION_SECONDS, 0.5)
    assert attachment.here == 4


def test_a_partition_that_was_assigned_anew_is_the_new_owners() -> None:
    """The worker need not move, and is at home there."""
    attachment = at_home()
    heir = replace(HOME, dispatcher_id="heir", partitions=[1, 9])
    assert not attachment.heard(heir, IDLE, SESSION_SECONDS, SURE)
    assert not attachment.heard(replace(THERE, queued=0), IDLE, SESSION_SECONDS + 1, SURE)


def test_a_dispatcher_that_owns_nothing_is_no_place_to_go() -> None:
    """Between its start and its assignment."""
    assert not moves(HOME, replace(THERE, partitions=[]))
    orphan = Attachment(1, 0.0, session_seconds=SESSION_SECONDS)
    assert not orphan.heard(replace(THERE, partitions=[]), IDLE, SESSION_SECONDS + 1, SURE)


numbers = st.integers(-(2**31), 2**31 - 1)
backlogs = st.builds(
    BacklogReported,
    dispatcher_id=st.sampled_from("abc"),
    reported_at=st.just(HOME.reported_at),
    partitions=st.lists(st.integers(0, 11), max_size=3),
    queued=numbers,
    oldest_wait_seconds=st.floats(),
    workers=numbers,
    idle=numbers,
    checkpoints=st.dictionaries(st.sampled_from(["", "sdxl"]), numbers),
)


@given(st.lists(st.tuples(backlogs, st.floats(0, 5), st.floats(0, 1, exclude_max=True)), max_size=12))
def test_no_announcement_leads_a_worker_astray(heard: list[tuple[BacklogReported, float, float]]) -> None:
    """Whatever numbers it holds, the worker reports in its own first partition or in one that was announced."""
    attachment, now = Attachment(1, 0.0, session_seconds=SESSION_SECONDS), 0.0
    known = {1}
    for news, passed, draw in heard:
        now += passed
        known |= set(news.partitions)
        attachment.heard(news, replace(IDLE, checkpoints=("sdxl",)), now, draw)
        assert attachment.here in known


UNEVEN, ONE_SIDED, EVEN = (0.7, 0.2, 0.08, 0.02), (1.0, 0.0, 0.0, 0.0), (0.25, 0.25, 0.25, 0.25)


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize(
    ("shares", "load", "workers", "mean"),
    [
        (UNEVEN, 0.9, 20, 8.0),
        (UNEVEN, 1.5, 8, 8.0),
        (UNEVEN, 0.9, 8, 0.5),
        (ONE_SIDED, 1.5, 20, 8.0),
        (EVEN, 1.2, 8, 8.0),
    ],
)
def test_four_dispatchers_keep_the_gpus_as_busy_as_one_does(
    shares: tuple[float, ...], load: float, workers: int, mean: float, prompt: bool
) -> None:
    """Within 5 %, however unevenly their users ask, in runs of seconds or of half a second, over five minutes."""
    requests = traffic(shares, rate=load * workers / mean, seconds=300.0, mean=mean)
    one = Fleet(1, workers, prompt=prompt).run(requests, 300.0)
    four = Fleet(4, workers, prompt=prompt).run(requests, 300.0)
    assert one > 0.8  # else there would be nothing to lose
    assert four >= 0.95 * one


@pytest.mark.parametrize("workers", [2, 8])
def test_no_request_waits_for_ever_beside_a_flood(workers: int) -> None:
    """Three dispatchers get a request now and then, the fourth thousands at once: nobody is forgotten."""
    flood = [Request(number * 1e-4, 0, 8.0) for number in range(3000)]
    others = [Request(30.0 + 47.0 * turn + 13.0 * n, n, 8.0) for turn in range(12) for n in (1, 2, 3)]
    fleet = Fleet(4, workers)
    assert fleet.run([*flood, *others], 700.0) > 0.98
    assert max(fleet.waits[request] for request in others) < 30.0


def test_two_workers_serve_four_dispatchers_in_turn() -> None:
    """Each has more than both could do, for ten minutes."""
    requests = [Request(number * 0.5, number % 4, 8.0) for number in range(1200)]
    fleet = Fleet(4, 2)
    assert fleet.run(requests, 600.0) > 0.98
    served = [sum(request.dispatcher == n for request in fleet.waits) for n in range(4)]
    assert min(served) > 0.5 * max(served)
