"""Makes ``dashboards/distillery.json`` of ``panels``: run ``python -m deploy.grafana.build`` after a change there."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

from deploy.grafana.panels import ROWS, PanelSpec, RowSpec

DASHBOARD = Path(__file__).parent / "dashboards" / "distillery.json"
UID = "distillery"
DATASOURCE_UID = "distillery-prometheus"  #: as the provisioned data source has it
_WIDTH, _HEIGHT = 8, 8  #: of a panel, in Grafana's grid of 24 columns


def render() -> str:
    """The dashboard as the text of its file: the same for the same panels."""
    board = (
        dashboard.Dashboard("Distillery")
        .uid(UID)
        .tags(["distillery"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    number = 0
    for row in ROWS:
        board = board.with_row(_row(row, number := number + 1))
        for spec in row.panels:
            board = board.with_panel(_panel(spec, number := number + 1))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _row(spec: RowSpec, number: int) -> dashboard.Row:
    return dashboard.Row(spec.title).id(number)


def _panel(spec: PanelSpec, number: int) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .id(number)
        .title(spec.title)
        .description(spec.description)
        .unit(spec.unit)
        .datasource(_datasource())
        .span(_WIDTH)
        .height(_HEIGHT)
        .min(0)
        .fill_opacity(10)
        .show_points(VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for letter, query in zip("ABCDEFGH", spec.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        panel = panel.with_target(target.datasource(_datasource()).range().ref_id(letter))
    return panel


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.TABLE)
    return legend.placement(LegendPlacement.BOTTOM).show_legend(True).calcs(["lastNotNull", "max"])


def _datasource() -> DataSourceRef:
    return DataSourceRef(type_val="prometheus", uid=DATASOURCE_UID)


if __name__ == "__main__":
    DASHBOARD.write_text(render(), encoding="utf-8")
