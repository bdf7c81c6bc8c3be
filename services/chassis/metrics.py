"""The metric catalogue: every metric is declared here once, with its meaning and what to do when it looks wrong.

Dashboards, alerts and ``tests/repo`` read `CATALOGUE`; stages record through `Metrics`.
All metrics carry the label ``stage``.  Labels come from closed sets; never a user or request id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  #: seconds
SLOW = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 900.0)  #: seconds


@dataclass(
    frozen=True, slots=True, kw_only=True, eq=False
)  # compared by identity: it is a dict key per event
class Spec:
    """A metric: its name and kind, its labels beside ``stage``, what it means, what to do about it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    remedy: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = FAST


EVENTS = Spec(
    name="distillery_events_total",
    kind="counter",
    labels=("topic", "outcome"),
    meaning="Records that left the guarded edge; outcome is ok, skipped, retried, dead_lettered or poison.",
    remedy="Read the dead letters: distillery audit tail dead-letters.",
)
EVENT_AGE = Spec(
    name="distillery_event_age_seconds",
    kind="histogram",
    labels=("topic",),
    meaning="From a record's append to its handling: the wait in front of this stage.",
    remedy="Add a process to the stage, up to the partition count.",
)
EVENT_PROCESSING = Spec(
    name="distillery_event_processing_seconds",
    kind="histogram",
    labels=("topic",),
    meaning="From a record's handling to its acknowledgement.",
    remedy="Look at what the stage awaits: the broker (distillery_send_seconds) or Discord.",
)
EVENTS_IN_FLIGHT = Spec(
    name="distillery_in_flight_events",
    kind="gauge",
    meaning="Records being handled now.",
    remedy="At the edge's limit for long: the stage is the bottleneck.",
)
SEND_SECONDS = Spec(
    name="distillery_send_seconds",
    kind="histogram",
    labels=("topic",),
    meaning="From a send to its acknowledgement by the in-sync replicas.",
    remedy="Check the brokers' disks and in-sync replicas.",
)
SEND_FAILURES = Spec(
    name="distillery_send_failures_total",
    kind="counter",
    labels=("topic",),
    meaning="Sends that the brokers did not acknowledge; the edge tries again.",
    remedy="Check that the brokers are up and that min.insync.replicas is met.",
)
ASSIGNED_PARTITIONS = Spec(
    name="distillery_assigned_partitions",
    kind="gauge",
    meaning="Partitions that this process owns, all topics together.",
    remedy="Zero for long with fewer processes than partitions: restart the process.",
)
REBALANCES = Spec(
    name="distillery_rebalances_total",
    kind="counter",
    meaning="Times that partitions were assigned anew.",
    remedy="Several in ten minutes: look for a process that crashes or hangs.",
)
COMMANDS = Spec(
    name="distillery_commands_total",
    kind="counter",
    labels=("command", "outcome"),
    meaning="Slash commands; outcome is requested, refused or failed.",
    remedy="Many failed: the broker is not reachable from the bot.",
)
VERDICTS = Spec(
    name="distillery_verdicts_total",
    kind="counter",
    labels=("verdict", "code"),
    meaning="Moderator decisions by verdict and first reason code.",
    remedy="A jump in one code: check the policy's last change.",
)
BACKLOG = Spec(
    name="distillery_backlog_requests",
    kind="gauge",
    meaning="Requests that wait for a worker.",
    remedy="Growing: add workers.",
)
OLDEST_WAIT = Spec(
    name="distillery_oldest_wait_seconds",
    kind="gauge",
    meaning="Age of the longest-waiting request of the backlog.",
    remedy="Add workers, or look for a checkpoint that no worker has.",
)
DISPATCHED = Spec(
    name="distillery_dispatches_total",
    kind="counter",
    labels=("reason",),
    meaning="Jobs addressed to workers; reason is first, failed or lost.",
    remedy="Many lost: workers die or lose the broker.",
)
WORKERS = Spec(
    name="distillery_workers",
    kind="gauge",
    labels=("state",),
    meaning="Workers by state: live, draining or silent.",
    remedy="Silent workers: look at their logs.",
)
JOBS = Spec(
    name="distillery_jobs_total",
    kind="counter",
    labels=("outcome", "code"),
    meaning="Jobs that a worker ended, by outcome and error code.",
    remedy="The runbook of the code's alert says what to do.",
)
JOB_SECONDS = Spec(
    name="distillery_job_seconds",
    kind="histogram",
    labels=("workflow",),
    meaning="Time a job took on the worker.",
    remedy="Slower than usual: checkpoints are being switched, or the GPU is throttled.",
    buckets=SLOW,
)
GPU_BUSY = Spec(
    name="distillery_gpu_busy_seconds_total",
    kind="counter",
    meaning="Time with a job on the GPU; its rate is the utilisation.",
    remedy="Low with a backlog: the dispatcher cannot reach the worker.",
)
ATTACHMENTS = Spec(
    name="distillery_attachments_total",
    kind="counter",
    meaning="Times that a worker attached itself to another dispatcher, where it was needed more.",
    remedy="Several a minute of each for long: more dispatchers than so few workers can serve at once; run fewer.",
)
SIDECAR_RESTARTS = Spec(
    name="distillery_sidecar_restarts_total",
    kind="counter",
    meaning="Times that ComfyUI was started again after it died or hung.",
    remedy="Read the sidecar's lines in the worker's log.",
)
DELIVERIES = Spec(
    name="distillery_deliveries_total",
    kind="counter",
    labels=("outcome", "method"),
    meaning="Final messages by outcome and way of delivery.",
    remedy="Many CHANNEL_MESSAGE: requests outlive their token; many UNDELIVERABLE: check permissions.",
)
END_TO_END = Spec(
    name="distillery_end_to_end_seconds",
    kind="histogram",
    labels=("outcome",),
    meaning="From the interaction to the final message.",
    remedy="Compare with distillery_event_age_seconds by stage to find the slow one.",
    buckets=SLOW,
)
DISCORD_CALLS = Spec(
    name="distillery_discord_calls_total",
    kind="counter",
    labels=("call", "status"),
    meaning="Calls to Discord by kind and status class (2xx, 404, 413, 429, 4xx, 5xx, error).",
    remedy="429: fewer progress edits; 5xx: Discord's status page.",
)

CATALOGUE: tuple[Spec, ...] = tuple(spec for spec in list(globals().values()) if isinstance(spec, Spec))
_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


class Metrics:
    """One process's metrics, in a registry of its own so that tests may have several."""

    def __init__(self, stage: str) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._stage = stage
        self._families = {spec: self._build(spec) for spec in CATALOGUE}
        self._children: dict[tuple[Spec, tuple[str, ...]], Any] = {}

    def count(self, spec: Spec, *labels: str, by: float = 1) -> None:
        """Add to a counter; ``labels`` in the order of the spec."""
        self._child(spec, labels).inc(by)

    def observe(self, spec: Spec, value: float, *labels: str) -> None:
        """Put ``value`` into a histogram."""
        self._child(spec, labels).observe(value)

    def set(self, spec: Spec, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._child(spec, labels).set(value)

    def _build(self, spec: Spec) -> Any:
        extra = {"buckets": spec.buckets} if spec.kind == "histogram" else {}
        kind: Any = _KINDS[spec.kind]
        return kind(spec.name, spec.meaning, ("stage", *spec.labels), registry=self.registry, **extra)

    def _child(self, spec: Spec, labels: tuple[str, ...]) -> Any:
        key = (spec, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._families[spec].labels(self._stage, *labels)
        return child
