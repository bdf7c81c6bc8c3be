"""What the client makes of ComfyUI's events, replayed from hand-made frames in the shapes of a real server's."""

from __future__ import annotations

import json

import pytest

from services.contracts.events import Phase
from services.gpu_worker.adapters.comfyui_events import OutputFile, PromptView, choose_files
from services.gpu_worker.ports import Interrupted, NodeFailed
from tests.fakes import replayed_frames
from tests.fakes.graphs import text_graph

IMAGES = [OutputFile(f"job_0000{n}_.png", "distillery", "output") for n in (1, 2)]


def replayed(name: str, prompt_id: str) -> list[str | bytes]:
    """A recording that nothing breaks."""
    return [frame for frame in replayed_frames.replayed(name, prompt_id) if frame is not None]


def view_of(name: str) -> PromptView:
    """What a recording leaves behind."""
    view = PromptView("mine", text_graph(steps=4))
    for frame in replayed(name, "mine"):
        view.feed(frame)
    return view


@pytest.mark.parametrize("name", ["happy", "cached", "reconnected", "noisy"])
def test_a_success_is_seen_with_its_files(name: str) -> None:
    """Also from the cache, on a new socket, and among other clients' events."""
    view = view_of(name)
    assert (view.succeeded, view.error, view.files) == (True, None, IMAGES)


def test_the_end_is_the_success_event_and_not_the_empty_node() -> None:
    """``executing`` without a node has come 0.6 s after the success: nobody waits for it."""
    view = PromptView("mine", text_graph(steps=4))
    ended_at = []
    for frame in replayed("happy", "mine"):
        view.feed(frame)
        ended_at += [frame] if view.ended else []
    assert "execution_success" in str(ended_at[0])


def test_f10_a_node_error_is_a_failure_with_its_cause() -> None:
    """The original looked for the empty node alone, and so took a failure for an end."""
    error = view_of("node_error").error
    assert isinstance(error, NodeFailed)
    assert error.detail.startswith("KSampler 3 raised RuntimeError: mat1 and mat2 shapes")


def test_f4_tracebacks_inputs_and_further_lines_are_dropped() -> None:
    """They hold server paths and the prompt, which belong neither in a reply nor in a log."""
    error = view_of("node_error").error
    assert error is not None
    for leak in ("/srv", "line 496", "private wish"):
        assert leak not in f"{error} {error.detail} {error.sentence}"


def test_f10_an_interruption_is_not_an_error_of_the_job() -> None:
    """It has an event of its own, and is its own failure."""
    assert isinstance(view_of("interrupted").error, Interrupted)


def test_progress_counts_steps_and_what_was_cached() -> None:
    """A sampler weighs as much as its steps: 4 of them, and 6 other nodes, of which 2 were cached."""
    view = PromptView("mine", text_graph(steps=4))
    seen = []
    for frame in replayed("happy", "mine"):
        view.feed(frame)
        seen.append((view.phase, view.percent))
    told = list(dict.fromkeys(seen))
    assert told[:6] == [
        (Phase.STARTING, 0),
        (Phase.STARTING, 20),
        (Phase.STARTING, 30),
        (Phase.STARTING, 40),
        (Phase.RUNNING, 40),
        (Phase.RUNNING, 50),
    ]
    assert told[-1] == (Phase.RUNNING, 100)
    assert [percent for _, percent in seen] == sorted(percent for _, percent in seen)


def test_a_node_that_counts_twice_does_not_set_progress_back() -> None:
    """Some nodes go through their steps once for every tile."""
    view = PromptView("mine", text_graph(steps=4))
    seen = []
    for value in (1, 4, 1, 2):
        data = {"value": value, "max": 4, "node": "3", "prompt_id": "mine"}
        view.feed(json.dumps({"type": "progress", "data": data}))
        seen.append(view.percent)
    assert seen == [10, 40, 40, 40]


def test_frames_that_nobody_knows_are_counted_and_ignored() -> None:
    """Custom nodes send types of their own, and a broken frame is no reason to lose a job."""
    assert view_of("noisy").ignored == 5
    assert view_of("happy").ignored == 0


def test_leaving_a_prompt_unended_is_noticed() -> None:
    """ComfyUI says when it goes on: if the end was lost, the history has it then."""
    view = PromptView("mine", text_graph())
    for frame in replayed("happy", "mine"):
        if "execution_success" not in str(frame):
            view.feed(frame)
    assert (view.left, view.ended) == (True, False)


def test_a_history_entry_tells_what_was_missed() -> None:
    """Success with its files, or the failure: ``status_str`` alone does not tell an interruption from an error."""
    outputs = {"9": {"images": [image._asdict() for image in IMAGES]}}
    good = PromptView("mine", text_graph())
    good.take_history({"outputs": outputs, "status": {"status_str": "success", "completed": True}})
    assert (good.succeeded, good.files) == (True, IMAGES)
    bad = PromptView("mine", text_graph())
    messages = [["execution_start", {}], ["execution_interrupted", {"node_id": "3", "node_type": "KSampler"}]]
    bad.take_history(
        {"outputs": {}, "status": {"status_str": "error", "completed": False, "messages": messages}}
    )
    assert isinstance(bad.error, Interrupted)


def test_saved_images_win_over_previewed_ones() -> None:
    """A preview counts only where nothing was saved."""
    saved, shown = OutputFile("a.png", "", "output"), OutputFile("b.png", "", "temp")
    assert choose_files([shown, saved]) == [saved]
    assert choose_files([shown]) == [shown]
