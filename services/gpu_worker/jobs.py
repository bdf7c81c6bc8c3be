"""One job from its dispatch to its ``completed``: fetch, draw, stamp, store, tell."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable

import msgspec

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.object_store.port import ObjectNotFound, ObjectStore, ObjectStoreError
from services.chassis.sync_outbox import SyncOutbox, until_acknowledged
from services.contracts.envelope import Envelope
from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import ErrorInfo, ImageRef, JobCompleted, JobDispatched, Outcome, Phase
from services.gpu_worker import decide
from services.gpu_worker.ports import FOLDER, Renderer, RenderError, Rendering, RenderInput, RenderJob
from services.gpu_worker.provenance import ProvenanceError, stamp

log = get_logger()

#: A job shorter than this shows no progress: the edit would only delay the images'.
QUIET_SECONDS = 0.7
PROGRESS_SECONDS = 0.5


class JobRunner:
    """Runs jobs one at a time on one renderer; used from one thread."""

    def __init__(
        self,
        renderer: Renderer,
        store: ObjectStore,
        outbox: SyncOutbox,
        metrics: m.Metrics,
        clock: Clock,
        is_cancelled: Callable[[JobDispatched], bool] = lambda job: False,
    ) -> None:
        """``is_cancelled`` says whether a job's user has taken it back."""
        self._renderer = renderer
        self._store = store
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._is_cancelled = is_cancelled

    def run(self, job: JobDispatched, cause: Envelope, abandoned: threading.Event) -> RenderError | None:
        """Run ``job`` and return when its ``completed`` is acknowledged, or the job was abandoned.

        Args:
            abandoned: set once the worker has given the job back; its failure is then nobody's business, and a
                broker that is away is waited for no longer.

        Returns the failure, if there was one, so that the caller can see whether the renderer still works.
        """
        started = time.monotonic()
        error: RenderError | None = None
        try:
            event = self._cancelled(job) or self._reused(job) or self._overdue(job) or self._drawn(job, cause)
        except RenderError as failure:
            error = failure
            event = self._cancelled(job, failure.gpu_seconds) or self._unrendered(job, failure)
        except ObjectStoreError as failure:
            event = self._cancelled(job) or self._failed(job, ErrorCode.STORAGE_UNAVAILABLE, failure)
        except ProvenanceError as failure:
            event = self._cancelled(job) or self._failed(job, ErrorCode.NO_IMAGES, failure)
        if abandoned.is_set() and event.outcome is Outcome.FAILED:
            return error
        self._tell(event, cause, abandoned)
        self._measure(job, event, time.monotonic() - started)
        return error

    def _cancelled(self, job: JobDispatched, gpu_seconds: float = 0.0) -> JobCompleted | None:
        """The end of a job that its user took back: not begun, or not retried whatever it failed of."""
        if not self._is_cancelled(job):
            return None
        return decide.cancelled(job, self._clock(), gpu_seconds=gpu_seconds)

    def _reused(self, job: JobDispatched) -> JobCompleted | None:
        """The outcome of an earlier attempt whose images are all stored: drawing again would change nothing."""
        try:
            stored = self._store.get(_manifest_key(job))
            images = msgspec.json.decode(stored.data, type=list[ImageRef])
        except ObjectNotFound:
            return None
        except msgspec.DecodeError as error:
            log.warning("result_unreadable", request_id=job.request_id, why=str(error))
            return None
        log.info("result_reused", request_id=job.request_id, images=len(images))
        return decide.succeeded(job, images, self._clock(), gpu_seconds=0.0, reused=True)

    def _overdue(self, job: JobDispatched) -> JobCompleted | None:
        """A job whose time ran out before it began, on a lane that stood still: another try has not been had."""
        if self._clock() < job.deadline_at:
            return None
        info = error_info(ErrorCode.DEADLINE_EXCEEDED, retryable=True)
        self._say_failed(job, info, "its deadline had passed before it was begun")
        return decide.failed(job, info, self._clock())

    def _drawn(self, job: JobDispatched, cause: Envelope) -> JobCompleted:
        now = self._clock()
        left = (job.deadline_at - now).total_seconds()
        spec = job.job
        rendered = RenderJob(
            prompt_id=job.dispatch_id,
            graph=spec.graph,
            bindings=spec.bindings,
            seed=spec.seed,
            images=spec.images,
            filename_prefix=f"{FOLDER}/{job.dispatch_id}",
            inputs=tuple(self._input(entry.parameter, entry.object_key) for entry in spec.inputs),
        )
        if (event := self._cancelled(job)) is not None:  # while its inputs were fetched
            return event
        rendering = self._renderer.run(
            rendered, deadline=time.monotonic() + left, on_progress=self._reporter(job, cause)
        )
        images = self._keep(job, rendering)
        return decide.succeeded(job, images, self._clock(), gpu_seconds=rendering.gpu_seconds, reused=False)

    def _input(self, parameter: str, key: str) -> RenderInput:
        stored = self._store.get(key)
        return RenderInput(parameter=parameter, content_type=stored.info.content_type, data=stored.data)

    def _keep(self, job: JobDispatched, rendering: Rendering) -> list[ImageRef]:
        """Store the images, and then the list of them, whose presence says that all are there."""
        images = []
        for index, image in enumerate(rendering.images):
            key = f"{decide.result_prefix(job)}/{index}.png"
            seed = job.job.seed + index
            data = stamp(image.data, job.job, seed=seed)
            self._store.put(key, data, image.content_type)
            images.append(
                ImageRef(
                    object_key=key,
                    content_type=image.content_type,
                    bytes=len(data),
                    width=image.width,
                    height=image.height,
                    seed=seed,
                    sha256=hashlib.sha256(data).hexdigest(),
                )
            )
        listed = json.dumps(msgspec.to_builtins(images)).encode()
        self._store.put(_manifest_key(job), listed, "application/json")
        return images

    def _reporter(self, job: JobDispatched, cause: Envelope) -> Callable[[Phase, int], None]:
        quiet_until = time.monotonic() + QUIET_SECONDS
        last: tuple[Phase, int] | None = None

        def on_progress(phase: Phase, percent: int) -> None:
            nonlocal quiet_until, last
            at = time.monotonic()
            if at < quiet_until or (phase, percent) == last:
                return
            quiet_until, last = at + PROGRESS_SECONDS, (phase, percent)
            self._outbox.send_soon(decide.progressed(job, phase, percent, self._clock()), cause)

        return on_progress

    def crashed(self, job: JobDispatched, cause: Envelope, abandoned: threading.Event) -> None:
        """Tell that `run` itself failed, by a fault of ours; returns as `run` does."""
        self._tell(decide.failed(job, error_info(ErrorCode.INTERNAL_ERROR), self._clock()), cause, abandoned)

    def _tell(self, event: JobCompleted, cause: Envelope, abandoned: threading.Event) -> None:
        """Send until acknowledged: the images exist, and only this event says so."""
        until_acknowledged(lambda: self._outbox.send(event, cause), abandoned, what="completed")

    def _unrendered(self, job: JobDispatched, failure: RenderError) -> JobCompleted:
        self._say_failed(job, failure.info(), failure.detail)
        return decide.failed(job, failure.info(), self._clock(), gpu_seconds=failure.gpu_seconds)

    def _failed(self, job: JobDispatched, code: ErrorCode, error: Exception) -> JobCompleted:
        info = error_info(code)
        self._say_failed(job, info, str(error))
        return decide.failed(job, info, self._clock())

    def _say_failed(self, job: JobDispatched, info: ErrorInfo, detail: str) -> None:
        log.warning(
            "job_failed",
            request_id=job.request_id,
            attempt=job.attempt,
            code=info.code,
            retryable=info.retryable,
            detail=detail,
        )

    def _measure(self, job: JobDispatched, event: JobCompleted, seconds: float) -> None:
        code = event.error.code if event.error else ("reused" if event.reused else "ok")
        self._metrics.count(m.JOBS, event.outcome.value, code)
        self._metrics.count(m.GPU_BUSY, by=event.gpu_seconds)
        if event.outcome is Outcome.SUCCEEDED and not event.reused:
            self._metrics.observe(m.JOB_SECONDS, seconds, job.job.workflow)


def _manifest_key(job: JobDispatched) -> str:
    return f"{decide.result_prefix(job)}/result.json"
