"""The whole chain as processes on a test's corner of the broker, with both loopback worlds beside it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.contracts.codec import decode
from services.contracts.errors import UndecodableRecord
from services.contracts.events import Event
from services.launcher.brokers.ports import ReservedPort, reserve_port
from services.launcher.child import Child, spawn
from services.launcher.plan import SANDBOX_TOKEN, STAGES
from services.sandbox.discord.client import SandboxDiscord
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess
from tests.harness.waiting import eventually


class ComfyUI:
    """The loopback ComfyUI's control surface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port

    def runs(self) -> list[dict[str, Any]]:
        """Everything that was posted."""
        return list(self._call("GET", "/sandbox/runs")["runs"])

    def arm(self, kind: str, **fault: Any) -> None:
        """Arm a fault; see ``services.sandbox.comfyui.faults``."""
        self._call("POST", "/sandbox/faults", {"kind": kind, **fault})

    def disarm(self) -> None:
        """Forget every fault."""
        self._call("DELETE", "/sandbox/faults")

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            self._call("GET", "/system_stats")
        except OSError:
            return False
        return True

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 400, f"{method} {path}: {answer.status} {text!r}"
            return json.loads(text) if text else None
        finally:
            connection.close()


class Chain:
    """Five stages and two loopback worlds; `start` brings all up, `close` ends all."""

    def __init__(
        self,
        kafka: KafkaCorner,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        comfyui_args: Iterable[str] = (),
        workers: int = 1,
    ) -> None:
        self.kafka = kafka
        self.folder = folder
        self._comfyui_args = tuple(comfyui_args)
        self._ports: list[ReservedPort] = [reserve_port() for _ in range(1 + workers)]
        self.discord = SandboxDiscord(f"http://127.0.0.1:{self._ports[0].number}")
        self.comfyuis = [ComfyUI(port.number) for port in self._ports[1:]]
        self._children: list[Child] = []
        self.stages = {name: self._stage(name, env or {}) for name in STAGES if name != "gpu_worker"}
        self.workers = [self._worker(number, env or {}) for number in range(workers)]

    @property
    def comfyui(self) -> ComfyUI:
        """The first worker's ComfyUI."""
        return self.comfyuis[0]

    def stage(self, name: str) -> StageProcess:
        """A stage's process; the first worker's for ``gpu_worker``."""
        return self.workers[0] if name == "gpu_worker" else self.stages[name]

    def all_stages(self) -> list[StageProcess]:
        """Every stage's process."""
        return [*self.stages.values(), *self.workers]

    def start(self) -> Chain:
        """Start everything and wait until it is ready."""
        self._start_world("discord", "--port", str(self._ports[0].number))
        for port in self._ports[1:]:
            self._start_world("comfyui", "--port", str(port.number), *self._comfyui_args)
        eventually(lambda: all(comfyui.answers() for comfyui in self.comfyuis), 20)
        for stage in self.all_stages():
            stage.start()
        for stage in self.all_stages():
            stage.wait_ready(60)
        eventually(lambda: self.kafka.consume_all("workers"), 10)
        return self

    def close(self) -> None:
        """End everything."""
        for stage in self.all_stages():
            stage.close()
        for child in self._children:
            child.kill()
        for port in self._ports:
            port.release()

    def log_tails(self) -> str:
        """The end of every stage's log, for a failure's message."""
        return "\n".join(f"--- {stage.name}\n{stage.log_tail(15)}" for stage in self.all_stages())

    def submit(self, user: int, prompt: str, **options: Any) -> str:
        """``/serve`` as the numbered user."""
        return self.discord.submit(str(200_000_000_000_000_000 + user), prompt, **options)

    def wait_final(self, requests: Iterable[str], seconds: float = 60.0) -> dict[str, dict[str, Any]]:
        """Wait until each request has a final message; returns those by request."""
        wanted = set(requests)

        def finals(messages: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
            done = {m["interaction_id"]: m for m in messages.values() if is_final(m)}
            return done if wanted <= set(done) else None

        try:
            return dict(self.discord.wait_until(finals, seconds))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tails()}") from None

    def assert_one_final_message_each(self, requests: Iterable[str]) -> None:
        """Each request has exactly one message, which is final, and which was made final once or alike."""
        for request in requests:
            messages = self.discord.interaction(request)["messages"]
            assert len(messages) == 1, f"{request} has {len(messages)} messages"
            assert is_final(messages[0]), f"{request} reads {messages[0]['content']!r}"
            finals = {e["content"] for e in messages[0]["history"] if e["content"].startswith("<@")}
            assert len(finals) == 1, f"{request} was told different ends: {finals}"

    def runs_of(self, request: str) -> list[dict[str, Any]]:
        """What ComfyUI was given for a request."""
        ids = {event.dispatch_id for event in self.events("dispatched") if event.request_id == request}
        return [run for comfyui in self.comfyuis for run in comfyui.runs() if run["prompt_id"] in ids]

    def events(self, topic: str) -> list[Any]:
        """Every event of a topic; what cannot be decoded is left out."""
        read = (_decoded(message.value()) for message in self.kafka.consume_all(topic, 30))
        return [event for event in read if event is not None]

    def _start_world(self, name: str, *args: str) -> None:
        argv = [sys.executable, "-m", f"services.sandbox.{name}", *args]
        self._children.append(spawn(argv, log=self.folder / f"{name}.log"))

    def _stage(self, name: str, env: Mapping[str, str]) -> StageProcess:
        return StageProcess(name, self._env() | dict(env), self.folder)

    def _worker(self, number: int, env: Mapping[str, str]) -> StageProcess:
        own = {"COMFYUI_URL": self.comfyuis[number].url, "WORKER_ID": f"worker-{number}"}
        return StageProcess(
            "gpu_worker", self._env() | own | dict(env), self.folder, name=f"gpu_worker-{number}"
        )

    def _env(self) -> dict[str, str]:
        return {
            **self.kafka.stage_env(),
            "DISCORD_API_BASE_URL": f"{self.discord.url}/api/v10",
            "DISCORD_TOKEN": SANDBOX_TOKEN,
            "OBJECT_STORE_DIR": str(self.folder / "objects"),
            "DAILY_QUOTA": "0",
        }


def is_final(message: Mapping[str, Any]) -> bool:
    """Whether a message is an end: the notifier begins those, and only those, with the user's name."""
    return str(message["content"]).startswith("<@")


def _decoded(value: object) -> Event | None:
    if not isinstance(value, bytes):
        return None
    try:
        return decode(value)
    except UndecodableRecord:
        return None
