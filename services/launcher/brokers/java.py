"""Find a Java that can run Apache Kafka 4."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from services.launcher.brokers.broker import BrokerError

#: Kafka 4's broker is compiled for it.
OLDEST = 17
_REMEDY = "Install one (for example openjdk-17-jre-headless), or use BROKER=embedded."


def find_java(env: Mapping[str, str] = os.environ) -> Path:
    """The ``java`` of ``JAVA_HOME``, else of ``PATH``.

    Raises:
        BrokerError: there is none, or it is too old.
    """
    home = env.get("JAVA_HOME", "")
    found = shutil.which(str(Path(home) / "bin" / "java")) if home else None
    found = found or shutil.which("java", path=env.get("PATH"))
    if found is None:
        raise BrokerError(
            f"No java was found in JAVA_HOME or PATH; Apache Kafka needs Java {OLDEST} or newer. {_REMEDY}"
        )
    version = major_version(_version_text(found))
    if version is None or version < OLDEST:
        said = f"is Java {version}" if version else "does not say its version"
        raise BrokerError(f"{found} {said}; Apache Kafka needs Java {OLDEST} or newer. {_REMEDY}")
    return Path(found)


def major_version(text: str) -> int | None:
    """The major version in the output of ``java -version``: 17 for "17.0.15", 8 for "1.8.0_402"."""
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match[1]) if match else None


def _version_text(java: str) -> str:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr + done.stdout
