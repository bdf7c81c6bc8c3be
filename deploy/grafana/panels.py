"""What the dashboard shows: rows of panels over the metric catalogue.  Pure; ``build`` makes Grafana's JSON of it.

A panel's description is made of the catalogue's meaning and remedy of each metric that its queries name, so that
whoever looks at a curve reads what it is and what to do without leaving the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.chassis import metrics as m
from services.chassis.metrics import CATALOGUE, Spec

#: Grafana puts a window of at least four scrapes here.
WINDOW = "$__rate_interval"
#: A GPU's busy time is counted when a job ends: a window shorter than a job would jump between 0 and 300 %.
GPU_WINDOW = "5m"
_SUFFIXES = ("_bucket", "_sum", "_count")  #: of the series that a histogram has


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel; ``legend`` is Grafana's template over the labels of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSpec:
    """One panel; ``unit`` is Grafana's name of it, ``note`` goes before the catalogue's words."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    note: str = ""

    @property
    def description(self) -> str:
        """Meaning and remedy of every metric that the panel shows."""
        specs = dict.fromkeys(spec for query in self.queries for spec in specs_in(query.expr))
        paragraphs = [f"{spec.meaning}\n\nWhen it looks wrong: {spec.remedy}" for spec in specs]
        return "\n\n".join([*filter(None, [self.note]), *paragraphs])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSpec:
    """Panels under one heading."""

    title: str
    panels: tuple[PanelSpec, ...]


def names_in(expr: str) -> list[str]:
    """The series names of ours that an expression selects, in order."""
    return re.findall(r"\bdistillery_\w+", expr)


def spec_named(series: str) -> Spec | None:
    """The catalogue's metric that a series belongs to, or none: histograms have series with three suffixes."""
    for spec in CATALOGUE:
        names = {spec.name + suffix for suffix in _SUFFIXES} if spec.kind == "histogram" else {spec.name}
        if series in names:
            return spec
    return None


def specs_in(expr: str) -> list[Spec]:
    """The catalogue's metrics that an expression selects, in order."""
    return [spec for spec in map(spec_named, names_in(expr)) if spec is not None]


def rates(spec: Spec, by: str, where: str = "") -> Query:
    """A counter's events per second, by labels."""
    return Query(expr=f"sum by ({by}) (rate({spec.name}{where}[{WINDOW}]))", legend=_legend(by))


def totals(spec: Spec, by: str, where: str = "") -> Query:
    """A counter since its process started, by labels.

    For what happens seldom: a series that begins at 1 has no increase, so a rate would hide the first event.
    """
    return Query(expr=f"sum by ({by}) ({spec.name}{where})", legend=_legend(by))


def quantile(share: float, spec: Spec, by: str) -> Query:
    """A histogram's quantile, by labels."""
    buckets = f"sum by (le, {by}) (rate({spec.name}_bucket[{WINDOW}]))"
    return Query(expr=f"histogram_quantile({share:g}, {buckets})", legend=f"p{share * 100:g} {_legend(by)}")


def gauge(spec: Spec, combine: str, by: str = "", legend: str = "") -> Query:
    """A gauge of every process, combined by ``sum``, ``max`` or another aggregation."""
    grouping = f" by ({by})" if by else ""
    return Query(expr=f"{combine}{grouping} ({spec.name})", legend=legend or _legend(by))


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))


def _gpu_utilisation() -> PanelSpec:
    rate = f"rate({m.GPU_BUSY.name}[{GPU_WINDOW}])"
    return PanelSpec(
        title="GPU utilisation",
        unit="percentunit",
        note="Counted when a job ends, over the last five minutes.",
        queries=(
            Query(expr=f"sum by (instance) ({rate})", legend="{{instance}}"),
            Query(expr=f"avg({rate})", legend="mean of all"),
        ),
    )


def _rate_limited() -> PanelSpec:
    calls = m.DISCORD_CALLS.name
    limited = f'sum(rate({calls}{{status="429"}}[{WINDOW}])) or vector(0)'
    return PanelSpec(
        title="Share of calls answered 429",
        unit="percentunit",
        queries=(Query(expr=f"({limited}) / sum(rate({calls}[{WINDOW}]))", legend="of all calls"),),
    )


_BURIED = '{outcome=~"dead_lettered|poison"}'

_REQUESTS = RowSpec(
    title="Requests",
    panels=(
        PanelSpec(
            title="End to end, by outcome",
            unit="s",
            queries=(quantile(0.5, m.END_TO_END, "outcome"), quantile(0.99, m.END_TO_END, "outcome")),
        ),
        PanelSpec(
            title="Requests ended, by outcome", unit="reqps", queries=(rates(m.DELIVERIES, "outcome"),)
        ),
        PanelSpec(title="Backlog", unit="short", queries=(gauge(m.BACKLOG, "sum", legend="waiting"),)),
        PanelSpec(title="Oldest wait", unit="s", queries=(gauge(m.OLDEST_WAIT, "max", legend="oldest"),)),
        PanelSpec(
            title="Commands, by outcome", unit="reqps", queries=(rates(m.COMMANDS, "command, outcome"),)
        ),
        PanelSpec(title="Verdicts", unit="reqps", queries=(rates(m.VERDICTS, "verdict, code"),)),
    ),
)

_STAGES = RowSpec(
    title="Stages",
    panels=(
        PanelSpec(title="Event age, p99", unit="s", queries=(quantile(0.99, m.EVENT_AGE, "stage, topic"),)),
        PanelSpec(
            title="Event processing, p99",
            unit="s",
            queries=(quantile(0.99, m.EVENT_PROCESSING, "stage, topic"),),
        ),
        PanelSpec(
            title="Events, by outcome", unit="eps", queries=(rates(m.EVENTS, "stage, topic, outcome"),)
        ),
        PanelSpec(
            title="Events in flight", unit="short", queries=(gauge(m.EVENTS_IN_FLIGHT, "sum", "stage"),)
        ),
        PanelSpec(
            title="Send latency, p99", unit="s", queries=(quantile(0.99, m.SEND_SECONDS, "stage, topic"),)
        ),
        PanelSpec(
            title="Assigned partitions",
            unit="short",
            queries=(gauge(m.ASSIGNED_PARTITIONS, "sum", "stage, instance"),),
        ),
        PanelSpec(
            title="Rebalances since start", unit="short", queries=(totals(m.REBALANCES, "stage, instance"),)
        ),
    ),
)

_WORKERS = RowSpec(
    title="Workers",
    panels=(
        PanelSpec(title="Workers, by state", unit="short", queries=(gauge(m.WORKERS, "sum", "state"),)),
        _gpu_utilisation(),
        PanelSpec(
            title="Job time, by workflow",
            unit="s",
            queries=(quantile(0.5, m.JOB_SECONDS, "workflow"), quantile(0.99, m.JOB_SECONDS, "workflow")),
        ),
        PanelSpec(title="Jobs, by outcome and code", unit="ops", queries=(rates(m.JOBS, "outcome, code"),)),
        PanelSpec(title="Dispatches, by reason", unit="ops", queries=(rates(m.DISPATCHED, "reason"),)),
        PanelSpec(
            title="Moves to another dispatcher since start",
            unit="short",
            queries=(totals(m.ATTACHMENTS, "instance"),),
        ),
        PanelSpec(
            title="Sidecar restarts since start",
            unit="short",
            queries=(totals(m.SIDECAR_RESTARTS, "instance"),),
        ),
    ),
)

_DISCORD = RowSpec(
    title="Discord",
    panels=(
        PanelSpec(title="Calls, by status", unit="reqps", queries=(rates(m.DISCORD_CALLS, "call, status"),)),
        _rate_limited(),
        PanelSpec(
            title="Deliveries, by method", unit="reqps", queries=(rates(m.DELIVERIES, "method, outcome"),)
        ),
    ),
)

_FAILURES = RowSpec(
    title="Failures",
    panels=(
        PanelSpec(
            title="Dead letters since start",
            unit="short",
            queries=(totals(m.EVENTS, "stage, topic, outcome", _BURIED),),
        ),
        PanelSpec(
            title="Send failures since start",
            unit="short",
            queries=(totals(m.SEND_FAILURES, "stage, topic"),),
        ),
    ),
)

ROWS = (_REQUESTS, _STAGES, _WORKERS, _DISCORD, _FAILURES)
