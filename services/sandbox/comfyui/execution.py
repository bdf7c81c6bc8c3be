"""One run of one prompt: which nodes run in which order, and every event that a client sees of it."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from PIL import ImageFilter

from services.sandbox.comfyui.cache import Cache, Entry, Graph, is_link, signatures
from services.sandbox.comfyui.evaluate import HEAVY, Bench, evaluate
from services.sandbox.comfyui.faults import Fault, FaultKind, Faults
from services.sandbox.comfyui.files import FileKey, Files
from services.sandbox.comfyui.painting import paint
from services.sandbox.comfyui.runs import Run, RunLog
from services.sandbox.comfyui.settings import SandboxSettings
from services.sandbox.comfyui.sockets import Sockets
from services.sandbox.comfyui.values import Latent, NodeError, Picture, png_bytes

_IN_NODES = (
    FaultKind.NODE_EXCEPTION,
    FaultKind.OUT_OF_MEMORY,
    FaultKind.HANG,
    FaultKind.HANG_IGNORING_INTERRUPT,
    FaultKind.DROP_WEBSOCKET,
    FaultKind.SILENCE,
    FaultKind.EXIT,
)


class Interrupted(Exception):
    """Somebody asked for the running prompt to stop."""


@dataclass(order=True)
class Item:
    """One queued prompt; the lowest number runs next."""

    number: float
    prompt_id: str
    graph: Graph = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)
    run: Run = field(compare=False)

    @property
    def client_id(self) -> str | None:
        """Whose prompt it is, if anybody's."""
        return self.extra_data.get("client_id")

    def as_json(self) -> list[Any]:
        """The five-element list of ``/queue`` and ``/history``."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]


@dataclass
class Machine:
    """What every run shares: the "GPU" and what surrounds it."""

    settings: SandboxSettings
    sockets: Sockets
    files: Files
    faults: Faults
    runs: RunLog
    exit_now: Callable[[], None]
    cache: Cache = field(default_factory=Cache)
    interrupt: asyncio.Event = field(default_factory=asyncio.Event)
    loaded: str = ""  #: the checkpoint in "GPU" memory


@dataclass
class Ended:
    """What goes into the history."""

    status: str  #: ``success``, ``error`` or ``interrupted``; history calls the last an error too
    outputs: dict[str, Any]
    meta: dict[str, Any]
    messages: list[list[Any]]

    def as_json(self, item: Item) -> dict[str, Any]:
        """The entry of ``/history``."""
        good = self.status == "success"
        status = {"status_str": "success" if good else "error", "completed": good, "messages": self.messages}
        return {"prompt": item.as_json(), "outputs": self.outputs, "status": status, "meta": self.meta}


class Execution:
    """Runs one prompt once."""

    def __init__(self, item: Item, machine: Machine) -> None:
        self._item = item
        self._machine = machine
        self._bench = Bench(machine.files, item.graph, machine.settings.instant)
        self._signatures = signatures(item.graph, self._content_of)
        self._results: dict[str, Entry] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self._messages: list[list[Any]] = []
        self._executed: list[str] = []
        self._node = ""
        self._text = ""  # the graph as text, once a fault may want it

    async def run(self) -> Ended:
        """Run every node that is needed and not cached, in order, and say how it ended."""
        machine, item = self._machine, self._item
        machine.interrupt.clear()
        await self._message("execution_start", {})
        machine.cache.begin(self._signatures)
        cached = [i for i in item.graph if machine.cache.get(self._signatures[i]) is not None]
        item.run.cached = len(cached) == len(item.graph)
        await self._message("execution_cached", {"nodes": cached})
        status = await self._run_nodes(set(cached))
        ui = {i: entry.ui for i in item.outputs if (entry := self._results.get(i)) and entry.ui}
        return Ended(status, ui, {i: _meta(i) for i in ui}, self._messages)

    async def _run_nodes(self, cached: set[str]) -> str:
        try:
            for node_id in _order(self._item.graph, self._item.outputs, cached):
                await self._run_node(node_id, cached)
        except Interrupted:
            await self._message("execution_interrupted", self._where())
            return "interrupted"
        except NodeError as error:
            await self._message("execution_error", {**self._where(), **self._failure(error)})
            return "error"
        self._machine.runs.succeeded(self._item.run)
        await self._message("execution_success", {})
        return "success"

    async def _run_node(self, node_id: str, cached: set[str]) -> None:
        self._node = node_id
        if node_id in cached:
            entry = self._result(node_id)
            await self._show(node_id, entry)
            await self._state(node_id, 1, 1, "finished")
            return
        await self._state(node_id, 0.0, 1.0, "running")
        self._machine.sockets.active_node = node_id
        await self._event("executing", {"node": node_id, "display_node": node_id})
        self._check_interrupt()
        await self._strike(self._class_of(node_id), 0)
        entry = self._results[node_id] = await self._compute(node_id)
        self._machine.cache.put(self._signatures[node_id], entry)
        await self._show(node_id, entry)
        state = self._states.get(node_id, {})
        await self._state(node_id, state.get("max", 1.0), state.get("max", 1.0), "finished")
        self._executed.append(node_id)

    async def _show(self, node_id: str, entry: Entry) -> None:
        """Announce what an output node shows, also where it comes from the cache."""
        if entry.ui is not None:
            self._item.run.images += len(entry.ui["images"])
            body = {"node": node_id, "display_node": node_id, "output": entry.ui}
            await self._event("executed", body)

    async def _compute(self, node_id: str) -> Entry:
        class_type = self._class_of(node_id)
        inputs = self._inputs(node_id)
        settings = self._machine.settings
        if class_type == "CheckpointLoaderSimple" and inputs["ckpt_name"] != self._machine.loaded:
            await self._pause(settings.load_seconds)
            self._machine.loaded = inputs["ckpt_name"]
        elif class_type == "KSampler":
            await self._sample(node_id, inputs)
        elif class_type == "VAEDecode":
            await self._pause(settings.image_seconds * inputs["samples"].batch)
        elif class_type == "SaveImageWebsocket":
            await self._send_images(node_id, inputs["images"])
        if class_type in HEAVY and not settings.instant:
            return await asyncio.to_thread(evaluate, class_type, inputs, self._bench)
        return evaluate(class_type, inputs, self._bench)

    async def _sample(self, node_id: str, inputs: dict[str, Any]) -> None:
        """Go through the steps; an interrupt takes effect at the next one, as on a GPU."""
        instant = self._machine.settings.instant
        steps = inputs["steps"]
        for step in [1] if instant else range(1, steps + 1):
            await self._pause(self._machine.settings.step_seconds, self._machine.settings.instant_seconds)
            self._check_interrupt()
            await self._strike("KSampler", step)
            await self._state(node_id, step, steps, "running")
            await self._progress(node_id, steps if instant else step, steps, inputs)

    async def _progress(self, node_id: str, step: int, steps: int, inputs: dict[str, Any]) -> None:
        """The progress event and the preview, in the order that the client's feature flag gives them."""
        body = {"value": step, "max": steps, "node": node_id}
        if not self._machine.settings.previews:
            await self._event("progress", body, clientless=True)
            return
        preview = await asyncio.to_thread(_preview, inputs, step / steps)
        metadata_first = self._machine.sockets.wants_metadata(self._item.client_id)
        if metadata_first:
            await self._send_preview(node_id, preview, "image/jpeg")
        await self._event("progress", body, clientless=True)
        if not metadata_first:
            await self._send_preview(node_id, preview, "image/jpeg")

    async def _send_images(self, node_id: str, pictures: list[Picture]) -> None:
        for index, picture in enumerate(pictures):
            await self._state(node_id, index, len(pictures), "running")
            await self._send_preview(node_id, png_bytes(picture, self._item.graph), "image/png")
            body = {"value": index, "max": len(pictures), "node": node_id}
            await self._event("progress", body, clientless=True)

    async def _send_preview(self, node_id: str, image: bytes, mime: str) -> None:
        metadata = {"node_id": node_id, "prompt_id": self._item.prompt_id, **_display(node_id)}
        await self._machine.sockets.send_preview(image, mime, metadata, self._item.client_id)

    async def _strike(self, class_type: str, step: int) -> None:
        """Let an armed fault strike at this point."""
        faults = self._machine.faults
        if not faults.armed():
            return
        self._text = self._text or msgspec.json.encode(self._item.graph).decode()
        while (fault := faults.take(_IN_NODES, self._text, class_type, step)) is not None:
            await self._suffer(fault)

    async def _suffer(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.NODE_EXCEPTION:
                raise NodeError(fault.exception_type, fault.message)
            case FaultKind.OUT_OF_MEMORY:
                raise NodeError("torch.OutOfMemoryError", _OUT_OF_MEMORY)
            case FaultKind.HANG:
                await _first_of(self._machine.faults.released(), self._machine.interrupt.wait())
                self._check_interrupt()
            case FaultKind.HANG_IGNORING_INTERRUPT:
                await self._machine.faults.released()
            case FaultKind.DROP_WEBSOCKET:
                self._machine.sockets.cut(self._item.client_id)
            case FaultKind.SILENCE:
                self._machine.sockets.forget(self._item.client_id)
            case FaultKind.EXIT:
                self._machine.exit_now()
                await asyncio.Event().wait()  # Nothing runs on a machine that is gone.

    async def _pause(self, seconds: float, instantly: float = 0.0) -> None:
        lasts = instantly if self._machine.settings.instant else seconds
        if lasts > 0:
            await asyncio.sleep(lasts)

    def _check_interrupt(self) -> None:
        if self._machine.interrupt.is_set():
            raise Interrupted

    async def _state(self, node_id: str, value: float, top: float, state: str) -> None:
        """The ``progress_state`` event, which repeats every node seen so far; left out in instant mode."""
        self._states[node_id] = {
            "value": value,
            "max": top,
            "state": state,
            "node_id": node_id,
            "prompt_id": self._item.prompt_id,
            **_display(node_id),
        }
        if not self._machine.settings.instant:
            await self._event("progress_state", {"nodes": self._states}, clientless=True)

    async def _event(self, kind: str, body: dict[str, Any], *, clientless: bool = False) -> None:
        """Send to the posting client only; what ComfyUI broadcasts for prompts without a client, to all."""
        client = self._item.client_id
        if client is None and not clientless:
            return
        await self._machine.sockets.send(kind, {**body, "prompt_id": self._item.prompt_id}, client)

    async def _message(self, kind: str, body: dict[str, Any]) -> None:
        """An event that the history keeps too."""
        stamped = {"prompt_id": self._item.prompt_id, **body, "timestamp": int(time.time() * 1000)}
        self._messages.append([kind, stamped])
        if self._item.client_id is not None:
            await self._machine.sockets.send(kind, stamped, self._item.client_id)

    def _where(self) -> dict[str, Any]:
        executed = list(self._executed)
        return {"node_id": self._node, "node_type": self._class_of(self._node), "executed": executed}

    def _failure(self, error: NodeError) -> dict[str, Any]:
        inputs = {k: [str(v)] for k, v in self._item.graph[self._node]["inputs"].items() if not is_link(v)}
        return {
            "exception_message": error.message,
            "exception_type": error.exception_type,
            "traceback": [f'  File "/opt/ComfyUI/execution.py", line 1, in execute\n    {error.message}\n'],
            "current_inputs": inputs,
            "current_outputs": list(self._results),
        }

    def _class_of(self, node_id: str) -> str:
        return str(self._item.graph[node_id]["class_type"])

    def _inputs(self, node_id: str) -> dict[str, Any]:
        """The node's inputs with every link followed."""
        resolved = {}
        for name, value in self._item.graph[node_id]["inputs"].items():
            resolved[name] = self._result(value[0]).outputs[value[1]] if is_link(value) else value
        return resolved

    def _result(self, node_id: str) -> Entry:
        if node_id not in self._results:
            entry = self._machine.cache.get(self._signatures[node_id])
            assert entry is not None, f"node {node_id} was neither run nor cached"
            self._results[node_id] = entry
        return self._results[node_id]

    def _content_of(self, node: dict[str, Any]) -> str:
        """What makes two loads of one file name differ: the file's bytes."""
        if node["class_type"] != "LoadImage":
            return ""
        subfolder, _, name = str(node["inputs"].get("image")).rpartition("/")
        return str(hash(self._machine.files.get(FileKey("input", subfolder, name))))


_OUT_OF_MEMORY = (
    "Allocation on device \nThis error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked "
    "before you might have accidentally set the batch_size to a large number."
)


def _order(graph: Graph, outputs: list[str], cached: set[str]) -> list[str]:
    """Every node that must run, each after those it needs; cached outputs are there to be shown again."""
    order: list[str] = []

    def visit(node_id: str) -> None:
        if node_id in order:
            return
        if node_id not in cached:
            for value in graph[node_id]["inputs"].values():
                if is_link(value) and value[0] not in cached:
                    visit(value[0])
        order.append(node_id)

    for output in outputs:
        visit(output)
    return order


def _preview(inputs: dict[str, Any], done: float) -> bytes:
    """A small JPEG of the coming picture, the blurrier the earlier."""
    latent: Latent = inputs["latent_image"]
    scale = 256 / max(latent.width, latent.height)
    size = max(8, round(latent.width * scale)), max(8, round(latent.height * scale))
    image = paint(inputs["positive"], inputs["seed"], *size)
    buffer = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(24 * (1 - done))).convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _meta(node_id: str) -> dict[str, Any]:
    return {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}


def _display(node_id: str) -> dict[str, Any]:
    return {"display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id}


async def _first_of(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
