"""A slot: which jobs it begins, and what it sees to before the next one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.chassis.settings import SettingsError
from services.contracts.events import Outcome
from services.gpu_worker.ports import (
    CheckpointMissing,
    ComfyUIDied,
    DiskFull,
    NodeFailed,
    OutOfMemory,
    RenderError,
)
from services.gpu_worker.warm_up import WarmUp, open_warm_up
from tests.fakes.graphs import text_graph
from tests.fakes.renderer import FakeRenderer
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.lives import Life

StartLife = Callable[..., Life]


@pytest.fixture
def start() -> Iterator[StartLife]:
    """Start workers, which end with the test."""
    started: list[Life] = []

    def start_one(renderer: FakeRenderer, **options: object) -> Life:
        started.append(Life(renderer, **options))  # type: ignore[arg-type]  # what the test names
        return started[-1]

    yield start_one
    for life in started:
        life.stop()


def test_f1_a_crash_is_told_before_the_job_counts_as_done(start: StartLife) -> None:
    """While the broker is away it is sent again; dropped, the request would hang until its worker is missed."""
    renderer = FakeRenderer()
    renderer.break_next()
    life = start(renderer)
    life.outbox.failures = 2
    job = life.give()
    eventually(lambda: life.lanes.passed)
    assert life.lanes.passed == [job]
    (event,) = life.outbox.completed
    assert event.error is not None
    assert (event.outcome, event.error.code) == (Outcome.FAILED, "internal_error")


def test_a_process_that_was_stopped_begins_no_job_that_it_held(start: StartLife) -> None:
    """It was silent for longer than a worker may be: the job was given to another, and is void here."""
    renderer = FakeRenderer()
    renderer.hang_next(until_told=True)
    life = start(renderer)
    life.give(dispatch_id="running")
    eventually(lambda: renderer.ran)
    held = life.give(dispatch_id="held")
    life.stopped_for = 60.0
    renderer.go_on()
    eventually(lambda: held in life.lanes.passed)
    eventually(lambda: life.holdings.idle())
    assert [job.prompt_id for job in renderer.ran] == ["running"]
    assert life.outcomes() == [
        ("running", Outcome.SUCCEEDED)
    ]  # it carries its dispatch id, so it is known for late


def test_a_worker_that_started_over_gives_back_what_waits_whoever_notices(start: StartLife) -> None:
    """The next report must not name it, though the slot is still busy with another job."""
    renderer = FakeRenderer()
    renderer.hang_next(until_told=True)
    life = start(renderer)
    life.give(dispatch_id="running")
    eventually(lambda: renderer.ran)
    held = life.give(dispatch_id="held")
    life.stopped_for = 60.0
    life.lease.identity()
    assert [job.dispatch_id for job in life.holdings.reported()] == ["running"]
    assert life.lanes.passed == [held]
    renderer.go_on()


def test_a_worker_that_started_over_runs_what_is_sent_to_its_new_life(start: StartLife) -> None:
    """It is well, and known again."""
    life = start(FakeRenderer())
    life.stopped_for = 60.0
    job = life.give(dispatch_id="new")
    eventually(lambda: life.lanes.passed == [job])
    assert life.outcomes() == [("new", Outcome.SUCCEEDED)]


@pytest.mark.parametrize(
    ("error", "restarted"),
    [(ComfyUIDied("gone"), ["comfyui_died"]), (NodeFailed("no"), []), (OutOfMemory("no"), [])],
    ids=["died", "node failed", "out of memory"],
)
def test_only_a_comfyui_that_is_lost_is_started_again(
    start: StartLife, error: RenderError, restarted: list[str]
) -> None:
    """Another failure leaves it well, and a restart would throw its models out of memory."""
    renderer = FakeRenderer()
    renderer.fail_next(error)
    life = start(renderer)
    life.give(dispatch_id="fails")
    job = life.give(dispatch_id="next")
    eventually(lambda: job in life.lanes.passed)
    assert life.restarts == restarted
    assert life.outcomes()[1] == ("next", Outcome.SUCCEEDED)


def test_no_slots_are_offered_while_comfyui_is_started_again(start: StartLife) -> None:
    """Jobs go to workers that draw."""
    renderer = FakeRenderer()
    renderer.fail_next(ComfyUIDied("gone"))
    life = start(renderer, restarts_well=False)
    eventually(lambda: life.availability.why_not() is None)
    life.give()
    eventually(lambda: life.availability.why_not() is not None)
    eventually(lambda: life.restarts)
    assert life.health.readiness() is not None
    renderer.alive = True
    eventually(lambda: life.availability.why_not() is None)


def test_a_missing_model_has_the_models_listed_anew(start: StartLife) -> None:
    """No further job for it comes here."""
    renderer = FakeRenderer()
    renderer.fail_next(CheckpointMissing("no such file"))
    life = start(renderer)
    life.give()
    eventually(lambda: "relisted" in life.reporter.said)


def test_a_worker_with_a_full_disk_offers_nothing_for_a_while(start: StartLife) -> None:
    """The next job would fail as well."""
    renderer = FakeRenderer()
    renderer.fail_next(DiskFull("no space left"))
    life = start(renderer)
    life.give()
    eventually(lambda: life.availability.why_not() == "ComfyUI has found its disk full")


@pytest.mark.parametrize("error", [None, NodeFailed("no")], ids=["drawn", "failed"])
def test_what_a_job_left_in_comfyuis_folders_is_deleted(
    start: StartLife, tmp_path: Path, error: RenderError | None
) -> None:
    """The images are in the object store, or of no use."""
    left = tmp_path / "distillery" / "d7_00001_.png"
    left.parent.mkdir()
    left.write_bytes(b"an image")
    renderer = FakeRenderer()
    if error is not None:
        renderer.fail_next(error)
    life = start(renderer, folders=[tmp_path])
    life.give(dispatch_id="d7")
    eventually(lambda: not left.exists())


def test_a_warm_up_is_run_before_slots_are_offered(start: StartLife) -> None:
    """The first job finds its models loaded."""
    renderer = FakeRenderer()
    renderer.hang_next(until_told=True)
    life = start(renderer, warm_up=WarmUp(json.dumps(text_graph()), 30.0))
    eventually(lambda: renderer.ran)
    assert life.availability.why_not() is not None
    renderer.go_on()
    eventually(lambda: life.availability.why_not() is None)
    assert renderer.loaded() != ()


def test_a_comfyui_that_died_between_jobs_is_warmed_up_again(start: StartLife) -> None:
    """No job tells of it, and a job that comes meanwhile waits for a ComfyUI that is well."""
    renderer = FakeRenderer()
    life = start(renderer, warm_up=WarmUp(json.dumps(text_graph()), 30.0))
    eventually(lambda: life.availability.why_not() is None)
    renderer.alive = False
    life.slot.cool()
    assert life.availability.why_not() is not None
    job = life.give("d1")
    renderer.alive = True
    eventually(lambda: job in life.lanes.passed)
    assert [run.prompt_id.partition("-")[0] for run in renderer.ran] == ["warm", "warm", "d1"]
    assert life.outcomes() == [("d1", Outcome.SUCCEEDED)]


def test_a_worker_whose_comfyui_is_gone_can_still_leave(start: StartLife) -> None:
    """It waits for no restart."""
    renderer = FakeRenderer()
    life = start(renderer)
    eventually(lambda: life.availability.why_not() is None)
    renderer.alive = False
    life.slot.cool()
    life.stop()
    assert life.reporter.said[-1] == "gone"


def test_a_comfyui_that_dies_of_the_warm_up_is_started_again_and_warmed_up(start: StartLife) -> None:
    """Slots are offered once it has survived one."""
    renderer = FakeRenderer()
    renderer.fail_next(ComfyUIDied("gone"))
    life = start(renderer, warm_up=WarmUp(json.dumps(text_graph()), 30.0))
    eventually(lambda: life.availability.why_not() is None)
    assert (life.restarts, len(renderer.ran)) == (["comfyui_died"], 2)


def test_a_warm_up_that_fails_of_itself_keeps_nobody_from_working(start: StartLife) -> None:
    """The workflow is wrong, or a model is missing: jobs for other models are fine."""
    renderer = FakeRenderer()
    renderer.fail_next(NodeFailed("no"))
    life = start(renderer, warm_up=WarmUp(json.dumps(text_graph()), 30.0))
    eventually(lambda: life.availability.why_not() is None)
    assert life.restarts == []


def test_two_warm_ups_are_not_answered_from_the_cache() -> None:
    """ComfyUI would load nothing for an identical graph."""
    warm_up, renderer = WarmUp(json.dumps(text_graph()), 30.0), FakeRenderer()
    ids = {warm_up.run(renderer)[1] for _ in range(2)}
    assert len(ids) == 2
    assert {job.filename_prefix for job in renderer.ran} == {f"distillery/{prompt_id}" for prompt_id in ids}


@pytest.mark.parametrize(
    ("graph", "complaint"),
    [
        ("", "truncated"),
        ("[]", "Expected `object`"),
        ("{}", "no SaveImage"),
        (json.dumps({"1": {"class_type": "KSampler", "inputs": {}}}), "no SaveImage"),
    ],
)
def test_what_is_no_workflow_is_no_warm_up(graph: str, complaint: str) -> None:
    """Said when the worker starts, not when its first job waits."""
    with pytest.raises(ValueError, match=complaint):
        WarmUp(graph, 30.0)


def test_a_warm_up_that_cannot_be_read_is_named_by_its_setting(tmp_path: Path) -> None:
    """The operator sees which setting is wrong."""
    with pytest.raises(SettingsError, match="WORKER_WARM_UP"):
        open_warm_up(str(tmp_path / "none.json"), 30.0)


def test_a_worker_without_a_warm_up_needs_none() -> None:
    """It is the default."""
    assert open_warm_up("", 30.0) is None
