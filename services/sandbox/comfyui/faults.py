"""Faults on demand: the failures of a ComfyUI that a worker must survive, armed over ``/sandbox/faults``."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta


class FaultKind(StrEnum):
    """What goes wrong."""

    NODE_EXCEPTION = "node_exception"  #: The node raises ``exception_type`` with ``message``.
    OUT_OF_MEMORY = "out_of_memory"  #: The node raises as PyTorch does when the GPU's memory is used up.
    HANG = "hang"  #: No further step until interrupted.
    HANG_IGNORING_INTERRUPT = "hang_ignoring_interrupt"  #: No further step, whatever it is told.
    DROP_WEBSOCKET = "drop_websocket"  #: The posting client's socket is cut; the job goes on.
    SILENCE = "silence"  #: The client's socket stays open, but nothing more is sent to it.
    REFUSE_PROMPT = "refuse_prompt"  #: POST /prompt answers 500; the job is not queued.
    LOSE_ANSWER = "lose_answer"  #: POST /prompt queues the job, then the connection breaks before the answer.
    SLOW_HISTORY = "slow_history"  #: The job stays "running" for ``seconds`` after its success event.
    EXIT = "exit"  #: The server dies at once, without a word, and forgets everything.


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One armed fault, and which jobs it strikes where."""

    kind: FaultKind
    text: Annotated[str, Meta(description="Only jobs whose graph holds this text; empty = any.")] = ""
    node_type: Annotated[str, Meta(description="The node class that it strikes.")] = "KSampler"
    at_step: Annotated[
        int, Meta(description="After this sampler step; 0 = as the node starts. Other nodes: as they start.")
    ] = 1
    times: Annotated[int, Meta(description="Strikes so often; 0 = until disarmed.", ge=0)] = 1
    seconds: Annotated[float, Meta(description="Length of a slow_history.", ge=0)] = 0.33
    exception_type: Annotated[str, Meta(description="For node_exception.")] = "RuntimeError"
    message: Annotated[str, Meta(description="For node_exception.")] = "the sandbox was told to fail here"


class Faults:
    """The armed faults.  Everything happens in the server's event loop."""

    def __init__(self) -> None:
        self._armed: list[tuple[Fault, int]] = []  # with the strikes left
        self._released = asyncio.Event()

    def arm(self, fault: Fault) -> None:
        """Add a fault."""
        self._armed.append((fault, fault.times))

    def disarm(self) -> None:
        """Forget every fault and let hanging jobs go on."""
        self._armed.clear()
        self.release()

    def release(self) -> None:
        """Let hanging jobs go on; what has not struck yet stays armed."""
        self._released.set()
        self._released = asyncio.Event()

    def armed(self) -> list[Fault]:
        """What may still strike."""
        return [fault for fault, _ in self._armed]

    def take(
        self, kinds: tuple[FaultKind, ...], graph: str, node_type: str = "", step: int = 0
    ) -> Fault | None:
        """The first armed fault of these kinds that strikes here, using up one strike."""
        for index, (fault, left) in enumerate(self._armed):
            if fault.kind in kinds and _strikes(fault, graph, node_type, step):
                if left == 1:
                    del self._armed[index]
                else:
                    self._armed[index] = (fault, max(0, left - 1))
                return fault
        return None

    async def released(self) -> None:
        """Wait until hanging jobs are let go."""
        await self._released.wait()


def _strikes(fault: Fault, graph: str, node_type: str, step: int) -> bool:
    if fault.text not in graph:
        return False
    if not node_type:
        return True
    wanted = fault.at_step if fault.node_type == "KSampler" else 0
    return fault.node_type == node_type and wanted == step
