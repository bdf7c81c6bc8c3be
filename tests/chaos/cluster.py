"""The processes of a run: a broker, the loopback worlds, two of each stage, and a supervisor that starts the dead."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from services.chassis.settings import load
from services.launcher.brokers.choose import BrokerSettings, OpenBroker
from services.launcher.brokers.local import LocalBroker
from services.launcher.brokers.ports import ReservedPort, reserve_port
from services.launcher.child import Child, spawn
from services.launcher.plan import SANDBOX_TOKEN
from services.sandbox.discord.client import SandboxDiscord
from tests.chaos.cast import CAST, comfyui_of, stage_of
from tests.chaos.proxy import Proxy
from tests.chaos.settings import ChaosSettings
from tests.harness.chain import ComfyUI
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess
from tests.harness.waiting import eventually

PREFIX = "chaos-"
_LOOK_SECONDS = 0.25
#: Compaction would take records from the reader; three threads a listener would be forty.
_BROKER = {"num.network.threads": "1", "log.cleaner.enable": "false"}
_START_SECONDS = 120.0


class WorldProcess:
    """A loopback world as a process that can be killed and started again at its port."""

    def __init__(self, name: str, argv: list[str], folder: Path) -> None:
        self.name = name
        self._argv = argv
        self._log = folder / f"{name}.log"
        self._child: Child | None = None

    def start(self) -> None:
        """Start it and return at once."""
        self._child = spawn([sys.executable, "-m", *self._argv], log=self._log)

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self._child is not None:
            self._child.kill()

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.exit_code() if self._child is not None else None


class Cluster:
    """Everything that runs; `start` brings it up, `close` ends it."""

    def __init__(self, settings: ChaosSettings, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.proxy = Proxy()
        self.restarts: Counter[str] = Counter()  #: processes that ended by themselves, by name and exit code
        self._settings = settings
        self._say = say
        self._closing = ExitStack()
        self._closing.callback(self.proxy.close)
        ports = {name: self._port() for name in ("discord", *CAST.comfyuis)}
        doors = {process: self._port() for process in CAST.processes()}
        self._kafka_ports = {
            process: self.proxy.open(f"kafka:{process}", port) for process, port in doors.items()
        }
        where = load(BrokerSettings)
        self.broker = LocalBroker(
            folder / "kafka",
            cache_dir=where.xdg_cache_home.expanduser() / "distillery",
            repository=where.maven_repository_url,
            overrides=_BROKER,
            doors={_door(process): (port, self._kafka_ports[process]) for process, port in doors.items()},
            say=say,
        )
        self.discord = SandboxDiscord(f"http://127.0.0.1:{ports['discord']}")
        self.comfyuis = {name: ComfyUI(ports[name]) for name in CAST.comfyuis}
        self.worlds = {"discord": self._world("discord", ports["discord"])}
        self.worlds |= {name: self._comfyui(name, ports[name]) for name in CAST.comfyuis}
        self._links = {
            link: self.proxy.open(link, ports["discord" if link.startswith("discord") else _comfyui(link)])
            for link in CAST.links
            if not link.startswith("kafka:")
        }
        self.stages = {name: self._stage(name) for name in CAST.processes()}
        self._away: set[str] = set()  #: processes that a fault keeps down
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self.kafka: KafkaCorner

    @property
    def objects(self) -> Path:
        """The folder of the object store."""
        return self.folder / "objects"

    def journal(self, comfyui: str) -> Path:
        """Where a ComfyUI notes its runs."""
        return self.folder / f"{comfyui}.jsonl"

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        bootstrap = self.broker.start()
        self._closing.callback(self.broker.stop)
        opened = OpenBroker(broker=self.broker, bootstrap=bootstrap, reason="a run of its own")
        self.kafka = KafkaCorner(opened, PREFIX)
        self.kafka.create_registry_topics()
        for world in self.worlds.values():
            world.start()
        eventually(lambda: all(comfyui.answers() for comfyui in self.comfyuis.values()), _START_SECONDS)
        for stage in self.stages.values():
            stage.start()
        for stage in self.stages.values():
            stage.wait_ready(_START_SECONDS)
        self._supervisor.start()

    def close(self) -> None:
        """End everything, at once."""
        self._stopping.set()
        if self._supervisor.ident is not None:
            self._supervisor.join(10)
        for stage in self.stages.values():
            stage.close()
        for world in self.worlds.values():
            world.kill()
        self.broker.kill()
        self._closing.close()

    def kill(self, name: str) -> None:
        """SIGKILL a process, which stays away until `start_again`."""
        with self._lock:
            self._away.add(name)
        self._process(name).kill()

    def terminate(self, name: str) -> None:
        """SIGTERM a stage's process and wait until it has ended; it stays away until `start_again`."""
        with self._lock:
            self._away.add(name)
        self.stages[name].stop()

    def start_again(self, name: str) -> None:
        """Let the process live again; returns at once."""
        with self._lock:
            if self._process(name).exit_code() is not None:
                self._process(name).start()
            self._away.discard(name)

    def wait_ready(self, deadline_seconds: float) -> None:
        """Wait until every stage is ready again.

        Raises:
            AssertionError: one is not in time; its log's end is in the message.
        """
        end = time.monotonic() + deadline_seconds
        for stage in self.stages.values():
            eventually(
                lambda stage=stage: stage.get("/readyz")[0] == 200,  # type: ignore[misc]  # bound as a default
                max(1.0, end - time.monotonic()),
                failing=lambda stage=stage: f"{stage.name}:\n{stage.log_tail()}",  # type: ignore[misc]  # as above
            )

    def _process(self, name: str) -> StageProcess | WorldProcess:
        return self.worlds[name] if name in self.worlds else self.stages[name]

    def _supervise(self) -> None:
        """Start again what ended by itself: a watchdog's exit, or a ComfyUI that was told to die."""
        while not self._stopping.wait(_LOOK_SECONDS):
            for name in (*self.stages, *self.worlds):
                with self._lock:
                    code = None if name in self._away else self._process(name).exit_code()
                    if code is not None:
                        self.restarts[f"{name} {code}"] += 1
                        self._say(f"{name} ended with code {code}; it is started again")
                        self._process(name).start()

    def _port(self) -> int:
        port: ReservedPort = reserve_port()
        self._closing.callback(port.release)
        return port.number

    def _world(self, name: str, port: int, *args: str) -> WorldProcess:
        module = f"services.sandbox.{name.partition('-')[0]}"
        return WorldProcess(name, [module, "--port", str(port), *args], self.folder / "logs")

    def _comfyui(self, name: str, port: int) -> WorldProcess:
        lasts = str(self._settings.job_seconds)
        journal = str(self.journal(name))
        return self._world(name, port, "--instant", "--instant-seconds", lasts, "--journal", journal)

    def _stage(self, name: str) -> StageProcess:
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._kafka_ports[name]}",
            "TOPIC_PREFIX": PREFIX,
            "DISCORD_TOKEN": SANDBOX_TOKEN,
            "OBJECT_STORE_DIR": str(self.objects),
            **self._own_env(name),
        }
        return StageProcess(stage_of(name), env, self.folder / "logs", name=name)

    def _own_env(self, name: str) -> dict[str, str]:
        """What only this stage, or this process of it, is told."""
        match stage_of(name):
            case "ingest_bot":
                shards = CAST.stages["ingest_bot"]
                own = {
                    "DISCORD_SHARD_COUNT": str(len(shards)),
                    "DISCORD_SHARD_IDS": str(shards.index(name)),
                }
                return own | {"DISCORD_API_BASE_URL": f"{self.discord.url}/api/v10"}
            case "moderator":
                return {"DAILY_QUOTA": str(self._settings.quota)}
            case "dispatcher":
                return {"JOB_DEADLINE_SECONDS": "10"}
            case "gpu_worker":
                url = f"http://127.0.0.1:{self._links[f'comfyui:{name}']}"
                return {"WORKER_ID": name, "COMFYUI_URL": url, "WORKER_GRACE_SECONDS": "10"}
            case _:
                return {"DISCORD_API_BASE_URL": f"http://127.0.0.1:{self._links[f'discord:{name}']}/api/v10"}


def _comfyui(link: str) -> str:
    return comfyui_of(link.partition(":")[2])


def _door(process: str) -> str:
    """The process's listener at the broker, whose names have no underscore."""
    return process.upper().replace("_", "")
