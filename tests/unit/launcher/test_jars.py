"""Kafka's jars: from where they come, and that nothing but the pinned files is run."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from services.launcher.brokers import jars
from services.launcher.brokers.broker import BrokerError
from services.launcher.brokers.jars import CENTRAL, default_repository, kafka_libs, pinned

_SETTINGS = """<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>
  <mirror><id>a</id><mirrorOf>other</mirrorOf><url>https://other.example.com/maven</url></mirror>
  <mirror><id>b</id><mirrorOf>{of}</mirrorOf><url>https://mirror.example.com/maven/</url></mirror>
</mirrors></settings>"""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word on stderr."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A Maven repository on loopback with two small jars that are pinned in place of Kafka's; (address, folder)."""
    folder = tmp_path / "repository"
    wanted = {}
    for path in ("org/a/a-1.jar", "org/b/b-1.jar"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(path.encode())
        wanted[path] = hashlib.sha256(path.encode()).hexdigest()
    monkeypatch.setattr(jars, "pinned", lambda: wanted)
    handler: Any = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_the_pinned_list_is_whole() -> None:
    """Kafka, what it needs, and the logging binding that it speaks; each with a SHA-256."""
    paths = pinned()
    assert "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar" in paths
    assert "org/apache/logging/log4j/log4j-slf4j-impl/2.25.1/log4j-slf4j-impl-2.25.1.jar" in paths
    assert len(paths) == 46
    assert all(len(bytes.fromhex(digest)) == 32 for digest in paths.values())


def test_jars_are_fetched_once_and_then_cached(tmp_path: Path, repository: tuple[str, Path]) -> None:
    """The second start needs no network."""
    address, folder = repository
    said: list[str] = []
    libs = kafka_libs(tmp_path / "cache", address, said.append)
    assert sorted(path.name for path in libs.iterdir()) == ["a-1.jar", "b-1.jar"]
    (folder / "org/a/a-1.jar").unlink()
    assert kafka_libs(tmp_path / "cache", address, said.append) == libs
    assert len(said) == 1
    assert said[0].startswith("Fetching Apache Kafka 4.3.1 into ")


def test_a_tampered_jar_is_refused_and_nothing_is_cached(
    tmp_path: Path, repository: tuple[str, Path]
) -> None:
    """A repository cannot make us run another program than the pinned one."""
    address, folder = repository
    (folder / "org/b/b-1.jar").write_bytes(b"something else")
    with pytest.raises(BrokerError, match=r"b-1\.jar is not the pinned file: SHA-256 \w+, expected \w+"):
        kafka_libs(tmp_path / "cache", address)
    assert list((tmp_path / "cache").rglob("*.jar")) == []


def test_a_missing_jar_is_named_with_its_address(tmp_path: Path, repository: tuple[str, Path]) -> None:
    """The user sees which file could not be had, and from where."""
    address, folder = repository
    (folder / "org/a/a-1.jar").unlink()
    with pytest.raises(BrokerError, match=rf"{address}/org/a/a-1\.jar cannot be had"):
        kafka_libs(tmp_path / "cache", address)


def test_an_unencrypted_repository_is_refused(tmp_path: Path) -> None:
    """Only https, or a repository on this machine."""
    with pytest.raises(BrokerError, match=r"http://maven\.example\.com is not an https address"):
        kafka_libs(tmp_path / "cache", "http://maven.example.com")


@pytest.mark.parametrize("of", ["central", "*", "external:*", "internal, central"])
def test_the_users_mirror_of_central_is_used(tmp_path: Path, of: str) -> None:
    """Behind a company's mirror, Maven's own settings lead to it."""
    (tmp_path / "settings.xml").write_text(_SETTINGS.format(of=of), encoding="utf-8")
    assert default_repository(tmp_path / "settings.xml") == "https://mirror.example.com/maven"


def test_central_is_used_where_no_mirror_is_named(tmp_path: Path) -> None:
    """No settings, broken ones, or a mirror of something else."""
    assert default_repository(tmp_path / "missing.xml") == CENTRAL
    (tmp_path / "broken.xml").write_text("<settings>", encoding="utf-8")
    assert default_repository(tmp_path / "broken.xml") == CENTRAL
    (tmp_path / "other.xml").write_text(_SETTINGS.format(of="other"), encoding="utf-8")
    assert default_repository(tmp_path / "other.xml") == CENTRAL
