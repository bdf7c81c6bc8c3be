"""The loopback ComfyUI behaves as the real server does, frame by frame and answer by answer."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from services.sandbox.comfyui import ComfyUISandbox, Fault, FaultKind, SandboxSettings
from tests.fakes.graphs import text_graph
from tests.harness.waiting import eventually_async
from tests.unit.sandbox.comfyui_client import WAIT, Client


@pytest.fixture
async def sandbox() -> AsyncIterator[ComfyUISandbox]:
    """A quick one."""
    served = ComfyUISandbox(SandboxSettings(step_seconds=0.002, image_seconds=0.0))
    await served.start()
    yield served
    await served.stop()


@pytest.fixture
async def client(sandbox: ComfyUISandbox) -> AsyncIterator[Client]:
    """A client that is connected and has seen its first status."""
    async with aiohttp.ClientSession(sandbox.url) as session:
        one = Client(session, "me")
        await one.connect()
        assert (await one.next())["data"]["sid"] == "me"
        yield one


def kinds(frames: list[Any]) -> list[str]:
    """The frames' types, a run of ``progress_state`` counted once."""
    names = ["binary" if isinstance(frame, bytes) else frame["type"] for frame in frames]
    return [name for i, name in enumerate(names) if name != "progress_state" or names[i - 1] != name]


def flat(colour: int = 1, prefix: str = "job") -> dict[str, Any]:
    """The smallest graph that saves images."""
    empty = {"width": 64, "height": 64, "batch_size": 2, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


async def test_events_come_in_comfyuis_order(client: Client) -> None:
    """The order that a client builds on, from the queue's status to the empty node."""
    frames = await client.run(flat())
    assert kinds(frames) == [
        *("status", "status", "execution_start", "execution_cached"),
        *("progress_state", "executing", "progress_state", "executing", "executed", "progress_state"),
        *("execution_success", "status", "executing"),
    ]


async def test_a_sampler_tells_its_steps(client: Client) -> None:
    """Value, maximum and node, after a ``progress_state`` that says the same."""
    frames = [f["data"] for f in await client.run(text_graph(steps=3)) if f["type"] == "progress"]
    assert [(f["value"], f["max"], f["node"]) for f in frames] == [(1, 3, "3"), (2, 3, "3"), (3, 3, "3")]


async def test_history_has_the_files_once_the_prompt_is_left(client: Client) -> None:
    """Outputs, status and messages, in ComfyUI's shape."""
    await client.run(flat(prefix="probe/job"), prompt_id="mine")
    _, body = await client.call("GET", "/history/mine")
    images = [{"filename": f"job_0000{n}_.png", "subfolder": "probe", "type": "output"} for n in (1, 2)]
    assert body["mine"]["outputs"] == {"2": {"images": images}}
    assert body["mine"]["prompt"][1:] == ["mine", flat(prefix="probe/job"), {"client_id": "me"}, ["2"]]
    status = body["mine"]["status"]
    assert (status["status_str"], status["completed"]) == ("success", True)
    assert [m[0] for m in status["messages"]] == ["execution_start", "execution_cached", "execution_success"]


async def test_an_identical_graph_is_answered_from_the_cache(client: Client, sandbox: ComfyUISandbox) -> None:
    """Every node is cached, the files are those of the run before, and nothing is written."""
    first = await client.run(flat())
    second = await client.run(flat())
    files = [[f["data"]["output"] for f in frames if f["type"] == "executed"] for frames in (first, second)]
    assert files[0] == files[1]
    cached = next(f["data"]["nodes"] for f in second if f["type"] == "execution_cached")
    assert cached == ["1", "2"]
    assert [run.cached for run in sandbox.runs.runs()] == [False, True]
    assert (await client.call("GET", "/view?filename=job_00003_.png&type=output"))[0] == 404


async def test_a_changed_node_reruns_with_everything_below_it(client: Client) -> None:
    """What lies above it comes from the cache."""
    await client.run(text_graph("a cat"))
    frames = await client.run(text_graph("a dog"))
    cached = next(f["data"]["nodes"] for f in frames if f["type"] == "execution_cached")
    assert cached == ["4", "5", "7"]


async def test_a_duplicate_prompt_id_runs_again(client: Client, sandbox: ComfyUISandbox) -> None:
    """ComfyUI does not look: keeping it from happening is the client's business."""
    await client.run(flat(1), prompt_id="twice")
    await client.run(flat(2), prompt_id="twice")
    assert [run.prompt_id for run in sandbox.runs.runs()] == ["twice", "twice"]


async def test_one_prompt_runs_at_a_time_in_the_queues_order(client: Client, sandbox: ComfyUISandbox) -> None:
    """There is one GPU; ``front`` and a negative ``number`` overtake."""
    sandbox.faults.arm(Fault(kind=FaultKind.HANG))
    await client.post(text_graph(), prompt_id="running")
    await client.until("progress_state")
    await client.post(flat(1), prompt_id="second")
    await client.post(flat(2), prompt_id="first", front=True)
    await client.post(flat(3), prompt_id="between", number=-1)
    _, queue = await client.call("GET", "/queue")
    assert [item[1] for item in queue["queue_running"]] == ["running"]
    assert sorted(item[1] for item in queue["queue_pending"]) == ["between", "first", "second"]
    sandbox.faults.disarm()
    order = [(await client.until("execution_start"))[-1]["data"]["prompt_id"] for _ in range(3)]
    assert order == ["first", "between", "second"]


async def test_events_go_to_the_client_that_posted(client: Client) -> None:
    """Another client sees the queue's status and nothing of the job."""
    other = Client(client.session, "other")
    await other.connect()
    await other.next()
    await client.run(flat())
    seen = [await other.next() for _ in range(3)]
    assert kinds(seen) == ["status", "status", "status"]


async def test_a_prompt_without_a_client_tells_everybody_its_progress(client: Client) -> None:
    """And nothing else: such a prompt has no start and no end on any socket."""
    assert (await client.call("POST", "/prompt", {"prompt": text_graph(steps=2)}))[0] == 200
    frames = await client.until("status")
    for _ in range(2):
        frames += await client.until("status")
    assert set(kinds(frames)) == {"status", "progress_state", "progress"}


async def test_a_reconnect_gets_the_running_node_without_a_prompt_id(
    client: Client, sandbox: ComfyUISandbox
) -> None:
    """And goes on to receive; nothing missed is repeated."""
    sandbox.faults.arm(Fault(kind=FaultKind.DROP_WEBSOCKET))
    sandbox.faults.arm(Fault(kind=FaultKind.HANG, at_step=2))
    await client.post(text_graph())
    assert client.socket is not None
    while (await client.socket.receive(WAIT)).type is aiohttp.WSMsgType.TEXT:
        pass
    await client.connect()
    status, node = await client.next(), await client.next()
    assert status["data"]["sid"] == "me"
    assert node == {"type": "executing", "data": {"node": "3"}}
    sandbox.faults.disarm()
    assert "execution_success" in kinds(await client.until("execution_success"))


async def test_closing_the_old_socket_silences_the_new_one(client: Client) -> None:
    """A habit of ComfyUI that a client has to live with."""
    old = client.socket
    await client.connect()
    await client.next()
    assert old is not None
    await old.close()
    await client.post(flat())
    assert client.socket is not None
    with pytest.raises(asyncio.TimeoutError):
        await client.socket.receive(0.2)


async def test_an_interrupt_by_id_stops_the_running_prompt_and_no_pending_one(
    client: Client, sandbox: ComfyUISandbox
) -> None:
    """It always answers 200; its history is an error that was not completed."""
    sandbox.faults.arm(Fault(kind=FaultKind.HANG))
    await client.post(text_graph(), prompt_id="running")
    await client.until("progress_state")
    await client.post(flat(), prompt_id="pending")
    assert await client.call("POST", "/interrupt", {"prompt_id": "pending"}) == (200, b"")
    assert (await client.call("GET", "/history/running"))[1] == {}
    assert await client.call("POST", "/interrupt", {"prompt_id": "running"}) == (200, b"")
    interrupted = (await client.until("execution_interrupted"))[-1]["data"]
    assert (interrupted["prompt_id"], interrupted["node_type"]) == ("running", "KSampler")
    await eventually_async(lambda: [run.outcome for run in sandbox.runs.runs()] == ["interrupted", "success"])
    _, body = await client.call("GET", "/history/running")
    assert body["running"]["status"]["status_str"] == "error"
    assert body["running"]["status"]["completed"] is False


async def test_an_interrupt_with_nothing_running_does_nothing(client: Client) -> None:
    """Also not to the next prompt."""
    assert (await client.call("POST", "/interrupt"))[0] == 200
    assert "execution_success" in kinds(await client.run(flat()))


async def test_a_deleted_pending_prompt_leaves_no_trace_and_a_running_one_stays(
    client: Client, sandbox: ComfyUISandbox
) -> None:
    """No event, no history; deleting the running one has no effect."""
    sandbox.faults.arm(Fault(kind=FaultKind.HANG))
    await client.post(text_graph(), prompt_id="running")
    await client.post(flat(), prompt_id="pending")
    await eventually_async(lambda: sandbox.runs.counters["started"] == 1)
    assert await client.call("POST", "/queue", {"delete": ["pending", "running"]}) == (200, b"")
    _, queue = await client.call("GET", "/queue")
    assert [item[1] for item in queue["queue_running"]] == ["running"]
    assert queue["queue_pending"] == []
    assert (await client.call("GET", "/history/pending"))[1] == {}


async def test_clearing_the_queue_keeps_what_runs(client: Client, sandbox: ComfyUISandbox) -> None:
    """And history entries can be deleted and counted out."""
    await client.run(flat(5), prompt_id="old")
    sandbox.faults.arm(Fault(kind=FaultKind.HANG))
    await client.post(text_graph(), prompt_id="running")
    await client.until("executing")
    await client.post(flat())
    await client.call("POST", "/queue", {"clear": True})
    _, queue = await client.call("GET", "/queue")
    assert (len(queue["queue_running"]), queue["queue_pending"]) == (1, [])
    assert list((await client.call("GET", "/history?max_items=1"))[1]) == ["old"]
    await client.call("POST", "/history", {"delete": ["old"]})
    assert (await client.call("GET", "/history"))[1] == {}


async def test_a_node_error_is_told_with_everything_that_must_not_be_shown(
    client: Client, sandbox: ComfyUISandbox
) -> None:
    """Server paths, a traceback and the inputs: a client has to leave them out."""
    frames = await client.run(flat(prefix="../../escape"))
    error = next(f["data"] for f in frames if f["type"] == "execution_error")
    assert (error["node_id"], error["node_type"], error["exception_type"]) == ("2", "SaveImage", "Exception")
    assert error["exception_message"].startswith("**** ERROR: Saving image outside the output folder")
    assert "/opt/ComfyUI" in error["exception_message"]
    assert error["traceback"]
    assert [run.outcome for run in sandbox.runs.runs()] == ["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/view?filename=nope.png&type=output", 404),
        ("/view?filename=../x.png&type=output", 400),
        ("/view?filename=/etc/passwd", 400),
        ("/view?filename=x.png&type=secrets", 400),
        ("/view?filename=x.png&subfolder=../..", 403),
        ("/models/nope", 404),
    ],
)
async def test_what_is_not_there_or_not_allowed_is_refused(client: Client, path: str, status: int) -> None:
    """Paths never lead out of the folders."""
    assert (await client.call("GET", path))[0] == status


async def test_a_body_that_is_not_json_is_a_500_in_plain_text(client: Client) -> None:
    """The one refusal that is no JSON."""
    async with client.session.post("/prompt", data=b"{") as response:
        assert (response.status, response.content_type) == (500, "text/plain")


async def test_a_body_without_a_prompt_and_a_refused_graph_are_400(client: Client) -> None:
    """Both with ``error`` and ``node_errors``."""
    status, body = await client.call("POST", "/prompt", {"foo": 1})
    assert (status, body["error"]["type"], body["node_errors"]) == (400, "no_prompt", {})
    status, body = await client.call("POST", "/prompt", {"prompt": {"1": flat()["1"]}})
    assert (status, body["error"]["type"]) == (400, "prompt_no_outputs")


async def upload(client: Client, data: bytes, overwrite: str = "") -> Any:
    """Upload an image."""
    form = aiohttp.FormData()
    form.add_field("image", data, filename="in.png", content_type="image/png")
    form.add_field("subfolder", "mine")
    form.add_field("overwrite", overwrite)
    async with client.session.post("/upload/image", data=form) as response:
        return await response.json()


async def test_any_bytes_can_be_uploaded_and_a_taken_name_gets_a_number(client: Client) -> None:
    """Equal bytes keep the name, and ``overwrite`` replaces."""
    assert await upload(client, b"8 bytes!") == {"name": "in.png", "subfolder": "mine", "type": "input"}
    assert (await upload(client, b"8 bytes!"))["name"] == "in.png"
    assert (await upload(client, b"others"))["name"] == "in (1).png"
    assert (await upload(client, b"others", "true"))["name"] == "in.png"
    _, info = await client.call("GET", "/object_info/LoadImage")
    choices = info["LoadImage"]["input"]["required"]["image"][0]
    assert sorted(choices) == ["mine/in (1).png", "mine/in.png"]


async def test_it_says_what_it_is_and_has(client: Client) -> None:
    """Stats, models and node classes, in ComfyUI's shapes."""
    _, stats = await client.call("GET", "/system_stats")
    assert stats["system"]["comfyui_version"]
    assert "no GPU" in stats["devices"][0]["name"]
    assert len((await client.call("GET", "/models/checkpoints"))[1]) == 2
    assert "checkpoints" in (await client.call("GET", "/models"))[1]
    _, nodes = await client.call("GET", "/object_info")
    assert nodes["KSampler"]["input"]["required"]["steps"][0] == "INT"
    assert (await client.call("GET", "/object_info/Nope"))[1] == {}
    assert (await client.call("GET", "/prompt"))[1] == {"exec_info": {"queue_remaining": 0}}


async def test_images_over_the_websocket_carry_metadata_only_where_asked(client: Client) -> None:
    """Type 1 with a format before the feature flag, type 4 with JSON after it; history lists nothing."""
    graph = flat() | {"2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    plain = [f for f in await client.run(graph, prompt_id="ws") if isinstance(f, bytes)]
    assert [struct.unpack(">II", frame[:8]) for frame in plain] == [(1, 2), (1, 2)]
    assert plain[0][8:16] == b"\x89PNG\r\n\x1a\n"
    assert (await client.call("GET", "/history/ws"))[1]["ws"]["outputs"] == {}
    assert client.socket is not None
    await client.socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    assert (await client.until("feature_flags"))[-1]["data"]["supports_preview_metadata"] is True
    graph["1"]["inputs"]["color"] = 9
    rich = next(f for f in await client.run(graph) if isinstance(f, bytes))
    kind, length = struct.unpack(">II", rich[:8])
    assert (kind, json.loads(rich[8 : 8 + length])["image_type"]) == (4, "image/png")


async def test_instant_mode_answers_in_few_frames_with_tiny_images() -> None:
    """What a benchmark needs: the same protocol, next to no work."""
    served = ComfyUISandbox(SandboxSettings(instant=True, step_seconds=9.0, image_seconds=9.0))
    await served.start()
    async with aiohttp.ClientSession(served.url) as session:
        client = Client(session, "me")
        await client.connect()
        await client.next()
        frames = await client.run(text_graph(steps=50, side=1024))
        assert "progress_state" not in kinds(frames)
        (file,) = next(f for f in frames if f["type"] == "executed")["data"]["output"]["images"]
        _, raw = await client.call("GET", f"/view?filename={file['filename']}&type=output")
        assert struct.unpack(">II", raw[16:24]) == (64, 64)
    await served.stop()


async def test_runs_tell_when_each_job_was_posted_and_succeeded(client: Client) -> None:
    """Both clocks, for benchmarks in other processes."""
    await client.run(flat(), prompt_id="a")
    _, body = await client.call("GET", "/sandbox/runs")
    (run,) = body["runs"]
    assert run["posted_monotonic"] <= run["started_monotonic"] <= run["succeeded_monotonic"]
    assert run["posted_at"] <= run["succeeded_at"]
    assert (run["prompt_id"], run["client_id"], run["images"], run["outcome"]) == ("a", "me", 2, "success")
    assert (await client.call("DELETE", "/sandbox/runs"))[0] == 204
    assert (await client.call("GET", "/sandbox/runs"))[1] == {"counters": {}, "runs": []}


async def test_faults_are_armed_listed_and_disarmed_over_http(client: Client) -> None:
    """And a mistyped one is refused with the reason."""
    assert (await client.call("POST", "/sandbox/faults", {"kind": "hang", "times": 2}))[0] == 201
    assert (await client.call("GET", "/sandbox/faults"))[1][0]["kind"] == "hang"
    status, text = await client.call("POST", "/sandbox/faults", {"kind": "hnag"})
    assert (status, text[:12]) == (400, b"Not a fault:")
    assert (await client.call("DELETE", "/sandbox/faults"))[0] == 204
    assert (await client.call("GET", "/sandbox/faults"))[1] == []


async def test_a_fault_strikes_only_the_jobs_that_hold_its_text_and_so_often(client: Client) -> None:
    """So that one request of many can be made to fail."""
    await client.call(
        "POST", "/sandbox/faults", {"kind": "node_exception", "text": "doomed", "times": 2, "message": "no"}
    )
    ends = []
    for number, prompt in enumerate(["fine", "doomed", "doomed", "doomed"]):
        frames = await client.run(text_graph(f"{prompt} {number}"))
        ends += [k for k in kinds(frames) if k in ("execution_success", "execution_error")]
    assert ends == ["execution_success", "execution_error", "execution_error", "execution_success"]


async def test_the_oldest_images_go_when_memory_is_full() -> None:
    """A demo that runs for days keeps a bounded heap."""
    served = ComfyUISandbox(SandboxSettings(instant=True, kept_bytes=12_000))
    await served.start()
    async with aiohttp.ClientSession(served.url) as session:
        client = Client(session, "me")
        await client.connect()
        await client.next()
        for number in range(12):
            await client.run(text_graph(f"number {number}"))
        found = [
            (await client.call("GET", f"/view?filename=unbound_{number:05}_.png&type=output"))[0]
            for number in (1, 12)
        ]
        assert found == [404, 200]
    await served.stop()
