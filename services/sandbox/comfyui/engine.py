"""The queue and the history of the loopback ComfyUI, and the one loop that runs prompts one at a time."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

from services.sandbox.comfyui.execution import Ended, Execution, Item, Machine
from services.sandbox.comfyui.faults import FaultKind


class Engine:
    """Holds what is queued, what runs and what ran.  Everything happens in one event loop."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._heap: list[Item] = []
        self._running: Item | None = None
        self._history: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._wake = asyncio.Event()
        self._number = 0

    def next_number(self, *, front: bool) -> float:
        """The next place in the queue; refused prompts use one up too, as in ComfyUI."""
        number = self._number
        self._number += 1
        return -number if front else number

    def status(self) -> dict[str, Any]:
        """The body of a ``status`` event."""
        return {"status": {"exec_info": {"queue_remaining": self.remaining()}}}

    def remaining(self) -> int:
        """How many prompts are queued or running."""
        return len(self._heap) + (self._running is not None)

    async def submit(self, item: Item) -> None:
        """Queue a valid prompt.  A known prompt id is queued again: ComfyUI does not look."""
        heapq.heappush(self._heap, item)
        self._wake.set()
        await self._tell_status()

    def queue(self) -> dict[str, Any]:
        """The body of ``GET /queue``."""
        running = [self._running.as_json()] if self._running else []
        return {"queue_running": running, "queue_pending": [item.as_json() for item in self._heap]}

    async def delete(self, prompt_ids: Iterable[str]) -> None:
        """Take pending prompts out, without an event or a history entry; a running one stays."""
        wanted = set(prompt_ids)
        await self._drop([item for item in self._heap if item.prompt_id in wanted])

    async def clear(self) -> None:
        """Take every pending prompt out."""
        await self._drop(list(self._heap))

    async def _drop(self, items: list[Item]) -> None:
        for item in items:
            self._heap.remove(item)
            self._machine.runs.finished(item.run, "deleted")
        if items:
            heapq.heapify(self._heap)
            await self._tell_status()

    def interrupt(self, prompt_id: str | None) -> None:
        """Stop the running prompt: whichever it is, or only the one named."""
        if prompt_id is None or (self._running and self._running.prompt_id == prompt_id):
            self._machine.interrupt.set()

    def history(self, prompt_id: str | None = None, last: int | None = None) -> dict[str, Any]:
        """The body of ``GET /history``: everything, the last few, or one; ``{}`` where it is not known."""
        if prompt_id is not None:
            return {prompt_id: self._history[prompt_id]} if prompt_id in self._history else {}
        keys = list(self._history)
        return {
            key: self._history[key] for key in (keys if last is None else keys[max(0, len(keys) - last) :])
        }

    def forget(self, prompt_ids: Iterable[str] | None) -> None:
        """Remove these history entries, or all."""
        for key in list(self._history) if prompt_ids is None else prompt_ids:
            self._history.pop(key, None)

    async def run_forever(self) -> None:
        """Run prompts in order until cancelled."""
        while True:
            while not self._heap:
                self._wake.clear()
                await self._wake.wait()
            item = self._running = heapq.heappop(self._heap)
            await self._tell_status()
            await self._run(item)

    async def _run(self, item: Item) -> None:
        sockets, runs = self._machine.sockets, self._machine.runs
        sockets.active_client = item.client_id
        runs.started(item.run)
        ended = await Execution(item, self._machine).run()
        sockets.active_node = None
        await self._lag(item)
        self._keep(item, ended)
        self._running = None
        runs.finished(item.run, ended.status)
        await self._tell_status()
        if item.client_id is not None:
            await sockets.send("executing", {"node": None, "prompt_id": item.prompt_id}, item.client_id)

    async def _lag(self, item: Item) -> None:
        """ComfyUI moves a prompt from running to history a while after its success event, at times."""
        faults = self._machine.faults
        if faults.armed():
            graph = msgspec.json.encode(item.graph).decode()
            if (fault := faults.take((FaultKind.SLOW_HISTORY,), graph)) is not None:
                await asyncio.sleep(fault.seconds)

    def _keep(self, item: Item, ended: Ended) -> None:
        self._history.pop(item.prompt_id, None)
        self._history[item.prompt_id] = ended.as_json(item)
        while len(self._history) > self._machine.settings.kept_history:
            self._history.popitem(last=False)

    async def _tell_status(self) -> None:
        await self._machine.sockets.send("status", self.status())
