"""The record key of each event, as ``schemas/topics`` has it in words: what decides its partition, so its owner."""

from __future__ import annotations

from services.contracts.events import (
    BacklogReported,
    CancellationRequested,
    Event,
    JobDispatched,
    JobRecorded,
    RequestDelivered,
    RequestModerated,
    WorkerReported,
)


def key_of(event: Event) -> str:
    """The user's id, but for reports of workers and dispatchers, a job's ledger record and a job on a lane.  Pure."""
    match event:
        case WorkerReported():
            return event.worker_id
        case JobRecorded():
            return job_key(event.request.request_id, event.part)
        case BacklogReported():
            return event.dispatcher_id
        case JobDispatched():
            return event.request_id
        case RequestModerated():
            return event.request.reply_to.user_id
        case RequestDelivered() | CancellationRequested():
            return event.user_id
        case _:
            return event.reply_to.user_id


def job_key(request_id: str, part: int) -> str:
    """The ledger's key of a request, or of one part of it."""
    return f"{request_id}/{part}" if part else request_id
