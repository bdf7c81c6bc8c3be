"""Every metric of the catalogue is recorded by some stage, with the labels and the kind that it declares."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from services.chassis import metrics as m
from services.chassis.metrics import CATALOGUE, Spec
from tests.repo import guards
from tests.repo.guards import Source

#: Which kind of metric each method of `Metrics` records, and after how many arguments its labels begin.
_METHODS = {"count": ("counter", 1), "observe": ("histogram", 2), "set": ("gauge", 2)}
_CONSTANTS = {name: spec for name, spec in vars(m).items() if isinstance(spec, Spec)}
#: Every label that a metric may have: each takes its values from a set that is known before anything runs.
_LABELS = {
    "topic": "the topic registry",
    "outcome": "the outcomes of an edge, a command, a job or a delivery",
    "command": "the slash commands",
    "verdict": "events.Verdict",
    "code": "errors.ErrorCode and the moderation policy's reason codes",
    "reason": "why a job is dispatched: first, failed or lost",
    "state": "live, draining or silent",
    "workflow": "the folders of workflows",
    "method": "events.DeliveryMethod",
    "call": "the notifier's and the bot's kinds of call",
    "status": "classes of HTTP status, and error",
}


def test_every_metric_is_recorded_by_some_stage() -> None:
    """One that nobody records is a panel that is always empty."""
    recorded = {name for source in _product() for name, _ in _recordings(source)}
    assert sorted(set(_CONSTANTS) - recorded) == []


def test_every_recording_fits_its_metric() -> None:
    """The method is that of its kind, and there are as many labels as it declares."""
    complaints = [complaint for source in _product() for complaint in _misfits(source)]
    assert complaints == []


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("metrics.count(m.EVENTS, topic, 'ok')", ""),
        ("metrics.count(m.EVENTS, topic, 'ok', by=2)", ""),
        ("metrics.count(m.EVENTS, topic)", "1 labels"),
        ("metrics.set(m.EVENTS, 1, topic, 'ok')", "is a counter"),
        ("metrics.observe(m.EVENT_AGE, 1.0)", "0 labels"),
        ("self._metrics.count(m.EVENTS, *labels)", ""),
        ("seen.count(m.NOT_OURS)", ""),
    ],
)
def test_a_recording_that_does_not_fit_is_found(call: str, complaint: str) -> None:
    """A wrong method, too few labels; what cannot be counted here is let pass."""
    found = _misfits(Source(path="x.py", text=call))
    assert (complaint in found[0]) if complaint else (found == [])


def test_every_label_takes_its_values_from_a_known_set() -> None:
    """A new label must be added here with where its values come from, and one that is gone taken out."""
    assert {label for spec in CATALOGUE for label in spec.labels} == set(_LABELS)


def _product() -> list[Source]:
    """What runs: everything in ``services`` but the catalogue itself."""
    paths = (source for source in guards.python_files() if source.path.startswith("services/"))
    return [source for source in paths if source.path != "services/chassis/metrics.py"]


def _recordings(source: Source) -> Iterator[tuple[str, ast.Call]]:
    """Calls that record a metric, by its constant's name; the catalogue is imported as ``m`` everywhere."""
    for node in ast.walk(source.tree()):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        first = ast.unparse(node.args[0])
        name = first.rpartition(".")[2]
        if (
            node.func.attr in _METHODS
            and name in _CONSTANTS
            and first in (name, f"m.{name}", f"metrics.{name}")
        ):
            yield name, node


def _misfits(source: Source) -> list[str]:
    found = []
    for name, call in _recordings(source):
        spec = _CONSTANTS[name]
        assert isinstance(call.func, ast.Attribute)
        kind, before = _METHODS[call.func.attr]
        place = f"{source.path}:{call.lineno}: {name}"
        if kind != spec.kind:
            found.append(f"{place} is a {spec.kind}, which {call.func.attr} does not record")
        elif not any(isinstance(argument, ast.Starred) for argument in call.args):
            given = len(call.args) - before
            if given != len(spec.labels):
                found.append(f"{place} is given {given} labels and declares {len(spec.labels)}")
    return found
