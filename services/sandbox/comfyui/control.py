"""The sandbox's own HTTP surface, beside ComfyUI's: arm faults, read what ran."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from services.sandbox.comfyui.faults import Fault, Faults
from services.sandbox.comfyui.runs import RunLog


def control_routes(faults: Callable[[], Faults], runs: Callable[[], RunLog]) -> list[web.RouteDef]:
    """``/sandbox/faults`` (GET, POST one fault, DELETE all) and ``/sandbox/runs`` (GET, DELETE)."""

    async def get_faults(request: web.Request) -> web.Response:
        return _json(faults().armed())

    async def post_fault(request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return web.Response(status=400, text=f"Not a fault: {error}. Nothing was armed.")
        faults().arm(fault)
        return _json(fault, 201)

    async def delete_faults(request: web.Request) -> web.Response:
        faults().disarm()
        return web.Response(status=204)

    async def get_runs(request: web.Request) -> web.Response:
        log = runs()
        return _json({"counters": dict(log.counters), "runs": log.runs()})

    async def delete_runs(request: web.Request) -> web.Response:
        runs().clear()
        return web.Response(status=204)

    return [
        web.get("/sandbox/faults", get_faults),
        web.post("/sandbox/faults", post_fault),
        web.delete("/sandbox/faults", delete_faults),
        web.get("/sandbox/runs", get_runs),
        web.delete("/sandbox/runs", delete_runs),
    ]


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
