"""The moderator as a process on a broker: what it writes, and what it still knows after a crash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import cache

from confluent_kafka import Message

from services.chassis.clock import system_clock
from services.contracts.codec import MAX_EVENT_BYTES, Codec
from services.contracts.errors import ErrorCode
from services.contracts.events import (
    Event,
    GenerationRequested,
    Outcome,
    RequestModerated,
    Verdict,
)
from services.contracts.keys import key_of
from services.contracts.topics import DEAD_LETTERS, DELIVERED, MODERATED, REQUESTS
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StartStage
from tests.harness.waiting import eventually
from tests.unit.moderator.requests import a_request, delivered

CODEC = Codec()
A_DAY_OF_TWO = {"DAILY_QUOTA": "2"}


@cache
def the_moment() -> datetime:
    """One instant for every request of a run, so that none of it falls on another day than the rest."""
    return system_clock()


def request(request_id: str, prompt: str = "a lighthouse", *, user: str = "42") -> GenerationRequested:
    """A request of this run."""
    return a_request(request_id, prompt, user=user, at=the_moment())


def send(kafka: KafkaCorner, topic: str, event: Event) -> None:
    """Write an event under its key, as its producer would."""
    kafka.produce(topic, CODEC.encode(event), key=key_of(event))


def decisions(kafka: KafkaCorner, count: int) -> list[RequestModerated]:
    """The first ``count`` decisions, once they are there."""
    return decoded(kafka.consume_until(MODERATED, lambda seen: len(seen) >= count, 30.0))


def decoded(messages: Iterable[Message]) -> list[RequestModerated]:
    """The decisions in these records."""
    return [CODEC.decode(message.value() or b"", RequestModerated) for message in messages]


def verdicts(kafka: KafkaCorner, count: int) -> dict[str, Verdict]:
    """The first ``count`` decisions by request id."""
    return {decision.request.request_id: decision.verdict for decision in decisions(kafka, count)}


def ask_within_the_quota(kafka: KafkaCorner) -> list[RequestModerated]:
    """Use up the quota of two and wait until both decisions are written and committed."""
    for number in ("1", "2"):
        send(kafka, REQUESTS, request(number))
    answered = decisions(kafka, 2)
    wait_until_committed(kafka, REQUESTS, 2)
    return answered


def wait_until_committed(kafka: KafkaCorner, topic: str, count: int) -> None:
    """Wait until the moderator will not read the first ``count`` records of ``topic`` again."""
    eventually(lambda: sum(kafka.committed("moderator", topic).values()) == count, 20.0)


def test_requests_are_decided_under_their_user_s_key(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """One is approved, one is refused by the shipped policy; both carry the whole request and their trace."""
    start_stage("moderator")
    good, bad = request("1"), request("2", "n4k3d m4n", user="43")
    for event in (good, bad):
        send(chain_kafka, REQUESTS, event)
    messages = chain_kafka.consume_until(MODERATED, lambda seen: len(seen) >= 2, 30.0)
    by_user = {message.key(): decision for message, decision in zip(messages, decoded(messages), strict=True)}
    assert by_user[b"42"].verdict is Verdict.APPROVED
    assert by_user[b"42"].request == good
    assert by_user[b"43"].verdict is Verdict.REJECTED
    assert [reason.code for reason in by_user[b"43"].reasons] == [ErrorCode.PROMPT_REJECTED.value]
    headers = [dict(message.headers() or ()) for message in messages]
    assert {header["correlation-id"] for header in headers} == {b"1", b"2"}


def test_a_crash_forgets_no_quota(chain_kafka: KafkaCorner, start_stage: StartStage) -> None:
    """Killed with SIGKILL and started again, it reads its own decisions back and refuses the third request."""
    stage = start_stage("moderator", A_DAY_OF_TWO)
    ask_within_the_quota(chain_kafka)
    stage.kill()
    stage.restart()
    send(chain_kafka, REQUESTS, request("3"))
    assert verdicts(chain_kafka, 3)["3"] is Verdict.REJECTED


def test_a_request_that_comes_again_after_a_crash_gets_the_decision_that_it_had(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """Even under a policy that would refuse it now: the same event, to the last field."""
    stage = start_stage("moderator", A_DAY_OF_TWO)
    first = next(d for d in ask_within_the_quota(chain_kafka) if d.request.request_id == "1")
    stage.kill()
    start_stage("moderator", {"DAILY_QUOTA": "1"}, name="stricter")
    send(chain_kafka, REQUESTS, first.request)
    assert decisions(chain_kafka, 3)[-1] == first


def test_a_request_that_brought_no_images_gives_its_quota_back(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """Both when the moderator sees the delivery live and when it reads it back after a crash."""
    stage = start_stage("moderator", A_DAY_OF_TWO)
    one, two = ask_within_the_quota(chain_kafka)
    fail(chain_kafka, one)
    wait_until_committed(chain_kafka, DELIVERED, 1)
    send(chain_kafka, REQUESTS, request("3"))
    assert verdicts(chain_kafka, 3)["3"] is Verdict.APPROVED
    wait_until_committed(chain_kafka, REQUESTS, 3)
    stage.kill()
    fail(chain_kafka, two)
    stage.restart()
    for number in ("4", "5"):
        send(chain_kafka, REQUESTS, request(number))
    found = verdicts(chain_kafka, 5)
    assert (found["4"], found["5"]) == (Verdict.APPROVED, Verdict.REJECTED)


def test_an_undecodable_request_stops_nothing(chain_kafka: KafkaCorner, start_stage: StartStage) -> None:
    """Its bytes become a dead letter, and the next request of the same user is decided."""
    start_stage("moderator")
    chain_kafka.produce(REQUESTS, b"no event at all", key="42")
    send(chain_kafka, REQUESTS, request("1"))
    assert verdicts(chain_kafka, 1) == {"1": Verdict.APPROVED}
    (dead,) = chain_kafka.consume_until(DEAD_LETTERS, lambda seen: len(seen) >= 1)
    assert dead.value() == b"no event at all"


def test_a_request_too_large_to_pass_on_is_refused_aloud(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """It fits its own topic by a few bytes, and the decision around it no more: the user is told all the same."""
    start_stage("moderator")
    small = request("1")
    room = MAX_EVENT_BYTES - len(CODEC.encode(small)) - 8
    send(chain_kafka, REQUESTS, replace(small, job=replace(small.job, graph="x" * room)))
    (decision,) = decisions(chain_kafka, 1)
    assert decision.verdict is Verdict.REJECTED
    assert [reason.code for reason in decision.reasons] == [ErrorCode.INTERNAL_ERROR.value]
    chain_kafka.consume_until(DEAD_LETTERS, lambda seen: len(seen) == 1)


def test_a_second_moderator_takes_over_with_the_quotas_known(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """Its partitions' decisions are read back before it decides anything."""
    stage = start_stage("moderator", A_DAY_OF_TWO)
    ask_within_the_quota(chain_kafka)
    start_stage("moderator", A_DAY_OF_TWO, name="second")
    assert stage.stop() == 0
    send(chain_kafka, REQUESTS, request("3"))
    assert verdicts(chain_kafka, 3)["3"] is Verdict.REJECTED


def fail(kafka: KafkaCorner, decision: RequestModerated) -> None:
    """Tell the moderator that a request's user was told of a failure."""
    send(kafka, DELIVERED, delivered(decision.request, Outcome.FAILED))
