"""Traces small enough to reckon by hand."""

from __future__ import annotations

from tests.simulate.trace import Request, Trace


def trace_of(*requests: tuple[str, float, float, str], load: float = 10.0) -> Trace:
    """Requests ``(name, arrival, run, checkpoint)`` in order of arrival; ``A1`` is user A's; every load alike."""
    made = tuple(
        Request(id=name, user=name[0], at=at, run=run, checkpoint=checkpoint)
        for name, at, run, checkpoint in requests
    )
    return Trace(requests=made, loads={request.checkpoint: load for request in made})
