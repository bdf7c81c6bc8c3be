"""What a worker does with a record of its lanes, and what its events look like.  Pure."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import (
    ErrorInfo,
    HeldJob,
    ImageRef,
    JobCompleted,
    JobDispatched,
    JobProgressed,
    Outcome,
    Phase,
    WorkerReported,
)
from services.gpu_worker.ports import (
    CheckpointMissing,
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    DiskFull,
    RendererInfo,
    RenderError,
)

_RESULTS = uuid.UUID("a3a5f6a2-8f55-5a3c-9a60-6b1c8c0f2f11")


class Verdict(StrEnum):
    """What becomes of a dispatched job."""

    RUN = "run"  #: It is ours and new.
    NOT_OURS = (
        "not_ours"  #: Addressed to another worker or to an earlier incarnation; the dispatcher has moved on.
    )
    REPEATED = "repeated"  #: We have or had it: the lane was read again after a rebalance.
    RELEASED = "released"  #: We are leaving; the dispatcher sees that we do not report it.


class Aftermath(StrEnum):
    """What a worker does after a failed job, before it takes the next; whether the job is tried again is not its own.

    What is not named needs nothing: ComfyUI itself frees the GPU's memory after it ran out, and a websocket that
    was lost is opened again within the job.
    """

    CARRY_ON = "carry_on"  #: The renderer is well.
    RESTART = "restart"  #: ComfyUI is dead or ignores interrupts: start it again, and offer nothing until it answers.
    RELIST = "relist"  #: A model file is missing: list them anew, so that no further job comes here for it.
    MAKE_ROOM = "make_room"  #: Its disk is full: delete leftovers, and offer nothing for a while.


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is."""

    worker_id: str
    incarnation: str


def judge(job: JobDispatched, me: Identity, seen: Collection[str], *, draining: bool) -> Verdict:
    """Whether to run ``job``; ``seen`` are the dispatch ids that this incarnation accepted before."""
    if (job.worker_id, job.incarnation) != (me.worker_id, me.incarnation):
        return Verdict.NOT_OURS
    if job.dispatch_id in seen:
        return Verdict.REPEATED
    return Verdict.RELEASED if draining else Verdict.RUN


def aftermath(error: RenderError | None) -> Aftermath:
    """What has to be seen to after a job that failed of ``error``, or of nothing."""
    match error:
        case ComfyUIDied() | ComfyUIUnreachable():
            return Aftermath.RESTART
        case DeadlineExceeded(stuck=True):
            return Aftermath.RESTART
        case CheckpointMissing():
            return Aftermath.RELIST
        case DiskFull():
            return Aftermath.MAKE_ROOM
        case _:
            return Aftermath.CARRY_ON


def result_prefix(job: JobDispatched) -> str:
    """Where the job's images lie: the same for every attempt, and without an id that Discord would know.

    Each part of a split request has its own place, within the request's.
    """
    day = job.requested_at.date().isoformat()
    request = f"images/{day}/{uuid.uuid5(_RESULTS, job.request_id)}"
    return f"{request}/{job.part}-of-{job.parts}" if job.part else request


def succeeded(
    job: JobDispatched, images: Sequence[ImageRef], now: datetime, *, gpu_seconds: float, reused: bool
) -> JobCompleted:
    """The attempt drew every image, or found them drawn; final, since nothing can better it.

    A part's success is not: the dispatcher, which has all the parts, ends the request.
    """
    final = job.part == 0
    return _completed(
        job, Outcome.SUCCEEDED, now, final=final, images=images, gpu_seconds=gpu_seconds, reused=reused
    )


def failed(job: JobDispatched, error: ErrorInfo, now: datetime, *, gpu_seconds: float = 0.0) -> JobCompleted:
    """The attempt failed; whether the request has is the dispatcher's decision."""
    return _completed(job, Outcome.FAILED, now, final=False, error=error, gpu_seconds=gpu_seconds)


def cancelled(job: JobDispatched, now: datetime, *, gpu_seconds: float = 0.0) -> JobCompleted:
    """Its user took the request back; final, since another attempt is not wanted either."""
    error = error_info(ErrorCode.CANCELLED)
    return _completed(job, Outcome.CANCELLED, now, final=True, error=error, gpu_seconds=gpu_seconds)


def progressed(job: JobDispatched, phase: Phase, percent: int, now: datetime) -> JobProgressed:
    """How far the attempt has come."""
    return JobProgressed(
        request_id=job.request_id,
        phase=phase,
        progressed_at=now,
        reply_to=job.reply_to,
        command_string=job.command_string,
        attempt=job.attempt,
        percent=percent,
        part=job.part,
        parts=job.parts,
    )


def report(
    me: Identity,
    sequence: int,
    now: datetime,
    *,
    lanes: Collection[int],
    slots: int,
    held_limit: int,
    jobs: Sequence[HeldJob],
    info: RendererInfo,
    loaded: Sequence[str],
    draining: bool,
    price_per_hour: float | None,
) -> WorkerReported:
    """What the worker says of itself; with no slots while its ComfyUI does not answer."""
    return WorkerReported(
        worker_id=me.worker_id,
        incarnation=me.incarnation,
        sequence=sequence,
        reported_at=now,
        lanes=sorted(lanes),
        slots=slots,
        held_limit=held_limit,
        jobs=list(jobs),
        draining=draining,
        gpu=info.gpu,
        vram_bytes=info.vram_bytes,
        checkpoints=list(info.checkpoints),
        loras=list(info.loras),
        loaded=list(loaded),
        price_per_hour=price_per_hour,
    )


def _completed(
    job: JobDispatched,
    outcome: Outcome,
    now: datetime,
    *,
    final: bool,
    images: Sequence[ImageRef] = (),
    error: ErrorInfo | None = None,
    gpu_seconds: float = 0.0,
    reused: bool = False,
) -> JobCompleted:
    return JobCompleted(
        request_id=job.request_id,
        dispatch_id=job.dispatch_id,
        attempt=job.attempt,
        outcome=outcome,
        final=final,
        completed_at=now,
        requested_at=job.requested_at,
        reply_to=job.reply_to,
        command_string=job.command_string,
        error=error,
        images=list(images),
        worker_id=job.worker_id,
        gpu_seconds=gpu_seconds,
        reused=reused,
        part=job.part,
        parts=job.parts,
    )
