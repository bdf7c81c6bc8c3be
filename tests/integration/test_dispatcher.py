"""The dispatcher as processes on the broker: who owns whom, and what a dead letter of it tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from services.chassis.clock import system_clock
from services.contracts.codec import decode, encode
from services.contracts.events import (
    GenerationRequested,
    HeldJob,
    HeldState,
    JobDispatched,
    JobRecorded,
    RequestModerated,
    Verdict,
    WorkerReported,
)
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StartStage
from tests.harness.waiting import eventually
from tests.unit.dispatcher.world import a_request

USERS = 24


def approve(kafka: KafkaCorner, request: GenerationRequested) -> None:
    """What the moderator writes."""
    event = RequestModerated(
        request=request, verdict=Verdict.APPROVED, moderated_at=request.requested_at, policy_version="1"
    )
    kafka.produce("moderated", encode(event), key=request.reply_to.user_id)


def requests_of(users: int) -> list[GenerationRequested]:
    """One request of each user, made now."""
    now = system_clock()
    made = []
    for number in range(users):
        request = a_request(f"A{number}", at=now)
        made.append(replace(request, reply_to=replace(request.reply_to, user_id=f"user-{number}")))
    return made


class Reporting:
    """A worker that reports every half second what it was given, as long as the test waits for something."""

    def __init__(
        self, kafka: KafkaCorner, worker: str, *, slots: int = 1, partition: int | None = None
    ) -> None:
        self._kafka = kafka
        self._worker = worker
        self._slots = slots
        self._partition = partition
        self._sequence = 0

    def report(self) -> None:
        """Once."""
        self._sequence += 1
        jobs = [decode(m.value() or b"", JobDispatched) for m in self._kafka.consume_all("dispatched")]
        event = WorkerReported(
            worker_id=self._worker,
            incarnation="i1",
            sequence=self._sequence,
            reported_at=system_clock(),
            lanes=[3],
            slots=self._slots,
            held_limit=0,
            jobs=[
                HeldJob(dispatch_id=j.dispatch_id, request_id=j.request_id, state=HeldState.RUNNING)
                for j in jobs
            ],
        )
        self._kafka.produce("workers", encode(event), key=self._worker, partition=self._partition)

    def until(self, condition: Callable[[], object], deadline_seconds: float = 30.0) -> None:
        """Report until the condition holds."""
        due = 0.0

        def look() -> bool:
            nonlocal due
            if time.monotonic() >= due:
                self.report()
                due = time.monotonic() + 0.5
            return bool(condition())

        eventually(look, deadline_seconds)

    def for_seconds(self, seconds: float) -> None:
        """Report for so long: that nothing happens in it is what is being tested."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 10)


def test_f7_two_dispatchers_share_the_users_without_a_lock(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """Each owns half of the partitions of every topic, and each user's request is taken in exactly once."""
    pair = [start_stage("dispatcher", name=f"dispatcher-{n}") for n in (1, 2)]
    eventually(lambda: [p.metric("distillery_assigned_partitions") for p in pair] == [18.0, 18.0], 30)
    for request in requests_of(USERS):
        approve(chain_kafka, request)
    records = chain_kafka.consume_until("jobs", lambda seen: len(seen) >= USERS)
    taken = [decode(m.value() or b"", JobRecorded).request.request_id for m in records]
    assert sorted(taken) == sorted(f"A{n}" for n in range(USERS))


def test_a_request_is_dispatched_to_a_lane_that_its_worker_reads(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """Explicitly, whatever its key would say; and its deadline is the request's own at the latest."""
    start_stage("dispatcher")
    Reporting(chain_kafka, "w1", slots=2).report()
    (request, other) = requests_of(2)
    short = replace(request, expires_at=request.requested_at + timedelta(seconds=30))
    approve(chain_kafka, short)
    approve(chain_kafka, other)
    jobs = chain_kafka.consume_until("dispatched", lambda seen: len(seen) == 2)
    assert {message.partition() for message in jobs} == {3}
    events = {e.request_id: e for e in (decode(m.value() or b"", JobDispatched) for m in jobs)}
    assert events[short.request_id].deadline_at == short.expires_at
    assert dict(jobs[0].headers() or [])["correlation-id"] in {b"A0", b"A1"}


def test_a_backlog_survives_the_sigkill_of_its_dispatcher(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """It is read back from the ledger, in its order, and goes to the first worker that comes."""
    dispatcher = start_stage("dispatcher")
    for request in requests_of(3):
        approve(chain_kafka, request)
    chain_kafka.consume_until("jobs", lambda seen: len(seen) >= 3)
    dispatcher.kill()
    dispatcher.restart()
    Reporting(chain_kafka, "w1", slots=3).report()
    jobs = chain_kafka.consume_until("dispatched", lambda seen: len(seen) >= 3, 30)
    assert sorted(decode(m.value() or b"", JobDispatched).request_id for m in jobs) == ["A0", "A1", "A2"]


def test_a_job_stays_with_its_worker_while_its_dispatchers_come_and_go(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """The worker reports in a partition of one dispatcher, the user belongs to another: nobody calls the job lost."""
    patience = {"WORKER_REPORT_SECONDS": "1"}  # so a worker may be silent for three
    start_stage("dispatcher", patience, name="dispatcher-1")
    (request,) = requests_of(1)
    approve(chain_kafka, request)
    reporting = Reporting(chain_kafka, "w1", partition=0)
    reporting.until(lambda: chain_kafka.consume_all("dispatched"))
    start_stage("dispatcher", patience, name="dispatcher-2")
    late = start_stage("dispatcher", patience, name="dispatcher-3")
    late.pause()
    reporting.for_seconds(9)  # past the session's end, a rebalance, and every worker's allowed silence
    late.resume()
    reporting.for_seconds(4)
    jobs = [decode(m.value() or b"", JobDispatched) for m in chain_kafka.consume_all("dispatched")]
    assert [(job.request_id, job.attempt) for job in jobs] == [("A0", 1)]
