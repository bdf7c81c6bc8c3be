"""The worker as a process, between a broker and a loopback ComfyUI: what it draws, gives back, and never begins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from services.contracts.events import Outcome
from services.contracts.topics import CANCELLATIONS, COMPLETED, DISPATCHED, WORKERS
from services.sandbox.comfyui import SandboxSettings, serve_in_thread
from services.sandbox.comfyui.thread import SandboxThread
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StartStage
from tests.harness.waiting import eventually
from tests.integration.worker_rig import REPORT_SECONDS, SILENCE_SECONDS, WORKER, Rig
from tests.unit.gpu_worker.test_spot import Metadata

TOPICS = (CANCELLATIONS, COMPLETED, DISPATCHED, WORKERS)
StartRig = Callable[..., Rig]


def is_readable(kafka: KafkaCorner) -> bool:
    """Whether every partition has a leader, which a topic that was just made may lack."""
    try:
        return kafka.consume_all(TOPICS) == []
    except KafkaException:
        return False


@pytest.fixture
def comfyui() -> Iterator[SandboxThread]:
    """A quick loopback ComfyUI."""
    with serve_in_thread(SandboxSettings(step_seconds=0.001, image_seconds=0.0)) as served:
        yield served


@pytest.fixture
def start(
    chain_kafka: KafkaCorner, comfyui: SandboxThread, start_stage: StartStage, tmp_path: Path
) -> StartRig:
    """Start the worker, with further settings."""
    eventually(lambda: is_readable(chain_kafka), 20)

    def start_one(**settings: str) -> Rig:
        env = {
            "COMFYUI_URL": comfyui.url,
            "WORKER_ID": WORKER,
            "WORKER_REPORT_SECONDS": str(REPORT_SECONDS),
            "OBJECT_STORE_DIR": str(tmp_path / "objects"),
        }
        return Rig(chain_kafka, comfyui, start_stage("gpu_worker", env | settings))

    return start_one


def test_f1_a_jobs_offset_moves_when_its_end_is_told(start: StartRig) -> None:
    """And its images are in the store then."""
    rig = start()
    offer = rig.offer()
    rig.give("d1", offer)
    eventually(rig.completed, 20)
    eventually(lambda: rig.committed(offer.lanes[0]) == 1, 10)
    (end,) = rig.ends()
    assert (end.outcome, end.final, len(end.images), end.reused) == (Outcome.SUCCEEDED, True, 2, False)


def test_f1_another_attempt_of_what_is_stored_costs_no_gpu(start: StartRig) -> None:
    """Its worker died, for instance, between storing and telling."""
    rig = start()
    offer = rig.offer()
    request = rig.give("d1", offer)
    eventually(lambda: len(rig.ends()) == 1, 20)
    rig.give("d2", offer, request_id=request, attempt=2)
    eventually(lambda: len(rig.ends()) == 2, 20)
    first, second = rig.ends()
    assert (second.dispatch_id, second.reused, second.images) == ("d2", True, first.images)
    assert rig.ran() == ["d1"]


def test_a_worker_that_was_stopped_begins_nothing_that_was_given_to_another(start: StartRig) -> None:
    """A zombie: it tells of its running job late, under the old dispatch id, and is another worker from then on."""
    rig = start()
    old = rig.offer()
    rig.give("running", old, hangs=True)
    rig.give("held", old)
    rig.holds("running", "held")
    rig.process.pause()
    rig.give("on its lane", old)
    stopped_at = time.monotonic()
    eventually(lambda: time.monotonic() - stopped_at > 2 * SILENCE_SECONDS)
    rig.process.resume()
    eventually(lambda: rig.reports()[-1].incarnation != old.incarnation, 20)
    rig.comfyui.release()
    new = eventually(lambda: r if (r := rig.offer()).incarnation != old.incarnation else None, 20)
    rig.give("new", new)
    eventually(lambda: ("new", Outcome.SUCCEEDED) in rig.completed(), 20)
    assert rig.completed() == [("running", Outcome.SUCCEEDED), ("new", Outcome.SUCCEEDED)]
    assert rig.ran() == ["running", "new"]
    eventually(lambda: rig.committed(old.lanes[0]) + rig.committed(new.lanes[0]) >= 4, 10)


def test_sigterm_lets_the_running_job_end_and_gives_the_held_one_back(start: StartRig) -> None:
    """Then the worker says that it is gone."""
    rig = start()
    offer = rig.offer()
    rig.give("running", offer, hangs=True)
    rig.give("held", offer)
    rig.holds("running", "held")
    os.kill(rig.process.pid, signal.SIGTERM)
    rig.holds("running")
    assert rig.reports()[-1].draining
    rig.comfyui.release()
    eventually(lambda: rig.process.exit_code() == 0, 20)
    assert rig.completed() == [("running", Outcome.SUCCEEDED)]
    assert rig.committed(offer.lanes[0]) == 1
    assert rig.is_gone()


def test_sigterm_gives_back_what_outlasts_the_grace(start: StartRig) -> None:
    """Interrupted, so that ComfyUI is free, not told, and not committed."""
    rig = start(WORKER_GRACE_SECONDS="0.5")
    offer = rig.offer()
    rig.give("running", offer, hangs=True)
    rig.holds("running")
    eventually(lambda: rig.ran() == ["running"], 20)
    assert rig.process.stop() == 0
    assert [run.outcome for run in rig.comfyui.runs()] == ["interrupted"]
    assert rig.completed() == []
    assert rig.committed(offer.lanes[0]) == 0
    assert rig.is_gone()


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    """An instance's metadata service."""
    served = Metadata()
    yield served
    served.close()


@pytest.mark.parametrize("by_signal", [True, False], ids=["signal", "metadata"])
def test_a_spot_notice_gives_everything_back_at_once(
    start: StartRig, metadata: Metadata, by_signal: bool
) -> None:
    """The process stays, idle, until it is ended."""
    rig = start(WORKER_GRACE_SECONDS="3600", WORKER_SPOT_NOTICE_URL=metadata.url)
    offer = rig.offer()
    rig.give("running", offer, hangs=True)
    rig.holds("running")
    eventually(lambda: rig.ran() == ["running"], 20)
    if by_signal:
        os.kill(rig.process.pid, signal.SIGUSR1)
    else:
        metadata.status = 200
    eventually(rig.is_gone, 10)
    assert [run.outcome for run in rig.comfyui.runs()] == ["interrupted"]
    assert rig.completed() == []
    assert rig.process.exit_code() is None
    assert rig.process.get("/readyz")[0] == 503
    assert rig.process.get("/healthz")[0] == 200
    assert rig.process.stop() == 0


def test_a_request_is_taken_back_wherever_its_job_is(start: StartRig) -> None:
    """On the GPU, behind it, or still on its way: each ends as cancelled, and costs nothing further."""
    rig = start()
    offer = rig.offer()
    rig.cancel("request of late")
    rig.give("running", offer, hangs=True)
    rig.give("held", offer)
    rig.give("not mine", offer)
    rig.holds("running", "held", "not mine")
    rig.cancel("request of not mine", user_id="999")
    rig.cancel("request of held")
    eventually(lambda: rig.completed() == [("held", Outcome.CANCELLED)], 20)
    rig.give("late", offer)
    eventually(lambda: ("late", Outcome.CANCELLED) in rig.completed(), 20)
    rig.cancel("request of running")
    eventually(lambda: len(rig.completed()) == 4, 20)
    assert dict(rig.completed()) == {
        "held": Outcome.CANCELLED,
        "late": Outcome.CANCELLED,
        "running": Outcome.CANCELLED,
        "not mine": Outcome.SUCCEEDED,
    }
    assert all(end.final for end in rig.ends())
    assert rig.ran() == ["running", "not mine"]
    eventually(lambda: rig.committed(offer.lanes[0]) == 4, 10)


def test_a_comfyui_that_is_back_after_its_death_gets_the_next_job(
    start: StartRig, comfyui: SandboxThread
) -> None:
    """Meanwhile the worker offers nothing."""
    rig = start()
    offer = rig.offer()
    comfyui.die()
    rig.give("d1", offer)
    eventually(lambda: rig.completed() == [("d1", Outcome.FAILED)], 20)
    eventually(lambda: rig.reports()[-1].slots == 0, 10)
    comfyui.start()
    eventually(lambda: rig.reports()[-1].slots == 1, 20)
    rig.give("d2", offer)
    eventually(lambda: ("d2", Outcome.SUCCEEDED) in rig.completed(), 20)
