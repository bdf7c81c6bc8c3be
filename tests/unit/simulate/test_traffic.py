"""Traffic for the simulation: read, made up, compressed and overlaid."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.simulate import gentd26, synthetic
from tests.simulate.trace import Request, a_trace, compressed, load_seconds, overlaid, top_share

HEADER = "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,checkpoint_model_version_id\n"
ROWS = (
    "2024-11-15 16:58:00,TXT_2_IMG,SUCCEED,20.0,G2,C1\n"
    "2024-11-15 16:57:50,TXT_2_IMG,FAILED,3.0,G1,C2\n"
    "2024-11-15 16:58:10,TXT_2_IMG,PENDING,0.0,G1,\n"
)


def test_a_record_is_read_in_order_of_arrival_without_what_never_ran(tmp_path: Path) -> None:
    """A failed run took GPU time and counts; a pending one did not."""
    path = tmp_path / "traffic.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROWS).encode()))
    trace = gentd26.read(path, seed=1)
    assert [(r.user, r.run, r.checkpoint) for r in trace.requests] == [("G1", 3.0, "C2"), ("G2", 20.0, "C1")]
    assert trace.span == 10.0


@pytest.mark.parametrize("text", ["a,b\n1,2\n", HEADER, HEADER + ROWS.replace("20.0", "soon")])
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """A missing column, no rows and a run time that is no number each give one sentence."""
    path = tmp_path / "other.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(gentd26.UnreadableTraffic, match=r"other\.csv .*nothing was measured"):
        gentd26.read(path, seed=1)


def test_a_load_in_the_run_times_would_show_in_the_check() -> None:
    """The check compares a checkpoint's first use after hours with its use within a minute."""
    hours = [_request(n, at=n * 4 * 3600.0, run=40.0) for n in range(5)]
    minutes = [_request(n + 5, at=hours[n].at + 30.0, run=20.0) for n in range(5)]
    assert gentd26.cold_start_seconds(a_trace([*hours, *minutes], seed=1)) == (40.0, 20.0)


def test_compression_gives_the_load_asked_for_and_keeps_the_order() -> None:
    """Runs alone take the given share of the workers' time between the first and the last arrival."""
    trace = synthetic.generate(3, requests=300)
    busy = compressed(trace, workers=7, load=1.3)
    assert busy.work / (7 * busy.span) == pytest.approx(1.3)
    assert [r.id for r in busy.requests] == [r.id for r in trace.requests]
    assert busy.requests[0].at == 0.0


def test_overlaid_copies_share_checkpoints_and_no_users() -> None:
    """Four communities make four times the work in the same time, with their own users."""
    trace = synthetic.generate(3, requests=200)
    four = overlaid(trace, 4)
    assert four.work == pytest.approx(4 * trace.work)
    assert four.span <= trace.span
    assert len({r.id for r in four.requests}) == 800
    assert len({r.user for r in four.requests}) == 4 * len({r.user for r in trace.requests})
    assert {r.checkpoint for r in four.requests} == set(four.loads)


def test_the_synthetic_trace_is_the_same_for_the_same_seed_only() -> None:
    """A seed repeats a run."""
    assert synthetic.generate(5, requests=100) == synthetic.generate(5, requests=100)
    assert synthetic.generate(5, requests=100) != synthetic.generate(6, requests=100)


def test_the_synthetic_trace_has_the_statistics_that_it_names() -> None:
    """Run times, checkpoint shares, loads and heavy users are near those of the record it stands for."""
    trace = synthetic.generate(1)
    runs = sorted(request.run for request in trace.requests)
    assert runs[len(runs) // 2] == pytest.approx(23, rel=0.05)
    assert runs[len(runs) * 99 // 100] == pytest.approx(106, rel=0.1)
    assert top_share((r.checkpoint for r in trace.requests), 5) == pytest.approx(0.70, abs=0.03)
    users = {r.user for r in trace.requests}
    assert 0.15 < top_share((r.user for r in trace.requests), len(users) // 100) < 0.35
    loads = sorted(trace.loads.values())
    assert loads[len(loads) // 2] == pytest.approx(22.7, rel=0.15)


def test_a_checkpoint_takes_as_long_to_load_whoever_asks() -> None:
    """A load time depends on the checkpoint and the seed, not on the order of draws."""
    assert load_seconds("a", 1) == load_seconds("a", 1)
    assert load_seconds("a", 1) != load_seconds("b", 1)


def _request(number: int, *, at: float, run: float) -> Request:
    return Request(id=f"r{number}", user="u", at=at, run=run, checkpoint="c")
