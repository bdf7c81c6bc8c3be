"""One gpu_worker process on a broker and a loopback ComfyUI, with the test as its dispatcher."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, TypeVar

from services.chassis.clock import system_clock
from services.contracts.codec import Codec, decode
from services.contracts.events import (
    CancellationRequested,
    JobCompleted,
    JobSpec,
    Outcome,
    WorkerReported,
)
from services.contracts.topics import CANCELLATIONS, COMPLETED, DISPATCHED, WORKERS
from services.sandbox.comfyui import Fault, FaultKind
from services.sandbox.comfyui.thread import SandboxThread
from tests.fakes.graphs import TEXT_BINDINGS, text_graph
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess
from tests.harness.waiting import eventually
from tests.unit.gpu_worker.test_decide import JOB

E = TypeVar("E")
WORKER = "worker-1"
USER = JOB.reply_to.user_id
REPORT_SECONDS = 0.3
#: After so long a silence a worker is another one.
SILENCE_SECONDS = 3 * REPORT_SECONDS
_HANGS = "hang until released"


class Rig:
    """What the test says to the worker, and what it hears of it."""

    def __init__(self, kafka: KafkaCorner, comfyui: SandboxThread, process: StageProcess) -> None:
        self.kafka = kafka
        self.comfyui = comfyui
        self.process = process

    def reports(self) -> list[WorkerReported]:
        """Every report so far."""
        return self._events(WORKERS, WorkerReported)

    def completed(self) -> list[tuple[str, Outcome]]:
        """Every end so far, by dispatch id."""
        return [(event.dispatch_id or "", event.outcome) for event in self.ends()]

    def ends(self) -> list[JobCompleted]:
        """Every end so far."""
        return self._events(COMPLETED, JobCompleted)

    def is_gone(self) -> bool:
        """Whether the worker has said that it left."""
        return self.kafka.consume_all(WORKERS)[-1].value() is None

    def offer(self) -> WorkerReported:
        """Wait until it offers slots on a lane, and return that report."""
        return eventually(
            lambda: next((r for r in reversed(self.reports()) if r.slots and r.lanes), None),
            20,
            failing=self.process.log_tail,
        )

    def holds(self, *dispatch_ids: str) -> None:
        """Wait until it reports exactly these jobs."""
        wanted = list(dispatch_ids)
        eventually(lambda: [job.dispatch_id for job in self.reports()[-1].jobs] == wanted, 20)

    def ran(self) -> list[str]:
        """The dispatch ids that reached the GPU."""
        return [run.prompt_id for run in self.comfyui.runs() if run.started_monotonic is not None]

    def give(self, dispatch_id: str, to: WorkerReported, *, hangs: bool = False, **changes: Any) -> str:
        """Send a job of a request of its own to the worker that made the report; returns the request's id."""
        request_id = f"request of {dispatch_id}"
        if hangs:
            self.comfyui.arm(Fault(kind=FaultKind.HANG, text=_HANGS))
        job = replace(
            JOB,
            request_id=request_id,
            dispatch_id=dispatch_id,
            worker_id=to.worker_id,
            incarnation=to.incarnation,
            dispatched_at=system_clock(),
            deadline_at=system_clock().replace(year=system_clock().year + 1),
            job=a_spec(_HANGS if hangs else "a boat"),
        )
        job = replace(job, **changes)
        self.kafka.produce(DISPATCHED, Codec().encode(job), key=job.request_id, partition=to.lanes[0])
        return job.request_id

    def cancel(self, request_id: str, user_id: str = USER) -> None:
        """The user takes a request back."""
        event = CancellationRequested(request_id=request_id, user_id=user_id, requested_at=system_clock())
        self.kafka.produce(CANCELLATIONS, Codec().encode(event), key=user_id)

    def committed(self, lane: int) -> int:
        """The lane's committed offset; 0 where there is none."""
        return self.kafka.committed("gpu_worker", DISPATCHED).get(lane, 0)

    def _events(self, topic: str, kind: type[E]) -> list[E]:
        events = (
            decode(message.value() or b"") for message in self.kafka.consume_all(topic) if message.value()
        )
        return [event for event in events if isinstance(event, kind)]


def a_spec(prompt: str) -> JobSpec:
    """Two small images."""
    return JobSpec(
        workflow="sd15",
        workflow_version="1",
        graph=json.dumps(text_graph(prompt)),
        bindings=TEXT_BINDINGS,
        seed=41,
        images=2,
        parameters={"prompt": prompt},
    )
