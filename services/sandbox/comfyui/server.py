"""The HTTP and websocket surface of the loopback ComfyUI, and the server itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import BodyPartReader, web

from services.sandbox.comfyui.catalogue import Catalogue, catalogue
from services.sandbox.comfyui.control import control_routes
from services.sandbox.comfyui.engine import Engine
from services.sandbox.comfyui.execution import Item, Machine
from services.sandbox.comfyui.faults import FaultKind, Faults
from services.sandbox.comfyui.files import FOLDERS, FileKey, Files
from services.sandbox.comfyui.runs import RunLog
from services.sandbox.comfyui.settings import SandboxSettings
from services.sandbox.comfyui.sockets import FEATURES, Sockets
from services.sandbox.comfyui.validation import validate

_MODEL_FOLDERS = (
    "checkpoints configs loras vae text_encoders diffusion_models clip_vision style_models embeddings diffusers "
    "vae_approx controlnet gligen upscale_models custom_nodes hypernetworks photomaker classifiers model_patches "
    "audio_encoders"
).split()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"


class ComfyUISandbox:
    """A loopback ComfyUI in this process.  Its state is lost when it stops, as ComfyUI's is."""

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self.settings = settings or SandboxSettings()
        self._port = self.settings.port
        self._runner: web.AppRunner | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self.on_exit = self._die  #: what the ``exit`` fault calls; a process of its own really exits
        self._reset()

    def _reset(self) -> None:
        self.faults = Faults()
        self.runs = RunLog(journal=self.settings.journal)
        self._sockets = Sockets()
        self._files = Files(self.settings.kept_bytes)
        self._machine = Machine(
            self.settings, self._sockets, self._files, self.faults, self.runs, lambda: self.on_exit()
        )
        self._engine = Engine(self._machine)
        self._catalogue: tuple[int, Catalogue] = (-1, {})

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:8188``."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen on 127.0.0.1; a restart after `stop` or a death takes the same port and knows nothing."""
        app = web.Application(client_max_size=FEATURES["max_upload_size"], middlewares=[self._count])
        app.add_routes([*self._routes(), *control_routes(lambda: self.faults, lambda: self.runs)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._loop_task = asyncio.create_task(self._engine.run_forever())

    async def stop(self) -> None:
        """Stop listening and forget everything but the port."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        self.faults.disarm()
        await self._sockets.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = self._loop_task = None
        self._reset()

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count calls by route, so that tests can say how many round trips something takes."""
        resource = request.match_info.route.resource
        if resource is not None and not resource.canonical.startswith("/sandbox/"):
            self.runs.counters[f"{request.method} {resource.canonical}"] += 1
        return await handler(request)

    def _die(self) -> None:
        """Vanish as a killed process does: no close frame, no answer, nothing listening."""
        if self._runner is None or self._runner.server is None:
            return
        for site in list(self._runner.sites):
            if (server := getattr(site, "_server", None)) is not None:
                server.close()
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ws", self._ws),
            web.post("/prompt", self._post_prompt),
            web.get("/prompt", self._get_prompt),
            web.get("/queue", self._get_queue),
            web.post("/queue", self._post_queue),
            web.post("/interrupt", self._interrupt),
            web.get("/history", self._get_history),
            web.post("/history", self._post_history),
            web.get("/history/{prompt_id}", self._get_history),
            web.get("/view", self._view),
            web.post("/upload/image", self._upload),
            web.get("/system_stats", self._system_stats),
            web.get("/features", self._features),
            web.get("/object_info", self._object_info),
            web.get("/object_info/{class_type}", self._object_info),
            web.get("/models", self._models),
            web.get("/models/{folder}", self._models),
            web.get("/embeddings", self._embeddings),
            web.post("/free", self._free),
        ]

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        return await self._sockets.serve(request, self._engine.status())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        arrived = time.monotonic()
        raw = await request.read()
        try:
            body = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            return web.Response(status=500, text=_TROUBLE)
        if self.faults.take((FaultKind.REFUSE_PROMPT,), raw.decode()) is not None:
            return web.Response(status=500, text=_TROUBLE)
        front = bool(body.get("front"))
        number = float(body["number"]) if "number" in body else self._engine.next_number(front=front)
        if "prompt" not in body:
            return _json(_no_prompt(), 400)
        answer = await self._queue_prompt(body, number, arrived)
        if self.faults.take((FaultKind.LOSE_ANSWER,), raw.decode()) and request.transport is not None:
            request.transport.abort()
        return answer

    async def _queue_prompt(self, body: dict[str, Any], number: float, arrived: float) -> web.Response:
        graph = body["prompt"]
        verdict = validate(graph, self._nodes())
        if verdict.error is not None:
            self.runs.counters["invalid"] += 1
            return _json({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
        prompt_id = str(body.get("prompt_id") or uuid.uuid4())
        extra = dict(body.get("extra_data") or {})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        run = self.runs.posted(prompt_id, extra.get("client_id"), number, arrived)
        await self._engine.submit(Item(number, prompt_id, graph, extra, verdict.outputs, run))
        return _json({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _nodes(self) -> Catalogue:
        version, nodes = self._catalogue
        if version != self._files.input_version:
            nodes = catalogue(self.settings.checkpoints, self.settings.loras, self._files.inputs())
            self._catalogue = (self._files.input_version, nodes)
        return nodes

    async def _get_prompt(self, request: web.Request) -> web.Response:
        return _json(self._engine.status()["status"])

    async def _get_queue(self, request: web.Request) -> web.Response:
        return _json(self._engine.queue())

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("clear"):
            await self._engine.clear()
        if "delete" in body:
            await self._engine.delete(body["delete"])
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        self._engine.interrupt((await _body(request)).get("prompt_id"))
        return web.Response()

    async def _get_history(self, request: web.Request) -> web.Response:
        last = request.query.get("max_items")
        found = self._engine.history(request.match_info.get("prompt_id"), int(last) if last else None)
        return _json(found)

    async def _post_history(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("clear"):
            self._engine.forget(None)
        if "delete" in body:
            self._engine.forget(body["delete"])
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        name, subfolder = request.query.get("filename", ""), request.query.get("subfolder", "")
        folder = request.query.get("type", "output")
        if name.startswith("/") or ".." in name or folder not in FOLDERS:
            return web.Response(status=400)
        if ".." in subfolder.split("/") or subfolder.startswith("/"):
            return web.Response(status=403)
        data = self._files.get(FileKey(folder, subfolder, name))
        if data is None:
            return web.Response(status=404)
        headers = {"Content-Disposition": f'filename="{name}"'}
        return web.Response(body=data, content_type="image/png", headers=headers)

    async def _upload(self, request: web.Request) -> web.Response:
        """Store whatever bytes come: ComfyUI does not look at them either."""
        fields: dict[str, str] = {}
        name, data = "", None
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            if part.name == "image":
                name, data = part.filename or "", bytes(await part.read())
            else:
                fields[part.name or ""] = await part.text()
        folder = fields.get("type", "input")
        if data is None or not name or folder not in FOLDERS or ".." in name + fields.get("subfolder", ""):
            return web.Response(status=400)
        key = FileKey(folder, fields.get("subfolder", ""), name.rpartition("/")[2])
        key = self._free_key(key, data, overwrite=fields.get("overwrite", "") in ("true", "1"))
        self._files.put(key, data)
        return _json({"name": key.name, "subfolder": key.subfolder, "type": key.folder})

    def _free_key(self, key: FileKey, data: bytes, *, overwrite: bool) -> FileKey:
        """The name itself, or ``name (1).png`` and so on where it is taken by other bytes."""
        stem, dot, suffix = key.name.rpartition(".")
        number = 0
        while not overwrite and self._files.get(key) not in (None, data):
            number += 1
            key = key._replace(name=f"{stem} ({number}){dot}{suffix}")
        return key

    async def _system_stats(self, request: web.Request) -> web.Response:
        vram = self.settings.vram_bytes
        memory = {"vram_total": vram, "vram_free": vram, "torch_vram_total": vram, "torch_vram_free": vram}
        system = {
            "os": "posix",
            "ram_total": vram,
            "ram_free": vram,
            "comfyui_version": "0.3.64",
            "python_version": "sandbox",
            "pytorch_version": "none",
            "embedded_python": False,
            "argv": ["main.py"],
        }
        device = {"name": self.settings.gpu, "type": "sandbox", "index": None, **memory}
        return _json({"system": system, "devices": [device]})

    async def _features(self, request: web.Request) -> web.Response:
        return _json(FEATURES)

    async def _object_info(self, request: web.Request) -> web.Response:
        name = request.match_info.get("class_type")
        nodes = self._nodes()
        return _json(nodes if name is None else {name: nodes[name]} if name in nodes else {})

    async def _models(self, request: web.Request) -> web.Response:
        folder = request.match_info.get("folder")
        if folder is None:
            return _json(_MODEL_FOLDERS)
        if folder not in _MODEL_FOLDERS:
            return web.Response(status=404)
        files = {"checkpoints": self.settings.checkpoints, "loras": self.settings.loras}
        return _json(files.get(folder, ()))

    async def _embeddings(self, request: web.Request) -> web.Response:
        return _json([])

    async def _free(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("unload_models"):
            self._machine.loaded = ""
        if body.get("free_memory"):
            self._machine.cache.clear()
        return web.Response()


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", charset="utf-8"
    )


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read() or b"{}")
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _no_prompt() -> dict[str, Any]:
    text = "No prompt provided"
    return {
        "error": {"type": "no_prompt", "message": text, "details": text, "extra_info": {}},
        "node_errors": {},
    }
