"""``distillery demo``: the whole chain on this machine, until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from services.chassis.settings import load
from services.contracts.topics import load_topics, prefixed
from services.launcher.brokers.choose import BrokerSettings, OpenBroker, open_broker
from services.launcher.brokers.ports import ReservedPort, reserve_port
from services.launcher.plan import STAGES, DemoSettings, Ports, sandbox_programs, stage_programs
from services.launcher.stack import Stack
from services.launcher.topics.apply import apply_topics

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDemo:
    """What ``distillery serve`` and the tests need to know of a running demo; kept in ``<folder>/run.json``."""

    pid: int
    page_url: str  #: empty with the real Discord
    bootstrap: str
    topic_prefix: str
    objects: str  #: where images lie, for people
    broker: str


def run_demo(env: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Start everything, say where the page is, keep it running, and stop it all on SIGINT or SIGTERM.

    Raises:
        BrokerError, StackError, SettingsError: it cannot start; whatever had started is stopped again.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    settings = load(DemoSettings, env)
    folder = Path(settings.demo_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder=folder, say=say)
    broker: OpenBroker | None = None
    try:
        broker = _start_broker(settings, env, folder)
        demo = _start(settings, stack, broker, folder, stopping)
        if demo is not None:
            _welcome(settings, demo, say)
            stack.supervise(stopping)
    finally:
        say("Stopping.")
        stack.stop()
        (folder / "run.json").unlink(missing_ok=True)
        if broker is not None:
            broker.broker.stop()
    say("Stopped; nothing is left running.")


def read_running(folder: Path) -> RunningDemo | None:
    """The demo that runs in ``folder``, or none."""
    try:
        demo = RunningDemo(**json.loads((folder / "run.json").read_text(encoding="utf-8")))
        os.kill(demo.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return demo


def _start_broker(settings: DemoSettings, env: Mapping[str, str], folder: Path) -> OpenBroker:
    kind = settings.broker_kind()
    topics = {prefixed(t.name, settings.topic_prefix): t.partitions for t in load_topics().values()}
    chosen = load(BrokerSettings, {**env, "BROKER": kind})
    opened = open_broker(chosen, data_dir=folder / "kafka", topics=topics)
    if kind != "embedded":
        apply_topics(
            load(BrokerSettings, {**env, "BROKER": kind, "KAFKA_BOOTSTRAP_SERVERS": opened.bootstrap})
        )
    return opened


def _start(
    settings: DemoSettings, stack: Stack, broker: OpenBroker, folder: Path, stopping: threading.Event
) -> RunningDemo | None:
    """Start every program; none when told to stop before all were ready."""
    reserved = {name: reserve_port() for name in (*STAGES, "discord", "comfyui")}
    page_port = _page_port(settings, reserved["discord"])
    health = {stage: reserved[stage].number for stage in STAGES}
    ports = Ports(discord=page_port, comfyui=reserved["comfyui"].number, health=health)
    stack.start(sandbox_programs(settings, ports))
    stack.start(stage_programs(settings, ports, broker.bootstrap, folder))
    if not stack.wait_until_ready(READY_SECONDS, stopping):
        return None
    demo = RunningDemo(
        pid=os.getpid(),
        page_url=f"http://127.0.0.1:{page_port}/" if settings.with_sandbox_discord() else "",
        bootstrap=broker.bootstrap,
        topic_prefix=settings.topic_prefix,
        objects=_objects(settings, folder),
        broker=broker.broker.describe().version,
    )
    (folder / "run.json").write_text(json.dumps(asdict(demo)), encoding="utf-8")
    return demo


def _objects(settings: DemoSettings, folder: Path) -> str:
    if settings.s3_bucket:
        return f"s3://{settings.s3_bucket}"
    return str(Path(settings.object_store_dir or folder / "objects").expanduser().absolute())


def _page_port(settings: DemoSettings, spare: ReservedPort) -> int:
    """The wanted port, or a free one where something else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.demo_port))
        except OSError:
            return spare.number
        return int(probe.getsockname()[1])


def _welcome(settings: DemoSettings, demo: RunningDemo, say: Callable[[str], None]) -> None:
    say(f"Broker: {demo.broker}.  Images: {demo.objects}.")
    if demo.page_url:
        say(f"Open {demo.page_url} and type: /serve a lighthouse at dusk --ar 16:9")
        if not demo.page_url.endswith(f":{settings.demo_port}/") and settings.demo_port:
            say(f"(Port {settings.demo_port} was taken.)")
    else:
        say("The bot is connected to Discord: type /serve in a channel of a server that it was invited to.")
    say("Ctrl-C stops everything.")
