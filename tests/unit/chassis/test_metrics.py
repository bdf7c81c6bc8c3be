"""Recording: the right kind, the right labels, and a registry for each process."""

from __future__ import annotations

import pytest

from services.chassis import metrics as m


def test_a_counter_adds_up_by_its_labels() -> None:
    """Labels are given in the order of the spec, and the stage is always among them."""
    metrics = m.Metrics("probe")
    metrics.count(m.EVENTS, "requests", "ok")
    metrics.count(m.EVENTS, "requests", "ok", by=2)
    metrics.count(m.EVENTS, "requests", "poison")

    def value(outcome: str) -> float | None:
        labels = {"stage": "probe", "topic": "requests", "outcome": outcome}
        return metrics.registry.get_sample_value("distillery_events_total", labels)

    assert (value("ok"), value("poison"), value("retried")) == (3, 1, None)


def test_a_gauge_keeps_its_last_value() -> None:
    """It is set, not added to."""
    metrics = m.Metrics("probe")
    metrics.set(m.ASSIGNED_PARTITIONS, 24)
    metrics.set(m.ASSIGNED_PARTITIONS, 12)
    name = m.ASSIGNED_PARTITIONS.name
    assert metrics.registry.get_sample_value(name, {"stage": "probe"}) == 12


def test_a_histogram_counts_into_the_buckets_of_its_spec() -> None:
    """Jobs take minutes and sends take milliseconds, so each has buckets of its own."""
    metrics = m.Metrics("probe")
    metrics.observe(m.JOB_SECONDS, 40.0, "txt2img")

    def upto(bound: str) -> float | None:
        labels = {"stage": "probe", "workflow": "txt2img", "le": bound}
        return metrics.registry.get_sample_value("distillery_job_seconds_bucket", labels)

    assert (upto("30.0"), upto("45.0"), upto("+Inf"), upto("0.001")) == (0, 1, 1, None)


def test_a_recording_without_all_its_labels_is_refused() -> None:
    """A programming error must not become a series of its own."""
    with pytest.raises(ValueError, match="label"):
        m.Metrics("probe").count(m.EVENTS, "requests")


def test_two_stages_in_one_process_keep_their_metrics_apart() -> None:
    """A global registry would refuse the second one's names, or mix what they count."""
    one, two = m.Metrics("one"), m.Metrics("two")
    one.count(m.REBALANCES)
    name = m.REBALANCES.name
    assert one.registry.get_sample_value(name, {"stage": "one"}) == 1
    assert two.registry.get_sample_value(name, {"stage": "one"}) is None


def test_every_metric_of_the_catalogue_can_be_recorded_by_its_kind() -> None:
    """Each is exported under its own name, with the labels that its spec declares and no other."""
    metrics = m.Metrics("probe")
    for spec in m.CATALOGUE:
        match spec.kind:
            case "counter":
                metrics.count(spec, *spec.labels)
            case "gauge":
                metrics.set(spec, 1, *spec.labels)
            case "histogram":
                metrics.observe(spec, 1, *spec.labels)
    suffix = {"counter": "", "gauge": "", "histogram": "_count"}
    for spec in m.CATALOGUE:
        labels = {"stage": "probe", **{label: label for label in spec.labels}}
        assert metrics.registry.get_sample_value(spec.name + suffix[spec.kind], labels) == 1, spec.name
