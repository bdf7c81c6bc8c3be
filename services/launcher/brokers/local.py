"""A real Apache Kafka in KRaft mode, one node, on this machine's Java."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from services.launcher.brokers.broker import (
    BrokerDescription,
    BrokerError,
    broker_settings,
    client_config,
    wait_until_answers,
)
from services.launcher.brokers.jars import KAFKA_VERSION, kafka_libs, publish
from services.launcher.brokers.java import find_java
from services.launcher.brokers.ports import ReservedPort, reserve_port
from services.launcher.child import Child, spawn

_LOG4J = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c: %m%n
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=out
"""


class LocalBroker:
    """Apache Kafka from Maven Central's jars.

    ``data_dir`` holds its records, settings and log, and is kept: a later start with the same folder goes on
    where it was.  ``cache_dir`` holds the jars.  ``overrides`` are broker settings that win over ours;
    ``doors`` are further listeners by name, each with the port where it listens and the port where clients are
    told to go, such as a proxy's; ``say`` is told before something slow.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path,
        repository: str = "",
        overrides: Mapping[str, str] | None = None,
        doors: Mapping[str, tuple[int, int]] | None = None,
        start_seconds: float = 60.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._data_dir = data_dir
        self._cache_dir = cache_dir
        self._repository = repository
        self._overrides = dict(overrides or {})
        self._doors = dict(doors or {})
        self._start_seconds = start_seconds
        self._say = say
        self._ports: list[ReservedPort] = []
        self._child: Child | None = None
        self._address = ""
        self.log = data_dir / "broker.log"

    def start(self) -> str:
        """See `Broker.start`; takes about 2 s, and once some seconds more for the jars."""
        java = find_java()
        libs = kafka_libs(self._cache_dir, self._repository, self._say)
        self._ports = self._ports or [reserve_port(), reserve_port()]
        self._address = f"127.0.0.1:{self._ports[0].number}"
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._write_settings()
        if not (self._data_dir / "records").exists():
            shutil.copytree(formatted(java, libs), self._data_dir / "records")
        options = ["-Xmx1g", *_options(self._data_dir / "log4j2.properties"), "-cp", f"{libs}/*"]
        settings = self._data_dir / "server.properties"
        self._child = spawn([java, *options, "kafka.Kafka", settings], log=self.log)
        try:
            wait_until_answers(
                client_config(self._address),
                deadline_seconds=self._start_seconds,
                why_not=self._why_dead,
            )
        except BaseException:
            self.stop()
            raise
        return self._address

    def stop(self) -> None:
        """See `Broker.stop`; takes about 0.3 s."""
        if self._child is not None:
            self._child.stop(deadline_seconds=15)
            self._child = None
        for port in self._ports:
            port.release()
        self._ports = []

    def restart(self) -> None:
        """See `Broker.restart`; records, groups and offsets are kept."""
        if self._child is not None:
            self._child.stop(deadline_seconds=15)
        self.start()

    def kill(self) -> None:
        """See `Broker.kill`; the address stays reserved for `restart`."""
        if self._child is not None:
            self._child.kill()

    def describe(self) -> BrokerDescription:
        """See `Broker.describe`."""
        return BrokerDescription(
            kind="local",
            version=f"Apache Kafka {KAFKA_VERSION} (KRaft, 1 node)",
            bootstrap=self._address,
            keeps_data=True,
        )

    def _write_settings(self) -> None:
        broker, controller = (port.number for port in self._ports)
        doors = {"BROKER": (broker, broker), **self._doors}
        listens = [f"{name}://127.0.0.1:{port}" for name, (port, _) in doors.items()]
        told = [f"{name}://127.0.0.1:{port}" for name, (_, port) in doors.items()]
        settings = broker_settings(
            {
                "listeners": ",".join([*listens, f"CONTROLLER://127.0.0.1:{controller}"]),
                "advertised.listeners": ",".join(told),
                "listener.security.protocol.map": ",".join(
                    f"{name}:PLAINTEXT" for name in (*doors, "CONTROLLER")
                ),
                "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                "log.dirs": str(self._data_dir.resolve() / "records"),
                **self._overrides,
            }
        )
        (self._data_dir / "server.properties").write_text(properties(settings), encoding="utf-8")
        (self._data_dir / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")

    def _why_dead(self) -> str | None:
        child = self._child
        if child is None or child.exit_code() is None:
            return None
        said = child.log_tail(200)
        if "Failed to acquire lock on file .lock" in said:
            return (
                f"The data folder {self._data_dir} is in use by another running broker; stop that one first."
            )
        return (
            f"Kafka ended with code {child.exit_code()} while starting; its log ends:\n{child.log_tail(15)}"
        )


def formatted(java: Path, libs: Path) -> Path:
    """A freshly formatted storage folder to copy, made once: formatting takes a JVM of its own, about 1 s.

    The voters are static (``controller.quorum.voters``), so it does not depend on ports.
    """
    template = libs.with_name("formatted")
    if template.is_dir():
        return template
    with tempfile.TemporaryDirectory(dir=libs.parent, prefix="format-") as name:
        folder = Path(name)
        settings = broker_settings(
            {
                "listeners": "BROKER://127.0.0.1:1,CONTROLLER://127.0.0.1:2",
                "controller.quorum.voters": "1@127.0.0.1:2",
                "log.dirs": str(folder / "records"),
            }
        )
        (folder / "server.properties").write_text(properties(settings), encoding="utf-8")
        (folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")
        _format(java, libs, folder)
        publish(folder / "records", template)
    return template


def _format(java: Path, libs: Path, folder: Path) -> None:
    argv = [str(java), *_options(folder / "log4j2.properties"), "-cp", f"{libs}/*", "kafka.tools.StorageTool"]
    done = subprocess.run(
        [*argv, "format", "-t", "ZGlzdGlsbGVyeS1sb2NhbA", "-c", str(folder / "server.properties")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise BrokerError(f"Kafka could not format its storage: {(done.stderr or done.stdout).strip()}")


def _options(log4j: Path) -> list[str]:
    return [f"-Dlog4j2.configurationFile={log4j.resolve()}", "-Djava.awt.headless=true", "-XX:+UseG1GC"]


def properties(settings: Mapping[str, str]) -> str:
    """Settings as a Java properties file; a backslash must be doubled there."""
    return "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in settings.items())
