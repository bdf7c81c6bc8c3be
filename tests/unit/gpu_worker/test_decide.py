"""Which jobs a worker runs, and what its events say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.contracts.errors import ErrorCode, error_info
from services.contracts.events import JobDispatched, JobSpec, Outcome, ReplyTo
from services.gpu_worker import decide
from services.gpu_worker.decide import Aftermath, Identity, Verdict
from services.gpu_worker.ports import (
    BadInputImage,
    CheckpointMissing,
    ComfyUIDied,
    ComfyUIUnreachable,
    DeadlineExceeded,
    DiskFull,
    GraphRefused,
    Interrupted,
    ModelUnreadable,
    NodeFailed,
    NoImages,
    OutOfMemory,
    RenderError,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ME = Identity(worker_id="w1", incarnation="i1")
JOB = JobDispatched(
    request_id="1",
    dispatch_id="d1",
    attempt=1,
    worker_id="w1",
    incarnation="i1",
    dispatched_at=NOON,
    deadline_at=NOON + timedelta(minutes=6),
    requested_at=NOON,
    reply_to=ReplyTo(
        user_id="2", channel_id="3", application_id="4", interaction_token="secret", token_expires_at=NOON
    ),
    command_string="a lighthouse",
    job=JobSpec(
        workflow="sd15", workflow_version="1", graph="{}", bindings={}, seed=1, images=4, parameters={}
    ),
)


@pytest.mark.parametrize(
    ("job", "seen", "draining", "verdict"),
    [
        (JOB, (), False, Verdict.RUN),
        (replace(JOB, worker_id="w2"), (), False, Verdict.NOT_OURS),
        (replace(JOB, incarnation="i0"), (), False, Verdict.NOT_OURS),
        (JOB, ("d1",), False, Verdict.REPEATED),
        (JOB, (), True, Verdict.RELEASED),
    ],
)
def test_a_worker_runs_only_what_is_addressed_to_this_life_of_it_and_new(
    job: JobDispatched, seen: tuple[str, ...], draining: bool, verdict: Verdict
) -> None:
    """The fence that makes a moving lane, and a lane read again, harmless."""
    assert decide.judge(job, ME, seen, draining=draining) is verdict


def test_every_attempt_of_a_request_has_one_place_for_its_images() -> None:
    """So that a later attempt finds what an earlier one drew."""
    again = replace(JOB, attempt=2, dispatch_id="d2", worker_id="w9")
    assert decide.result_prefix(JOB) == decide.result_prefix(again)
    assert decide.result_prefix(JOB) != decide.result_prefix(replace(JOB, request_id="2"))


def test_f12_no_id_that_discord_knows_is_in_an_images_key() -> None:
    """The place does not tell who asked."""
    job = replace(JOB, request_id="1574806431138316291")
    assert "1574806431138316291" not in decide.result_prefix(job)
    assert job.reply_to.user_id not in decide.result_prefix(job).rpartition("/")[2].split("-")


def test_a_failure_is_never_final() -> None:
    """Whether the request is over is the dispatcher's decision."""
    event = decide.failed(JOB, error_info(ErrorCode.NODE_ERROR), NOON)
    assert (event.outcome, event.final) == (Outcome.FAILED, False)


def test_a_success_is_final() -> None:
    """Nothing can better it."""
    assert decide.succeeded(JOB, [], NOON, gpu_seconds=1.0, reused=False).final


def test_a_cancelled_job_is_final_and_says_so_by_its_code() -> None:
    """Nobody wants another attempt."""
    event = decide.cancelled(JOB, NOON, gpu_seconds=1.5)
    assert event.error is not None
    assert (event.outcome, event.final, event.error.code, event.gpu_seconds) == (
        Outcome.CANCELLED,
        True,
        "cancelled",
        1.5,
    )


@pytest.mark.parametrize(
    ("error", "retryable", "what"),
    [
        (ComfyUIDied("-"), True, Aftermath.RESTART),
        (ComfyUIUnreachable("-"), True, Aftermath.RESTART),
        (DeadlineExceeded("-", stuck=True), True, Aftermath.RESTART),
        (DeadlineExceeded("-", stuck=False), False, Aftermath.CARRY_ON),
        (OutOfMemory("-"), True, Aftermath.CARRY_ON),
        (CheckpointMissing("-"), True, Aftermath.RELIST),
        (ModelUnreadable("-"), True, Aftermath.CARRY_ON),
        (DiskFull("-"), True, Aftermath.MAKE_ROOM),
        (NodeFailed("-"), False, Aftermath.CARRY_ON),
        (GraphRefused("-"), False, Aftermath.CARRY_ON),
        (BadInputImage("-"), False, Aftermath.CARRY_ON),
        (NoImages("-"), False, Aftermath.CARRY_ON),
        (Interrupted("-"), False, Aftermath.CARRY_ON),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_failure_has_its_rule(error: RenderError, retryable: bool, what: Aftermath) -> None:
    """Whether another worker should try, and what this one does before it goes on."""
    assert (error.retryable, error.info().retryable) == (retryable, retryable)
    assert decide.aftermath(error) is what


def test_after_a_success_nothing_is_to_be_done() -> None:
    """The usual case."""
    assert decide.aftermath(None) is Aftermath.CARRY_ON
