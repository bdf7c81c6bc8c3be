"""The record of every posted job, for benchmarks and for checks that nothing ran twice."""

from __future__ import annotations

import time
from collections import Counter, deque
from pathlib import Path

import msgspec


class Run(msgspec.Struct, kw_only=True):
    """One accepted POST /prompt.  ``*_at`` are seconds since 1970, ``*_monotonic`` of this machine's clock."""

    prompt_id: str
    client_id: str | None
    number: float
    posted_at: float
    posted_monotonic: float
    started_monotonic: float | None = None
    succeeded_at: float | None = None  #: when the success event was sent
    succeeded_monotonic: float | None = None
    finished_monotonic: float | None = None
    outcome: str = "pending"  #: pending, running, success, error, interrupted or deleted
    cached: bool = False  #: every node was answered from the cache
    images: int = 0


class RunLog:
    """The last runs in the order in which they were posted, and counters of everything."""

    def __init__(self, kept: int = 100_000, journal: str = "") -> None:
        """``journal`` names a file that outlives the server: a line of JSON for each run, as it starts."""
        self._runs: deque[Run] = deque(maxlen=kept)
        self._journal = Path(journal) if journal else None
        self.counters: Counter[str] = Counter()

    def posted(self, prompt_id: str, client_id: str | None, number: float, monotonic: float) -> Run:
        """Note an accepted job; ``monotonic`` is when its request arrived."""
        at = time.time() - (time.monotonic() - monotonic)
        run = Run(
            prompt_id=prompt_id, client_id=client_id, number=number, posted_at=at, posted_monotonic=monotonic
        )
        self._runs.append(run)
        self.counters["posted"] += 1
        return run

    def started(self, run: Run) -> None:
        """Note that it is on the GPU."""
        run.started_monotonic = time.monotonic()
        run.outcome = "running"
        self.counters["started"] += 1
        if self._journal is not None:
            with self._journal.open("ab") as out:
                out.write(msgspec.json.encode(run) + b"\n")

    def succeeded(self, run: Run) -> None:
        """Note that its success event goes out now."""
        run.succeeded_at = time.time()
        run.succeeded_monotonic = time.monotonic()

    def finished(self, run: Run, outcome: str) -> None:
        """Note its end."""
        run.finished_monotonic = time.monotonic()
        run.outcome = outcome
        self.counters[outcome] += 1

    def runs(self) -> list[Run]:
        """Every run kept, oldest first."""
        return list(self._runs)

    def clear(self) -> None:
        """Forget every run and counter."""
        self._runs.clear()
        self.counters.clear()
