"""Several dispatchers and fewer workers, as processes on the broker: everybody is served, and nobody twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.chassis.clock import system_clock
from services.contracts.codec import decode
from services.contracts.events import (
    BacklogReported,
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    Outcome,
)
from services.contracts.partitioner import partition_for
from services.contracts.topics import BACKLOGS, COMPLETED, DISPATCHED, WORKERS, load_topics
from services.sandbox.comfyui.settings import SandboxSettings
from services.sandbox.comfyui.thread import SandboxThread, serve_in_thread
from tests.fakes.graphs import TEXT_BINDINGS, text_graph
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess, StartStage
from tests.harness.waiting import eventually
from tests.integration.test_dispatcher import approve
from tests.unit.dispatcher.world import a_request

PARTITIONS = load_topics()[WORKERS].partitions


@pytest.fixture
def comfyui() -> Iterator[SandboxThread]:
    """The worker's: a job takes a fifth of a second."""
    with serve_in_thread(SandboxSettings(step_seconds=0.05, image_seconds=0.05)) as served:
        yield served


class Users:
    """Makes requests of users whose partitions are given."""

    def __init__(self, kafka: KafkaCorner) -> None:
        self._kafka = kafka
        self._made = 0

    def ask(self, partition: int) -> GenerationRequested:
        """A request of some user of that partition is approved now."""
        self._made += 1
        request = a_request(f"A{self._made}", at=system_clock(), bindings=TEXT_BINDINGS)
        users = (f"user-{self._made}-{n}" for n in range(10_000))
        user = next(u for u in users if partition_for(u.encode(), PARTITIONS) == partition)
        request = replace(
            request,
            reply_to=replace(request.reply_to, user_id=user),
            job=replace(request.job, graph=json.dumps(text_graph()), seed=self._made),
        )
        approve(self._kafka, request)
        return request


def owners(kafka: KafkaCorner, dispatchers: int) -> list[list[int]]:
    """The partitions of each dispatcher, once that many say which they own."""

    def shares() -> list[list[int]]:
        told: dict[str, list[int]] = {}
        for message in kafka.consume_all(BACKLOGS):
            event = decode(message.value() or b"", BacklogReported)
            told[event.dispatcher_id] = event.partitions
        found = sorted(told.values())
        whole = sorted(p for share in found for p in share) == list(range(PARTITIONS))
        return found if len(found) == dispatchers and whole and all(found) else []

    return eventually(shares, 40)


def ends(kafka: KafkaCorner, requests: int, seconds: float = 30.0) -> dict[str, JobCompleted]:
    """How each request ended, once so many have; and how long it took at most."""
    messages = kafka.consume_until(COMPLETED, lambda seen: len(seen) >= requests, seconds)
    return {event.request_id: event for event in (decode(m.value() or b"", JobCompleted) for m in messages)}


def start_worker(start_stage: StartStage, comfyui: SandboxThread, folder: str) -> StageProcess:
    """A worker that is ready."""
    return start_stage(
        "gpu_worker", {"COMFYUI_URL": comfyui.url, "WORKER_ID": "w1", "OBJECT_STORE_DIR": folder}
    )


def test_one_worker_serves_the_users_of_two_dispatchers(
    chain_kafka: KafkaCorner,
    start_stage: StartStage,
    comfyui: SandboxThread,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """It goes from one to the other as they need it: no user waits for more than seconds, each job runs once."""
    for number in (1, 2):
        start_stage("dispatcher", name=f"dispatcher-{number}")
    shares = owners(chain_kafka, 2)
    worker = start_worker(start_stage, comfyui, str(tmp_path_factory.mktemp("objects")))
    users = Users(chain_kafka)
    requests: list[GenerationRequested] = []
    for _ in range(4):
        requests += [users.ask(share[0]) for share in shares]
        ended = ends(chain_kafka, len(requests))
        assert set(ended) == {request.request_id for request in requests}
    assert {event.outcome for event in ended.values()} == {Outcome.SUCCEEDED}
    waits = [ended[r.request_id].completed_at - r.requested_at for r in requests]
    assert max(waits) < timedelta(seconds=6)
    jobs = [decode(m.value() or b"", JobDispatched) for m in chain_kafka.consume_all(DISPATCHED)]
    assert sorted(run.prompt_id for run in comfyui.runs()) == sorted(job.dispatch_id for job in jobs)
    assert len(jobs) == len(requests)
    assert worker.metric("distillery_attachments_total") >= 1


def test_a_worker_reports_in_one_partition_and_leaves_none_behind(
    chain_kafka: KafkaCorner,
    start_stage: StartStage,
    comfyui: SandboxThread,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What it left in the partition of another dispatcher is deleted, and all of it when it ends."""
    for number in (1, 2):
        start_stage("dispatcher", name=f"dispatcher-{number}")
    shares = owners(chain_kafka, 2)
    worker = start_worker(start_stage, comfyui, str(tmp_path_factory.mktemp("objects")))
    users = Users(chain_kafka)
    for share in shares:
        users.ask(share[0])
    ends(chain_kafka, 2)
    eventually(lambda: len(lying(chain_kafka)) == 1, 20)
    assert worker.metric("distillery_attachments_total") >= 1
    assert worker.stop() == 0
    assert lying(chain_kafka) == {}


def lying(kafka: KafkaCorner) -> dict[int, bytes]:
    """The worker's last report by partition, where the last record is one."""
    last: dict[int, tuple[int, bytes | None]] = {}
    for message in kafka.consume_all(WORKERS):
        place, offset = message.partition() or 0, message.offset() or 0
        last[place] = max(last.get(place, (-1, None)), (offset, message.value()), key=lambda found: found[0])
    return {place: value for place, (_, value) in last.items() if value is not None}
