"""A request that several workers draw, from the command to its one message."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from services.gpu_worker.provenance import read_texts
from services.launcher.brokers.choose import OpenBroker
from tests.harness.chain import Chain
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def pair(broker: OpenBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A chain with two workers, whose dispatcher splits whatever it can."""
    with KafkaCorner(broker, f"e2e{uuid.uuid4().hex[:8]}-") as kafka:
        kafka.create_registry_topics()
        chain = Chain(
            kafka,
            tmp_path_factory.mktemp("chain"),
            env={"SPLIT_SECONDS": "0"},
            comfyui_args=("--step-seconds", "0.05", "--image-seconds", "0", "--load-seconds", "0"),
            workers=2,
        )
        try:
            chain.start()
            eventually(lambda: len(ready_workers(chain)) == 2, 20)
            yield chain
        finally:
            chain.close()


def ready_workers(chain: Chain) -> set[str]:
    """Workers that have offered a slot and a lane to reach it by."""
    return {event.worker_id for event in chain.events("workers") if event.slots and event.lanes}


def seeds(message: dict[str, Any]) -> list[int]:
    """The seed of each delivered image, as the image itself tells it, in order."""
    found = []
    for attachment in message["attachments"]:
        with urllib.request.urlopen(attachment["url"], timeout=10) as answer:
            found.append(int(json.loads(read_texts(answer.read())["distillery"])["seed"]))
    return found


def parts_of(chain: Chain, request: str) -> list[tuple[int, str]]:
    """Each dispatch of the request: its part and its worker."""
    dispatched = (event for event in chain.events("dispatched") if event.request_id == request)
    return sorted((event.part, event.worker_id) for event in dispatched)


def test_two_idle_workers_draw_a_request_together(pair: Chain) -> None:
    """Each draws half of the images once; the user gets all of them in one message, in the order of their seeds."""
    request = pair.submit(1, "a lighthouse at dusk --seed 100 --steps 20")
    message = pair.wait_final([request])[request]
    pair.assert_one_final_message_each([request])
    assert seeds(message) == [100, 101, 102, 103]
    (first, one), (second, other) = parts_of(pair, request)
    assert ((first, second), {one, other}) == ((1, 2), {"worker-0", "worker-1"})
    assert len(pair.runs_of(request)) == 2


def test_a_part_whose_worker_dies_is_drawn_again_and_the_other_is_not(pair: Chain) -> None:
    """Its images come from the survivor; what had been drawn is kept until then."""
    request = pair.submit(2, "a slow lighthouse --seed 200 --steps 60")
    eventually(lambda: len(pair.runs_of(request)) == 2, 20)
    pair.workers[1].kill()
    message = pair.wait_final([request], 60)[request]
    pair.assert_one_final_message_each([request])
    assert seeds(message) == [200, 201, 202, 203]
    dispatches = parts_of(pair, request)
    (lost,) = {part for part, worker in dispatches if worker == "worker-1"}
    kept = 3 - lost
    assert dispatches == sorted([(kept, "worker-0"), (lost, "worker-0"), (lost, "worker-1")])
