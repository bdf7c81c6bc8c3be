"""Reads GenTD26, a public record of 26,823 requests to a production image service (Alibaba, November 2024).

A request is a row with a run time and a checkpoint; failed ones took GPU time too and count, pending ones did not.
Only arrival, user, run time and checkpoint are kept, the last three as they are: pseudonyms and numbers.

``exec_time_seconds`` is taken as the run on a warm GPU, without the checkpoint's load.  `cold_start_seconds` is the
check: in the record's first half, requests whose checkpoint nobody had used for three hours ran 22 s at the median,
those whose checkpoint had been used within the last minute 20 s, while a load is known to take 22.7 s.
What LoRAs cost stays in the run time: rows say how many were used and not which.
A run hardly depends on the number of images (19 s for one, 24 s for eight, at 30 steps), so a request is one job.
"""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from tests.simulate.trace import Request, Trace, a_trace

_LONG_UNUSED = 3 * 3600.0  #: seconds after which a checkpoint is taken to be in nobody's memory
_LATELY = 60.0  #: seconds within which it is taken to be in somebody's


class UnreadableTraffic(ValueError):
    """The file is not GenTD26."""


def read(path: Path, seed: int) -> Trace:
    """The requests of a ``.csv`` or ``.csv.gz`` file.

    Raises:
        UnreadableTraffic: a column is missing, a value is no number or date, or no row is a request.
    """
    try:
        with _opened(path) as lines:
            rows = [_request(number, row) for number, row in enumerate(csv.DictReader(lines)) if _ran(row)]
    except (KeyError, ValueError, TypeError) as error:
        raise UnreadableTraffic(
            f"{path.name} is no GenTD26 table ({error!r}); nothing was measured."
        ) from error
    if len(rows) < 2:
        raise UnreadableTraffic(
            f"{path.name} holds {len(rows)} requests, expected 2 or more; nothing was measured."
        )
    return a_trace(rows, seed)


def cold_start_seconds(trace: Trace) -> tuple[float, float]:
    """Median run time where the checkpoint was unused for hours, and where it was used within the last minute.

    Were loads part of the run times, the first would exceed the second by a load.  On the trace's own clock, so
    before `compressed`.  NaN where there is no such request.
    """
    last: dict[str, float] = {}
    cold, warm = [], []
    for request in trace.requests:
        unused = request.at - last.get(request.checkpoint, float("-inf"))
        if unused > _LONG_UNUSED:
            cold.append(request.run)
        elif unused < _LATELY:
            warm.append(request.run)
        last[request.checkpoint] = request.at
    return _median(cold), _median(warm)


def _opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _ran(row: dict[str, str]) -> bool:
    return float(row["exec_time_seconds"]) > 0 and row["checkpoint_model_version_id"] != ""


def _request(number: int, row: dict[str, str]) -> Request:
    return Request(
        id=f"r{number}",
        user=row["groupId"],
        at=datetime.fromisoformat(row["gmt_create"]).replace(tzinfo=UTC).timestamp(),
        run=float(row["exec_time_seconds"]),
        checkpoint=row["checkpoint_model_version_id"],
    )


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else float("nan")
