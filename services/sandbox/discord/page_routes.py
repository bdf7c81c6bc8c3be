"""The page's files and the attachments, as a browser and a bot fetch them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from aiohttp import web

from services.sandbox.discord.bodies import json_answer
from services.sandbox.discord.calls import Call, Calls
from services.sandbox.discord.faults import Route
from services.sandbox.discord.refusal import Refusal
from services.sandbox.discord.world import World

_TYPES = {
    "index.html": "text/html",
    "style.css": "text/css",
    "app.js": "text/javascript",
    "buttons.js": "text/javascript",
    "channel.js": "text/javascript",
    "composer.js": "text/javascript",
    "elements.js": "text/javascript",
    "lightbox.js": "text/javascript",
    "markdown.js": "text/javascript",
}
#: Nothing but this server's own files runs or loads in the page, whatever a message says.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_LOOPBACK = frozenset({"127.0.0.1", "localhost"})


class PageRoutes:
    """``/``, ``/page/…`` and ``/attachments/…``."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        attachment = "/attachments/{channel}/{file}/{name}"
        return [
            web.get("/", self._page),
            web.get("/page/{name}", self._page),
            Calls(self._world).route("GET", attachment, Route.FILE, self._file, for_bot=False),
        ]

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in _TYPES:
            raise web.HTTPNotFound
        body = (files("services.sandbox.discord") / "page" / name).read_bytes()
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache", **_SNIFF}
        return web.Response(body=body, content_type=_TYPES[name], charset="utf-8", headers=headers)

    async def _file(self, call: Call) -> web.Response:
        """A file as it was sent; what is no picture is only ever downloaded."""
        found = self._world.files.get(call.part("file"))
        if found is None or found.filename != call.part("name"):
            raise Refusal(404, 0, "This content is no longer available.")
        shown = "inline" if found.content_type.startswith("image/") else "attachment"
        headers = {
            "Content-Disposition": f'{shown}; filename="{found.filename.encode("ascii", "replace").decode()}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "private, max-age=86400",
            **_SNIFF,
        }
        return web.Response(body=found.body, content_type=found.content_type, headers=headers)


_SNIFF = {"X-Content-Type-Options": "nosniff"}


@web.middleware
async def loopback_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse what another web site's page sends here: a foreign origin, or a foreign name for this machine."""
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin != f"{request.scheme}://{request.host}"
    if foreign or request.host.rpartition(":")[0] not in _LOOPBACK:
        return json_answer({"message": "The sandbox answers only this machine's own pages.", "code": 0}, 403)
    return await handler(request)
