"""``python -m tests.chaos``: one run; a table, ``build/chaos.json``, and a non-zero exit on any violation."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import msgspec

from services.chassis.settings import SettingsError, describe, load
from services.launcher.brokers.broker import BrokerError
from tests.chaos.report import table
from tests.chaos.run import prove
from tests.chaos.settings import ChaosSettings

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run, print, write."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(
            f"python -m tests.chaos: the chain under faults.  Settings (environment):\n\n{describe(ChaosSettings)}"
        )
        return
    try:
        settings = load(ChaosSettings)
    except SettingsError as error:
        sys.exit(f"chaos: {error}")
    folder = Path(tempfile.mkdtemp(prefix="distillery-chaos-"))
    say(f"seed {settings.seed}; logs, topics and images are kept in {folder}")
    try:
        outcome = prove(settings, folder, say)
    except (BrokerError, AssertionError) as error:
        sys.exit(f"chaos: the run could not be finished: {error}")
    (folder / "history.json").write_bytes(msgspec.json.encode(outcome.history))
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "chaos.json").write_text(json.dumps(outcome.figures, indent=2) + "\n", encoding="utf-8")
    print(table(outcome.figures, outcome.violations))
    sys.exit(1 if outcome.violations else 0)


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"chaos: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
