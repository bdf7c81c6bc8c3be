"""The Grafana dashboard: made by its code, and true to the metric catalogue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import build
from deploy.grafana.panels import ROWS, WINDOW, names_in, spec_named, specs_in
from services.chassis.metrics import CATALOGUE
from tests.repo import guards
from tests.repo.promtool import run_promtool

STAGES = ("ingest_bot", "moderator", "dispatcher", "gpu_worker", "notifier")
#: Labels that Prometheus itself gives, or that a histogram has.
_GIVEN_LABELS = frozenset({"stage", "instance", "job", "le"})


def test_the_dashboard_is_what_its_code_makes() -> None:
    """The committed JSON was not edited by hand, and was made again after the last change of the code."""
    assert build.DASHBOARD.read_text(encoding="utf-8") == build.render(), (
        "deploy/grafana/dashboards/distillery.json is not what its code makes; "
        "run python -m deploy.grafana.build"
    )


def test_every_metric_and_label_of_the_dashboard_is_in_the_catalogue() -> None:
    """A panel cannot show a metric that no stage exports, or split one by a label that it lacks."""
    complaints = [complaint for expr in _expressions() for complaint in _unknown_in(expr)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("rate(distillery_evnts_total[5m])", "distillery_evnts_total"),
        ("sum(distillery_job_seconds)", "distillery_job_seconds"),
        ("sum(distillery_backlog_requests_bucket)", "distillery_backlog_requests_bucket"),
        ("sum by (user) (distillery_events_total)", "user"),
        ('sum(distillery_workers{mood="live"})', "mood"),
        ("distillery_workers{state=~'live', mood!~'glum'}", "mood"),
    ],
)
def test_an_unknown_metric_or_label_is_found(expr: str, complaint: str) -> None:
    """A misspelt metric, a histogram's bare name, a gauge's bucket, and foreign labels are each told."""
    assert any(complaint in told for told in _unknown_in(expr))


def test_every_metric_of_the_catalogue_is_shown() -> None:
    """What is worth counting is worth seeing."""
    shown = {spec.name for expr in _expressions() for spec in specs_in(expr)}
    assert shown == {spec.name for spec in CATALOGUE}


def test_every_panel_says_what_it_shows_and_what_to_do() -> None:
    """A panel's description holds the catalogue's meaning and remedy of each metric in it."""
    for panel in _panels():
        specs = [spec for target in panel["targets"] for spec in specs_in(target["expr"])]
        assert specs, panel["title"]
        for spec in specs:
            assert spec.meaning in panel["description"], panel["title"]
            assert spec.remedy in panel["description"], panel["title"]


def test_no_two_panels_lie_on_each_other() -> None:
    """Every panel has an id and a place of its own on Grafana's grid of 24 columns."""
    panels = json.loads(build.render())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_promtool_accepts_every_expression_as_a_rule(tmp_path: Path) -> None:
    """Prometheus parses every expression of the dashboard."""
    done = run_promtool("check", "rules", str(_rules_of(_expressions(), tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_refuses_an_expression_that_prometheus_cannot_parse(tmp_path: Path) -> None:
    """The check above is one that can fail."""
    broken = [*_expressions(), "sum by (stage (distillery_workers)"]
    assert run_promtool("check", "rules", str(_rules_of(broken, tmp_path))).returncode != 0


def test_prometheus_scrapes_every_stage() -> None:
    """The configuration is one that Prometheus accepts, with a job for each stage on this machine alone."""
    path = guards.ROOT / "deploy" / "prometheus" / "prometheus.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
    targets = [target for job in jobs for static in job["static_configs"] for target in static["targets"]]
    assert sorted(job["job_name"] for job in jobs) == sorted(STAGES)
    assert len(set(targets)) == len(targets)
    assert all(target.startswith("127.0.0.1:") for target in targets)
    done = run_promtool("check", "config", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_given_the_data_source_that_the_panels_name() -> None:
    """The provisioned data source has the uid and the scrape interval that the dashboard counts on."""
    provisioning = guards.ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "distillery.yaml").read_text(encoding="utf-8"))
    scraping = yaml.safe_load((guards.ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]
    named = [place["datasource"]["uid"] for panel in _panels() for place in (panel, *panel["targets"])]
    assert set(named) == {source["uid"]}


def test_grafana_is_told_where_dashboards_lie() -> None:
    """The provider reads a folder and does not let the page change what is built from code."""
    provisioning = guards.ROOT / "deploy" / "grafana" / "provisioning"
    text = (provisioning / "dashboards" / "distillery.yaml").read_text(encoding="utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]
    assert provider["allowUiUpdates"] is False


def _panels() -> list[dict[str, Any]]:
    panels = json.loads(build.DASHBOARD.read_text(encoding="utf-8"))["panels"]
    found = [panel for panel in panels if panel["type"] != "row"]
    assert len(found) == sum(len(row.panels) for row in ROWS)
    return found


def _expressions() -> list[str]:
    """Every expression of the committed dashboard."""
    return [target["expr"] for panel in _panels() for target in panel["targets"]]


def _unknown_in(expr: str) -> list[str]:
    """Series and labels of an expression that the catalogue does not have."""
    unknown = [name for name in names_in(expr) if spec_named(name) is None]
    specs = specs_in(expr)
    allowed = _GIVEN_LABELS.union(*(spec.labels for spec in specs)) if specs else _GIVEN_LABELS
    grouped = [
        label
        for group in re.findall(r"\bby \(([^)]*)\)", expr)
        for label in re.split(r",\s*", group)
        if label
    ]
    matched = [
        label
        for inside in re.findall(r"\{([^}]*)\}", expr)
        for label in re.findall(r"(\w+)\s*(?:=|!)", inside)
    ]
    strange = [label for label in (*grouped, *matched) if label not in allowed]
    return [f"{expr}: the catalogue has no {name}" for name in (*unknown, *strange)]


def _rules_of(expressions: list[str], folder: Path) -> Path:
    """A file of recording rules, one for each expression, with a window in place of Grafana's variable."""
    rules = [
        {"record": f"dashboard:expression:{number}", "expr": expr.replace(WINDOW, "1m")}
        for number, expr in enumerate(expressions)
    ]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    return path
