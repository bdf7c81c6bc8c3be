"""Apache Kafka's jars from Maven Central, verified against a pinned list and cached outside the tree."""

from __future__ import annotations

import concurrent.futures
import hashlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from services.launcher.brokers.broker import BrokerError

KAFKA_VERSION = "4.3.1"
CENTRAL = "https://repo1.maven.org/maven2"
_LIST = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256")
# Kafka speaks SLF4J 1.7: with the slf4j2 binding it would log nothing, without a word.
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>distillery</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.1</version></dependency>
  </dependencies>
</project>
"""


class FetchError(Exception):
    """One way to get the jars failed; another may do."""


def kafka_libs(cache: Path, repository: str = "", say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder with all jars, fetched on the first call: by Maven where it is installed, else by HTTPS.

    ``repository`` is a Maven repository's base URL; empty means the user's mirror of Central, or Central.
    ``say`` is told before a fetch, which takes some seconds.

    Raises:
        BrokerError: no way worked, or a jar is not the pinned one; nothing is cached then.
    """
    libs = cache / f"kafka-{KAFKA_VERSION}" / "libs"
    if libs.is_dir():
        return libs
    libs.parent.mkdir(parents=True, exist_ok=True)
    say(f"Fetching Apache Kafka {KAFKA_VERSION} into {libs.parent} (44 MB, once) ...")
    with tempfile.TemporaryDirectory(dir=libs.parent, prefix="fetch-") as folder:
        fetched = Path(folder) / "libs"
        _fetch(fetched, repository)
        publish(fetched, libs)
    return libs


def publish(made: Path, final: Path) -> None:
    """Rename a finished folder into place; a parallel run that was first keeps its own, equal one."""
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def pinned() -> dict[str, str]:
    """SHA-256 by path below a Maven repository's base URL."""
    lines = (line.split() for line in _LIST.read_text(encoding="ascii").splitlines())
    return {path: digest for digest, path in lines}


def default_repository(settings_xml: Path) -> str:
    """The mirror of Central that the user's Maven settings name, else Central itself."""
    try:
        root = ElementTree.parse(settings_xml).getroot()  # noqa: S314 - the user's own settings
    except (OSError, ElementTree.ParseError):
        return CENTRAL
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        of, url = mirror.findtext("{*}mirrorOf", ""), mirror.findtext("{*}url", "")
        if url and {part.strip() for part in of.split(",")} & {"*", "central", "external:*"}:
            return url.strip().rstrip("/")
    return CENTRAL


def _fetch(folder: Path, repository: str) -> None:
    reasons = []
    for way in (_fetch_by_maven, _fetch_by_https):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            way(folder, repository)
            _verify(folder)
        except FetchError as error:
            reasons.append(str(error))
        else:
            return
    raise BrokerError(f"Apache Kafka {KAFKA_VERSION} could not be fetched: {' '.join(reasons)}")


def _fetch_by_maven(folder: Path, repository: str) -> None:
    mvn = shutil.which("mvn")
    if mvn is None or repository:
        raise FetchError("Maven was not tried.")
    pom = folder.with_name("pom.xml")
    pom.write_text(_POM, encoding="utf-8")
    argv = [mvn, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(
            [*argv, f"-DoutputDirectory={folder}"], capture_output=True, text=True, timeout=180, check=False
        )
    except subprocess.TimeoutExpired:
        raise FetchError("Maven took longer than 180 s.") from None
    if done.returncode:
        said = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no reason given")
        raise FetchError(f"Maven failed ({said.strip()}).")


def _fetch_by_https(folder: Path, repository: str) -> None:
    base = repository.rstrip("/") or default_repository(Path.home() / ".m2" / "settings.xml")
    if not base.startswith(("https://", "http://127.0.0.1")):
        raise FetchError(f"{base} is not an https address.")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(_download, f"{base}/{path}", folder / Path(path).name) for path in pinned()]
        try:
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _download(url: str, target: Path) -> None:
    try:
        # `_fetch_by_https` lets only https and loopback through, and `_verify` any file but the pinned one.
        with urllib.request.urlopen(url, timeout=20) as answer, target.open("wb") as out:  # noqa: S310 - see above
            shutil.copyfileobj(answer, out)
    except (urllib.error.URLError, OSError) as error:
        raise FetchError(f"{url} cannot be had ({error}).") from error


def _verify(folder: Path) -> None:
    wanted = {Path(path).name: digest for path, digest in pinned().items()}
    for name, digest in wanted.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            raise FetchError(f"{name} is missing.") from None
        if found != digest:
            raise FetchError(f"{name} is not the pinned file: SHA-256 {found}, expected {digest}.")
    for extra in {path.name for path in folder.iterdir()} - set(wanted):
        (folder / extra).unlink()  # An unpinned jar on the class path could shadow a pinned one.
