"""The whole chain under load: what it adds to ComfyUI's own time, how much it carries, what it weighs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.sandbox.discord.client import SandboxDiscord
from tests.bench.statistics import percentiles
from tests.harness.chain import Chain, is_final
from tests.harness.kafka import KafkaCorner

INSTANT = ("--instant",)
PROMPT = "a lighthouse at dusk, waves on the rocks --images 1 --steps 1"


@contextmanager
def running(kafka: KafkaCorner, folder: Path, *, workers: int) -> Iterator[Chain]:
    """A chain whose ComfyUI answers at once."""
    kafka.create_registry_topics()
    env = {"LOG_LEVEL": "warning"}
    chain = Chain(kafka, folder, env=env, comfyui_args=INSTANT, workers=workers)
    try:
        yield chain.start()
    finally:
        chain.close()


def overhead(chain: Chain, *, rate: float, count: int) -> dict[str, float]:
    """p50 and p99 in ms of the time that is the chain's own.

    From the interaction to ComfyUI's POST /prompt, plus from ComfyUI's success to Discord's final PATCH.
    """
    for warm in range(10):  # every connection is open, every producer has its id
        chain.wait_final([chain.submit(warm, PROMPT)], 60)
    requests = []
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))  # noqa: TID251 - keeps the rate
        requests.append(chain.submit(number % 20, f"{PROMPT} --seed {number}"))
    chain.wait_final(requests, 60)
    return percentiles(_own_times(chain, requests), "overhead")


def throughput(chain: Chain, *, count: int, window: int) -> float:
    """Requests a second from submission to final message, ``window`` of them under way at a time."""
    ended = _Ended(chain.discord.url)
    under_way: deque[str] = deque()
    begin = time.monotonic()
    for number in range(count):
        while len(under_way) >= window:
            ended.wait_for(under_way.popleft())
        under_way.append(chain.submit(number % 100, f"{PROMPT} --seed {number}"))
    for request in under_way:
        ended.wait_for(request)
    seconds = time.monotonic() - begin
    ended.stop()
    return round(count / seconds, 1)


def memory(chain: Chain) -> dict[str, float]:
    """Resident memory in MB by stage."""
    figures: dict[str, float] = {}
    for stage in [*chain.stages.values(), chain.workers[0]]:
        status = Path(f"/proc/{stage.pid}/status").read_text(encoding="utf-8")
        kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        figures[f"rss_mb_{stage.name.partition('-')[0]}"] = round(kib / 1024, 1)
    return figures


def _own_times(chain: Chain, requests: list[str]) -> list[float]:
    request_of = {event.dispatch_id: event.request_id for event in chain.events("dispatched")}
    runs: dict[str, dict[str, Any]] = {}
    for comfyui in chain.comfyuis:
        runs.update({request_of.get(run["prompt_id"], ""): run for run in comfyui.runs()})
    times = []
    for interaction in chain.discord.interactions():
        if interaction["id"] in requests:
            run, patched = runs[interaction["id"]], _final_at(interaction)
            before = run["posted_monotonic"] - interaction["created_at"]
            times.append(before + patched - run["succeeded_monotonic"])
    return times


def _final_at(interaction: dict[str, Any]) -> float:
    edits = interaction["messages"][0]["history"]
    return next(float(edit["at"]) for edit in edits if edit["content"].startswith("<@"))


class _Ended:
    """Follows the loopback Discord's feed in a thread, so that waiting costs the measured processes nothing."""

    def __init__(self, url: str) -> None:
        self._done: set[str] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._follow, args=(SandboxDiscord(url),), daemon=True)
        self._thread.start()

    def wait_for(self, request: str) -> None:
        """Wait until the request has its final message."""
        with self._changed:
            assert self._changed.wait_for(lambda: request in self._done, 60), f"{request} did not end"

    def stop(self) -> None:
        """Let the thread end with the next message."""
        self._stopping = True

    def _follow(self, discord: SandboxDiscord) -> None:
        def look(messages: dict[str, dict[str, Any]]) -> bool:
            with self._changed:
                self._done |= {m["interaction_id"] for m in messages.values() if is_final(m)}
                self._changed.notify_all()
            messages.clear()  # only news matter
            return self._stopping

        discord.wait_until(look, 600)
