"""Finding a Java for Kafka: the right one, or a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.launcher.brokers.broker import BrokerError
from services.launcher.brokers.java import find_java, major_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("Unable to locate a Java Runtime.", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_every_vendors_words(text: str, version: int | None) -> None:
    """Java 8 and older counted from 1."""
    assert major_version(text) == version


def test_java_home_wins_over_path(tmp_path: Path) -> None:
    """As every Java tool does it."""
    home = _java(tmp_path / "home" / "bin", "21.0.1").parent.parent
    path = _java(tmp_path / "path", "17.0.1").parent
    assert find_java({"JAVA_HOME": str(home), "PATH": str(path)}) == home / "bin" / "java"
    assert find_java({"PATH": str(path)}) == path / "java"


def test_a_missing_java_is_named_with_the_remedy(tmp_path: Path) -> None:
    """The user reads what to install, or which broker needs no Java."""
    with pytest.raises(
        BrokerError, match=r"No java was found in JAVA_HOME or PATH.*17 or newer.*BROKER=embedded"
    ):
        find_java({"PATH": str(tmp_path)})


def test_a_java_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    """The user reads which Java was found and how old it is."""
    java = _java(tmp_path, "11.0.2")
    with pytest.raises(BrokerError, match=f"{java} is Java 11; Apache Kafka needs Java 17 or newer"):
        find_java({"PATH": str(tmp_path)})


def test_a_stub_that_only_looks_like_java_is_refused(tmp_path: Path) -> None:
    """macOS has a java command where no Java is installed."""
    (tmp_path / "java").write_text("#!/bin/sh\necho Unable to locate a Java Runtime. >&2; exit 1\n")
    (tmp_path / "java").chmod(0o755)
    with pytest.raises(BrokerError, match="does not say its version"):
        find_java({"PATH": str(tmp_path)})


def _java(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    return program
