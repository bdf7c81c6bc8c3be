"""What one dispatch costs to decide: 10,000 queued requests, 1,000 workers, beside a plain first-in-first-out queue.

No broker and no clock: the pure core alone, with the state kept as the shell keeps it.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from services.contracts.events import GenerationRequested, WorkerReported
from services.dispatcher import decide
from services.dispatcher.actions import Action, Record
from services.dispatcher.state import State
from tests.unit.dispatcher.world import NOON, a_request

QUEUED = 10_000
WORKERS = 1_000
USERS = 2_000
CHECKPOINTS = [f"model-{number}" for number in range(86)]
#: Zipf's weights: the first five take about 70 % of production's requests.
WEIGHTS = [1 / (rank + 1) ** 1.6 for rank in range(len(CHECKPOINTS))]


def measure() -> dict[str, float]:
    """Microseconds of CPU of a decision in the mean and at the 99th percentile, and of a plain queue's."""
    state = full_state(random.Random(1))  # noqa: S311 - made-up traffic, the same in every run
    times = sorted(_timed_decisions(state, 5_000))
    fifo = sorted(_timed_fifo(5_000))
    return {
        "decision_mean_us": round(sum(times) / len(times) * 1e6, 1),
        "decision_p99_us": round(times[len(times) * 99 // 100] * 1e6, 1),
        "fifo_decision_mean_us": round(sum(fifo) / len(fifo) * 1e6, 2),
    }


def full_state(rng: random.Random) -> State:
    """Every worker runs one job and holds another; 10,000 requests of 2,000 users wait."""
    state = State()
    state.own({0})
    for number in range(WORKERS):
        state.reported(_report(number, rng), 0, NOON)
    for number in range(QUEUED + 2 * WORKERS):
        state.record(decide.new_record(_request(number, rng), NOON), 0)
    while actions := decide.schedule(state, NOON):
        _perform(state, actions)
    return state


def _timed_decisions(state: State, count: int) -> Iterator[float]:
    """A worker's job ends, and the place it leaves is filled; the filling is what is timed."""
    rng = random.Random(2)  # noqa: S311 - made-up traffic, the same in every run
    now, serial = NOON, QUEUED + 2 * WORKERS
    for _ in range(count):
        now += timedelta(milliseconds=30)
        worker = rng.choice(list(state.held))
        _perform(state, [decide.finished(state.given_to(worker)[0], now)])
        serial += 1
        state.record(decide.new_record(_request(serial, rng), now), 0)
        for known in state.workers.values():
            known.seen_at = now
        started = time.thread_time()
        actions = decide.schedule(state, now)
        yield time.thread_time() - started
        _perform(state, actions)


def _timed_fifo(count: int) -> Iterator[float]:
    queue = deque(range(QUEUED))
    for number in range(count):
        queue.append(number)
        started = time.thread_time()
        queue.popleft()
        yield time.thread_time() - started


def _perform(state: State, actions: list[Action]) -> None:
    for action in actions:
        if isinstance(action, Record):
            state.record(action.record, action.partition)


def _report(number: int, rng: random.Random) -> WorkerReported:
    return WorkerReported(
        worker_id=f"w{number}",
        incarnation="i1",
        sequence=1,
        reported_at=NOON,
        lanes=[number],
        slots=1,
        held_limit=1,
        checkpoints=CHECKPOINTS,
        loaded=rng.choices(CHECKPOINTS, WEIGHTS),
    )


def _request(number: int, rng: random.Random) -> GenerationRequested:
    made = a_request(str(number), at=NOON, checkpoints=tuple(rng.choices(CHECKPOINTS, WEIGHTS)))
    reply_to = replace(made.reply_to, user_id=f"u{rng.randrange(USERS)}")
    return replace(made, reply_to=reply_to)
