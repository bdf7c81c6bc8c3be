"""The record key of each event, as ``schemas/topics`` has it in words: what decides its partition, so its owner."""

from __future__ import annotations

from services.contracts.events import (
    CancellationRequested,
    Event,
    JobDispatched,
    JobRecorded,
    RequestDelivered,
    RequestModerated,
    WorkerReported,
)


def key_of(event: Event) -> str:
    """The user's id, but for a worker's reports, a job's ledger record and a job on a lane.  Pure."""
    match event:
        case WorkerReported():
            return event.worker_id
        case JobRecorded():
            return event.request.request_id
        case JobDispatched():
            return event.request_id
        case RequestModerated():
            return event.request.reply_to.user_id
        case RequestDelivered() | CancellationRequested():
            return event.user_id
        case _:
            return event.reply_to.user_id
