"""ComfyUI's HTTP calls against a scripted server: their order, and what each kind of trouble is called."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.adapters.comfyui_events import OutputFile
from services.gpu_worker.adapters.comfyui_http import ComfyUIAway, ComfyUIHttp, Place, Why

RUNNING = {"queue_running": [[1, "mine", {}, {}, []]], "queue_pending": []}
PENDING = {"queue_running": [[1, "other", {}, {}, []]], "queue_pending": [[2, "mine", {}, {}, []]]}
EMPTY: dict[str, list[Any]] = {"queue_running": [], "queue_pending": []}


class Scripted(ThreadingHTTPServer):
    """Answers each path with the next of its scripted answers, and the last for ever; notes every call."""

    daemon_threads = True

    def __init__(self, script: dict[str, list[Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.script = script
        self.calls: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    """One call."""

    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer as scripted."""
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.calls.append((f"{self.command} {self.path}", body))
        answers = self.server.script.get(self.path, [{}])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == "drop":
            self.close_connection = True
            return
        status, data = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    """A server whose script a test fills in."""
    scripted = Scripted({})
    thread = threading.Thread(target=scripted.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield scripted
    scripted.shutdown()
    scripted.server_close()
    thread.join()


@pytest.fixture
def http(server: Scripted) -> Iterator[ComfyUIHttp]:
    """A client of that server."""
    client = ComfyUIHttp(server.url, connect_seconds=1.0, seconds=1.0)
    yield client
    client.close()


def test_the_queue_is_read_before_the_history(server: Scripted, http: ComfyUIHttp) -> None:
    """The other way round, a prompt that moves from one to the other between two looks would be lost."""
    server.script |= {"/queue": [EMPTY], "/history/mine": [{"mine": {"status": {}, "outputs": {}}}]}
    assert http.locate("mine").place is Place.FINISHED
    assert [call for call, _ in server.calls] == ["GET /queue", "GET /history/mine"]


@pytest.mark.parametrize(
    ("queue", "place"), [(RUNNING, Place.RUNNING), (PENDING, Place.PENDING), (EMPTY, Place.UNKNOWN)]
)
def test_a_prompt_is_found_where_it_is(
    server: Scripted, http: ComfyUIHttp, queue: dict[str, Any], place: Place
) -> None:
    """Running, pending, or nowhere."""
    server.script["/queue"] = [queue]
    assert http.locate("mine").place is place


def test_a_prompt_that_starts_while_it_is_deleted_is_interrupted(server: Scripted, http: ComfyUIHttp) -> None:
    """A deletion does nothing to a running prompt: without a second look it would run on for nobody."""
    server.script["/queue"] = [PENDING, {}, RUNNING]
    assert http.stop("mine") is Place.RUNNING
    assert server.calls[-1] == ("POST /interrupt", {"prompt_id": "mine"})
    assert ("POST /queue", {"delete": ["mine"]}) in server.calls


def test_a_prompt_that_nobody_knows_is_not_interrupted(server: Scripted, http: ComfyUIHttp) -> None:
    """Whatever runs then is somebody else's."""
    server.script["/queue"] = [PENDING | {"queue_pending": []}]
    assert http.stop("mine") is Place.UNKNOWN
    assert not [call for call, _ in server.calls if call.startswith("POST")]


@pytest.mark.parametrize(
    ("answer", "why"),
    [((500, b"trouble"), Why.NONSENSE), ((200, b"<html>"), Why.NONSENSE), ("drop", Why.DROPPED)],
)
def test_trouble_is_told_apart(server: Scripted, http: ComfyUIHttp, answer: object, why: Why) -> None:
    """Only a dropped call may be repeated after a look, so the kinds must differ."""
    server.script["/prompt"] = [answer]
    with pytest.raises(ComfyUIAway) as caught:
        http.post_prompt({})
    assert caught.value.why is why


def test_a_server_that_does_not_answer_is_silent_and_one_that_is_not_there_unreached() -> None:
    """One may still read what it was sent, the other never got it."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        client = ComfyUIHttp(url, connect_seconds=1.0, seconds=0.1)
        with pytest.raises(ComfyUIAway) as silent:
            client.system_stats()
    with pytest.raises(ComfyUIAway) as unreached:
        client.system_stats()
    client.close()
    assert (silent.value.why, unreached.value.why) == (Why.SILENT, Why.UNREACHED)


def test_a_path_in_the_address_is_kept_and_names_are_quoted(server: Scripted) -> None:
    """ComfyUI may stand behind a proxy's path, and a file name may hold anything."""
    client = ComfyUIHttp(f"{server.url}/comfy/", connect_seconds=1.0, seconds=1.0)
    client.view(OutputFile("a b&c.png", "x/y", "output"))
    client.close()
    assert server.calls[0][0] == "GET /comfy/view?filename=a+b%26c.png&subfolder=x%2Fy&type=output"


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync", "NVIDIA GeForce RTX 4090"),
        ("cuda:1 Tesla T4 : native", "Tesla T4"),
        ("cpu", "cpu"),
        ("mps", "mps"),
    ],
)
def test_the_gpus_name_is_told_without_device_and_allocator(server: Scripted, name: str, gpu: str) -> None:
    """The dispatcher compares GPUs by name."""
    device = {"name": name, "vram_total": 24 * 1024**3}
    server.script |= {
        "/system_stats": [{"devices": [device]}],
        "/models/checkpoints": [["a.safetensors"]],
        "/models/loras": [(404, b"")],
    }
    renderer = ComfyUIRenderer(server.url)
    info = renderer.describe()
    renderer.close()
    assert (info.gpu, info.vram_bytes, info.checkpoints, info.loras) == (
        gpu,
        24 * 1024**3,
        ("a.safetensors",),
        (),
    )
