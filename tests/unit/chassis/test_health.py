"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from services.chassis.health import STALE_AFTER_SECONDS, Health, HealthEndpoint


class Clock:
    """A monotonic clock moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        """The instant."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At 100 s."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """A stage that just started."""
    return Health(clock)


@pytest.fixture
def url(health: Health) -> Iterator[str]:
    """Its endpoint, with one metric."""
    registry = CollectorRegistry()
    Counter("probe_total", "A probe.", registry=registry).inc()
    endpoint = HealthEndpoint(health, registry, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{endpoint.start()}"
    endpoint.stop()


def get(url: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_starting_stage_is_alive_but_not_ready(url: str) -> None:
    """A load balancer waits, a supervisor does not kill."""
    assert get(f"{url}/healthz")[0] == 200
    assert get(f"{url}/readyz")[0] == 503


def test_a_ready_stage_says_so(url: str, health: Health) -> None:
    """And can take it back, with the reason."""
    health.ready()
    assert get(f"{url}/readyz")[0] == 200
    health.not_ready("ComfyUI does not answer")
    status, body = get(f"{url}/readyz")
    assert (status, "ComfyUI does not answer" in body) == (503, True)


def test_a_stage_whose_loop_stands_still_is_not_alive(health: Health, clock: Clock) -> None:
    """The endpoint's thread goes on answering, so silence of the loop must show."""
    health.ready()
    clock.now += STALE_AFTER_SECONDS + 1
    assert health.liveness() is not None
    assert health.readiness() is not None
    health.beat()
    assert health.liveness() is None


def test_a_broken_stage_is_not_alive(health: Health) -> None:
    """Only a restart can help."""
    health.ready()
    health.broken("the coordinator died")
    assert health.liveness() == "the coordinator died"


def test_metrics_are_served_in_prometheus_text(url: str) -> None:
    """Under the usual path."""
    status, body = get(f"{url}/metrics")
    assert (status, "probe_total 1.0" in body) == (200, True)


def test_an_unknown_path_names_the_known_ones(url: str) -> None:
    """A clear answer to a mistyped probe."""
    status, body = get(f"{url}/health")
    assert (status, "/healthz" in body) == (404, True)
