"""The metric catalogue against what a stage exports, and the dashboard against both."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.panels import ROWS, WINDOW, specs_in
from services.chassis.metrics import CATALOGUE, Metrics, Spec
from services.contracts.codec import encode
from services.contracts.envelope import Envelope
from services.contracts.events import GenerationRequested, JobSpec, ReplyTo
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess, StartStage
from tests.harness.waiting import eventually
from tests.repo.promtool import expressions_without_result, run_promtool

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
#: Values of the labels that the dashboard selects by; any text does for the others.
_VALUES = {"outcome": ("ok", "dead_lettered", "poison"), "status": ("2xx", "429")}
#: What Prometheus's tool dislikes in the client library's own metrics, which are not ours to name.
_FOREIGN = re.compile(r"^(process|python)_")


def test_metric_names_say_their_unit_and_kind() -> None:
    """``distillery_<what>_<unit>``, with ``_total`` for counters and for nothing else; no name twice."""
    names = [spec.name for spec in CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in CATALOGUE:
        assert re.fullmatch(r"distillery(_[a-z]+)+", spec.name), spec.name
        assert spec.name.endswith("_total") == (spec.kind == "counter"), spec.name
        assert spec.kind != "histogram" or spec.name.endswith("_seconds"), spec.name


def test_every_metric_says_what_it_means_and_what_to_do() -> None:
    """Meaning and remedy are sentences: they are what a person on call reads."""
    for spec in CATALOGUE:
        assert spec.meaning.endswith("."), spec.name
        assert spec.remedy.endswith("."), spec.name


def test_no_label_names_a_person_or_a_request() -> None:
    """Labels come from closed sets: ids would be personal data, and a series for each."""
    labels = {label for spec in CATALOGUE for label in spec.labels}
    assert not [label for label in labels if label in {"user", "request", "guild"} or label.endswith("id")]


def test_every_expression_gives_something_once_every_metric_was_recorded(tmp_path: Path) -> None:
    """promtool evaluates each panel's expression over a whole export: none selects what can never be there."""
    metrics = Metrics("moderator")
    for spec in CATALOGUE:
        for labels in itertools.product(*(_VALUES.get(label, ("any",)) for label in spec.labels)):
            _record(metrics, spec, labels)
    export = generate_latest(metrics.registry).decode()
    assert expressions_without_result(_expressions(), export, tmp_path) == ""


def test_an_expression_that_selects_nothing_is_told(tmp_path: Path) -> None:
    """The check above is one that can fail."""
    metrics = Metrics("moderator")
    export = generate_latest(metrics.registry).decode()
    assert "distillery_events_total" in expressions_without_result(
        ["sum(distillery_events_total)"], export, tmp_path
    )


def test_a_running_stage_exports_what_the_dashboard_shows(
    chain_kafka: KafkaCorner, start_stage: StartStage, tmp_path: Path
) -> None:
    """A moderator that has moderated exports every metric of the catalogue by name and kind, in a form that
    Prometheus's tool accepts, and every panel of what it recorded shows something.
    """
    stage = start_stage("moderator")
    _moderate_one(chain_kafka, stage)
    export = stage.get("/metrics")[1]
    kinds = {family.name: family.type for family in text_string_to_metric_families(export)}
    # The parser gives a counter's family without its suffix.
    missing = [spec.name for spec in CATALOGUE if kinds.get(spec.name.removesuffix("_total")) != spec.kind]
    assert not missing
    recorded = {sample.name for family in text_string_to_metric_families(export) for sample in family.samples}
    due = [
        expr
        for expr in _expressions()
        if "{" not in expr and all(name in recorded for name in re.findall(r"distillery_\w+", expr))
    ]
    shown = {spec.name for expr in due for spec in specs_in(expr)}
    assert {"distillery_events_total", "distillery_event_age_seconds", "distillery_send_seconds"} <= shown
    assert expressions_without_result(due, export, tmp_path) == ""
    assert _complaints_about_ours(export) == []


def test_promtool_finds_fault_with_an_export_that_breaks_the_conventions() -> None:
    """The check of an export is one that can fail."""
    export = "# HELP distillery_things_total Things.\n# TYPE distillery_things_total gauge\ndistillery_things_total 1\n"
    assert _complaints_about_ours(export)


def _moderate_one(kafka: KafkaCorner, stage: StageProcess) -> None:
    """Let the stage handle one request to its end."""
    event = _request()
    headers = Envelope.for_event(event, None, stage="ingest_bot").to_headers()
    kafka.produce("requests", encode(event), key=event.reply_to.user_id, headers=headers)
    eventually(
        lambda: stage.metric("distillery_events_total", topic="requests", outcome="ok") == 1,
        30,
        failing=stage.log_tail,
    )


def _request() -> GenerationRequested:
    return GenerationRequested(
        request_id="1313131313131313131",
        requested_at=NOW,
        expires_at=NOW + timedelta(minutes=30),
        reply_to=ReplyTo(
            user_id="424242424242424242",
            channel_id="515151515151515151",
            application_id="616161616161616161",
            interaction_token="a-token-of-a-test",
            token_expires_at=NOW + timedelta(minutes=15),
        ),
        command="serve",
        raw_input="a lighthouse",
        command_string="a lighthouse",
        prompt="a lighthouse",
        negative_prompt="",
        job=JobSpec(
            workflow="sd15", workflow_version="1", graph="{}", bindings={}, seed=7, images=1, parameters={}
        ),
    )


def _record(metrics: Metrics, spec: Spec, labels: tuple[str, ...]) -> None:
    match spec.kind:
        case "counter":
            metrics.count(spec, *labels)
        case "gauge":
            metrics.set(spec, 1, *labels)
        case "histogram":
            metrics.observe(spec, 1, *labels)


def _expressions() -> list[str]:
    queries = (query for row in ROWS for panel in row.panels for query in panel.queries)
    return [query.expr.replace(WINDOW, "5m") for query in queries]


def _complaints_about_ours(export: str) -> list[str]:
    done = run_promtool("check", "metrics", text=export)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 or said
    return [line for line in said if not _FOREIGN.match(line)]
