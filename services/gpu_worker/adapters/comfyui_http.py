"""ComfyUI's HTTP calls, over kept-alive connections.

urllib3 rather than ``http.client``: it notices a connection that the server closed while idle, and it is thread-safe,
since a job, a report and a cancellation call at once.  boto3 brings it anyway.  No call is repeated here: only the
caller knows what repeating would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import urllib3

from services.gpu_worker.adapters.comfyui_events import OutputFile


class Why(Enum):
    """Why a call had no answer."""

    UNREACHED = "no connection"  #: It was never sent.
    DROPPED = "connection dropped"  #: Sent, perhaps; the connection ended before an answer.
    SILENT = "no answer in time"  #: Sent, and perhaps still to be read.
    NONSENSE = "unexpected answer"  #: Answered, but not as ComfyUI does when all is well.


class ComfyUIAway(Exception):
    """ComfyUI did not answer, or answered what it never should."""

    def __init__(self, what: str, why: Why) -> None:
        super().__init__(f"{what}: {why.value}")
        self.why = why


class Place(Enum):
    """Where ComfyUI has a prompt."""

    PENDING = "in its queue"
    RUNNING = "running"
    FINISHED = "in its history"
    UNKNOWN = "nowhere"


class Located(NamedTuple):
    """Where a prompt is, with its history entry if it has finished."""

    place: Place
    entry: dict[str, Any]


class Answer(NamedTuple):
    """A response: its status and its body, parsed where it is JSON."""

    status: int
    body: Any


class ComfyUIHttp:
    """One ComfyUI's HTTP interface.  Thread-safe; each method blocks at most ``seconds`` per round trip."""

    def __init__(self, url: str, *, connect_seconds: float, seconds: float) -> None:
        parts = urlsplit(url)
        self._base = parts.path.rstrip("/")
        self._connect_seconds = connect_seconds
        self._seconds = seconds
        pool = urllib3.HTTPSConnectionPool if parts.scheme == "https" else urllib3.HTTPConnectionPool
        self._pool = pool(parts.hostname or "", parts.port, maxsize=3, block=False, retries=False)

    def post_prompt(self, body: Mapping[str, Any]) -> Answer:
        """POST /prompt; 200 and 400 are answers, anything else is `ComfyUIAway`."""
        return self._call("POST", "/prompt", body, expected=(200, 400))

    def locate(self, prompt_id: str) -> Located:
        """Look for a prompt in the queue, then in the history.

        In this order: ComfyUI moves it from one to the other in one step, so looking the other way round could
        miss it between two looks.
        """
        queue = self._call("GET", "/queue").body
        if _among(queue.get("queue_running"), prompt_id):
            return Located(Place.RUNNING, {})
        if _among(queue.get("queue_pending"), prompt_id):
            return Located(Place.PENDING, {})
        entry = self._call("GET", f"/history/{quote(prompt_id, safe='')}").body.get(prompt_id)
        return Located(Place.FINISHED, entry) if entry else Located(Place.UNKNOWN, {})

    def stop(self, prompt_id: str) -> Place:
        """Tell ComfyUI to drop this prompt and no other; returns where it was.

        An interrupt without a prompt id would stop whatever runs, and one for a pending prompt does nothing: so
        look first, and look again after a deletion, since it may have started meanwhile.
        """
        place = self.locate(prompt_id).place
        if place is Place.PENDING:
            self._call("POST", "/queue", {"delete": [prompt_id]})
            after = self.locate(prompt_id).place
            place = Place.PENDING if after is Place.UNKNOWN else after
        if place is Place.RUNNING:
            self._call("POST", "/interrupt", {"prompt_id": prompt_id})
        return place

    def upload(self, subfolder: str, name: str, content_type: str, data: bytes) -> str:
        """POST /upload/image; returns the file's name as LoadImage wants it."""
        fields = {
            "image": (name, data, content_type),
            "subfolder": subfolder,
            "type": "input",
            "overwrite": "true",  # a repeated job's upload must not become "name (1).png"
        }
        answer = self._call("POST", "/upload/image", fields=fields).body
        stored = str(answer.get("name", name))
        return f"{answer['subfolder']}/{stored}" if answer.get("subfolder") else stored

    def view(self, file: OutputFile) -> bytes | None:
        """GET /view: the file's bytes, or None where ComfyUI no longer has it."""
        response = self._send("GET", f"/view?{urlencode(file._asdict())}")
        if response.status == 404:
            return None
        if response.status != 200:
            raise ComfyUIAway(f"GET /view answered {response.status}", Why.NONSENSE)
        return response.data

    def system_stats(self) -> dict[str, Any]:
        """GET /system_stats."""
        return dict(self._call("GET", "/system_stats").body)

    def models(self, folder: str) -> tuple[str, ...]:
        """GET /models/{folder}: the file names; none where the folder is not known."""
        body = self._call("GET", f"/models/{folder}", expected=(200, 404)).body
        return tuple(str(name) for name in body) if isinstance(body, list) else ()

    def close(self) -> None:
        """Close every idle connection."""
        self._pool.close()

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        fields: Mapping[str, Any] | None = None,
        expected: tuple[int, ...] = (200,),
    ) -> Answer:
        response = self._send(method, path, body, fields)
        if response.status not in expected:
            raise ComfyUIAway(f"{method} {path.partition('?')[0]} answered {response.status}", Why.NONSENSE)
        if not response.data:
            return Answer(response.status, {})
        try:
            return Answer(response.status, msgspec.json.decode(response.data))
        except msgspec.DecodeError as error:
            raise ComfyUIAway(
                f"{method} {path} answered {response.status} without JSON", Why.NONSENSE
            ) from error

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        timeout = urllib3.Timeout(connect=self._connect_seconds, read=self._seconds)
        try:
            if fields is not None:
                return self._pool.request(method, self._base + path, fields=dict(fields), timeout=timeout)
            return self._pool.request(method, self._base + path, body=data, headers=headers, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise ComfyUIAway(f"{method} {path.partition('?')[0]}", _why(error)) from error


def _why(error: urllib3.exceptions.HTTPError) -> Why:
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
        return Why.UNREACHED
    return Why.SILENT if isinstance(error, urllib3.exceptions.TimeoutError) else Why.DROPPED


def _among(items: Any, prompt_id: str) -> bool:
    """Queue items are ``[number, prompt id, graph, extra data, outputs]``."""
    return any(isinstance(item, list) and len(item) > 1 and item[1] == prompt_id for item in items or ())
