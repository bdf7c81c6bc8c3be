"""A ComfyUI that knows one thing: to play a recording to whoever posts a prompt.

Its queue is empty, and its history is what a test says.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from PIL import Image

from tests.fakes.replayed_frames import replayed


class ReplayComfyUI:
    """Plays ``recording`` once for every prompt."""

    def __init__(self, recording: str, history: dict[str, Any]) -> None:
        self._recording = recording
        self._history = history
        self._sockets: list[tuple[web.WebSocketResponse, asyncio.Transport | None]] = []
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64)).save(buffer, "PNG")
        self._image = buffer.getvalue()

    def app(self) -> web.Application:
        """The HTTP surface that a job needs."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/ws", self._ws),
                web.post("/prompt", self._prompt),
                web.get("/view", self._view),
                web.get("/queue", self._queue),
                web.get("/history/{prompt_id}", self._get_history),
            ]
        )
        return app

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append((socket, request.transport))
        status = {"status": {"exec_info": {"queue_remaining": 0}}, "sid": request.query["clientId"]}
        await socket.send_json({"type": "status", "data": status})
        async for _ in socket:
            pass
        return socket

    async def _prompt(self, request: web.Request) -> web.Response:
        """The events overtake the answer, as those of a cached prompt can."""
        prompt_id = (await request.json())["prompt_id"]
        socket, transport = self._sockets[-1]
        for frame in replayed(self._recording, prompt_id):
            if isinstance(frame, bytes):
                await socket.send_bytes(frame)
            elif frame is not None:
                await socket.send_str(frame)
            elif transport is not None:
                transport.abort()
        return web.json_response({"prompt_id": prompt_id, "number": 0, "node_errors": {}})

    async def _queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def _get_history(self, request: web.Request) -> web.Response:
        return web.json_response({request.match_info["prompt_id"]: self._history} if self._history else {})

    async def _view(self, request: web.Request) -> web.Response:
        return web.Response(body=self._image, content_type="image/png")


@contextlib.contextmanager
def replay(recording: str, history: dict[str, Any] | None = None) -> Iterator[str]:
    """Serve a recording, and the history of every prompt, in a thread; gives the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(ReplayComfyUI(recording, history or {}).app(), shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
