"""``python -m tests.bench``: every measure in one run against one real Kafka; a table, and ``build/bench.json``."""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from pathlib import Path

from services.chassis.settings import load
from services.launcher.brokers.choose import BrokerSettings, OpenBroker, open_broker
from tests.bench.chain import memory, overhead, running, throughput
from tests.bench.cold_start import cold_start
from tests.bench.decisions import measure as decisions
from tests.bench.relay import relay_latency
from tests.harness.kafka import KafkaCorner

ROOT = Path(__file__).parents[2]
RATE, COUNT = 5.0, 200  #: requests a second, and how many, for every latency
#: Bytes: what a request takes on ``requests`` at the middle of the chain's traffic.
RECORD_BYTES = 2_500
AIMS = {
    "overhead_p50_ms": ("faust_relay_p50_ms", 2.0),
    "overhead_p99_ms": ("faust_relay_p99_ms", 3.0),
}


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory(prefix="distillery-bench-") as name:
        folder = Path(name)
        opened = open_broker(load(BrokerSettings), data_dir=folder / "kafka", topics={})
        try:
            figures = measure(opened, folder)
        finally:
            opened.broker.stop()
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    report(figures, opened.broker.describe().version)


def measure(opened: OpenBroker, folder: Path) -> dict[str, float]:
    """All figures, in one flat object."""
    figures: dict[str, float] = {}
    say("cold start")
    figures["cold_start_s"] = cold_start(folder)
    say("decisions of the dispatcher's core")
    figures |= decisions()
    for kind in ("faust", "confluent"):
        say(f"{kind} relay of five hops, {COUNT} records at {RATE:g}/s")
        with corner(opened) as kafka:
            payload = b"x" * RECORD_BYTES
            figures |= relay_latency(kind, kafka, folder, payload=payload, rate=RATE, count=COUNT)
    say(f"the chain, {COUNT} requests at {RATE:g}/s")
    with corner(opened) as kafka, running(kafka, folder / "latency", workers=1) as chain:
        figures |= overhead(chain, rate=RATE, count=COUNT)
        figures |= memory(chain)
    say("the chain, as many as it carries")
    with corner(opened) as kafka, running(kafka, folder / "throughput", workers=2) as chain:
        throughput(chain, count=200, window=50)  # warm
        figures["requests_per_second"] = throughput(chain, count=2000, window=100)
    return figures


def corner(opened: OpenBroker) -> KafkaCorner:
    """A fresh prefix for each measure."""
    return KafkaCorner(opened, f"bench{uuid.uuid4().hex[:8]}-")


def report(figures: dict[str, float], broker: str) -> None:
    """The table, with the aims that are ratios to a baseline of the same run."""
    print(f"\n{broker}, every process on this machine\n")
    for name, value in figures.items():
        print(f"  {name:<28} {value:>10}")
    print()
    for name, (baseline, most) in AIMS.items():
        ratio = figures[name] / figures[baseline]
        print(f"  {name} is {ratio:.2f} times {baseline}; aim: at most {most:g}")
    print(
        f"  decision_mean_us is {figures['decision_mean_us']:g}; aim: under 100, with 10,000 queued and 1,000 workers"
    )


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"bench: {what} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
