"""The stage kit as a process on a broker: what it promises of every record, whatever ends the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import KafkaError, Message, Producer

from services.chassis.clock import system_clock
from services.chassis.faust_app import WATCHDOG_EXIT
from services.contracts.codec import decode, encode
from services.contracts.events import JobProgressed, Phase, RequestModerated
from services.contracts.topics import DEAD_LETTERS, MODERATED, PROGRESS, REQUESTS
from services.launcher.brokers.broker import client_config
from services.launcher.brokers.embedded import EmbeddedBroker
from services.launcher.brokers.ports import reserve_port
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess
from tests.harness.waiting import eventually
from tests.unit.moderator.requests import a_request

ROOT = Path(__file__).parents[2]
PARTITIONS = {REQUESTS: 4, PROGRESS: 4, MODERATED: 4, DEAD_LETTERS: 4}


class MakeProbe(Protocol):
    """The fixture ``make_probe``."""

    def __call__(self, env: Mapping[str, str], *, name: str = "probe", in_flight: int = 1) -> Probe:
        """A probe that is not started yet; ``env`` says where its broker is."""
        ...


class Probe:
    """The probe stage's process and what it wrote down."""

    def __init__(self, process: StageProcess, journal: Path) -> None:
        self.process = process
        self._journal = journal

    def ready(self) -> Probe:
        """Start it and wait until it consumes."""
        self.process.start()
        self.process.wait_ready()
        return self

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        os.kill(self.process.pid, signal.SIGTERM)

    def steps(self, what: str) -> list[str]:
        """The places of the records of which it wrote ``what``, in order."""
        text = self._journal.read_text(encoding="utf-8") if self._journal.exists() else ""
        words = [line.split() for line in text.splitlines()]
        return [place for said, place in words if said == what]

    def wait_for(self, what: str, *messages: Message, seconds: float = 30.0) -> None:
        """Wait until it wrote ``what`` of all these records."""
        wanted = {place_of(message) for message in messages}
        eventually(lambda: wanted <= set(self.steps(what)), seconds, failing=self.process.log_tail)


@pytest.fixture
def make_probe(tmp_path: Path) -> Iterator[MakeProbe]:
    """Make probes; all are ended after the test."""
    made: list[Probe] = []

    def make(env: Mapping[str, str], *, name: str = "probe", in_flight: int = 1) -> Probe:
        journal = tmp_path / f"{name}.journal"
        own = {"PROBE_JOURNAL": str(journal), "PROBE_IN_FLIGHT": str(in_flight), "PYTHONPATH": str(ROOT)}
        module = "tests.harness.probe_stage"
        probe = Probe(
            StageProcess("probe", {**env, **own}, tmp_path / "logs", name=name, module=module), journal
        )
        made.append(probe)
        return probe

    yield make
    for probe in made:
        probe.process.close()


@pytest.fixture
def corner(kafka: KafkaCorner) -> KafkaCorner:
    """The test's corner with the probe's topics."""
    kafka.create_topics(PARTITIONS)
    return kafka


def ask(kafka: KafkaCorner, script: str, *, number: int = 1, partition: int = 0) -> Message:
    """Write a request that says what the probe shall do; each number is a user's of its own."""
    event = a_request(str(number), script, user=str(number), at=system_clock())
    return kafka.produce(REQUESTS, encode(event), key=str(number), partition=partition)


def place_of(message: Message) -> str:
    """Where a record lies, as the probe writes it: without the corner's prefix."""
    topic = str(message.topic()).split("-", 1)[1]
    return f"{topic}/{message.partition()}/{message.offset()}"


def committed(kafka: KafkaCorner, partition: int = 0) -> int:
    """How far the probe's group is on a partition of ``requests``."""
    return kafka.committed("probe", REQUESTS).get(partition, 0)


def dead_letters(kafka: KafkaCorner, count: int) -> list[Message]:
    """The first ``count`` dead letters, once they are there."""
    return kafka.consume_until(DEAD_LETTERS, lambda seen: len(seen) >= count, 30.0)


def headers_of(message: Message) -> dict[str, str]:
    """The headers as text."""
    found = dict(message.headers() or [])
    return {name: value.decode() for name, value in found.items() if isinstance(value, bytes)}


def test_a_record_in_hand_at_a_sigkill_comes_again(
    corner: KafkaCorner, make_probe: MakeProbe, tmp_path: Path
) -> None:
    """It was not acknowledged, so the next process handles it from the start."""
    gate = tmp_path / "gate"
    probe = make_probe(corner.stage_env()).ready()
    record = ask(corner, f"wait {gate}")
    probe.wait_for("began", record)
    probe.process.kill()
    gate.touch()
    probe.ready()
    probe.wait_for("done", record)
    assert probe.steps("began") == [place_of(record)] * 2
    eventually(lambda: committed(corner) == 1, 15)


def test_sigterm_lets_the_record_in_hand_end_and_commits_it(
    corner: KafkaCorner, make_probe: MakeProbe, tmp_path: Path
) -> None:
    """The process says that it stops, waits for the record however long, and then ends with code 0 at once."""
    gate = tmp_path / "gate"
    probe = make_probe(corner.stage_env()).ready()
    record = ask(corner, f"wait {gate}")
    probe.wait_for("began", record)
    probe.terminate()
    eventually(lambda: "stopping" in probe.process.get("/readyz")[1])
    assert probe.process.exit_code() is None
    gate.touch()
    eventually(lambda: probe.process.exit_code() is not None, 8, failing=probe.process.log_tail)
    assert probe.process.exit_code() == 0
    assert probe.steps("done") == [place_of(record)]
    assert committed(corner) == 1


def test_an_idle_stage_ends_within_seconds_of_a_sigterm(corner: KafkaCorner, make_probe: MakeProbe) -> None:
    """A rolling update does not wait for what is not there."""
    probe = make_probe(corner.stage_env()).ready()
    probe.terminate()
    eventually(lambda: probe.process.exit_code() is not None, 8, failing=probe.process.log_tail)
    assert probe.process.exit_code() == 0


def test_a_record_that_fails_three_times_becomes_a_dead_letter_and_the_next_is_handled(
    corner: KafkaCorner, make_probe: MakeProbe
) -> None:
    """The dead letter has the record's bytes, and headers that say where it lay, why, and after how many tries."""
    probe = make_probe(corner.stage_env()).ready()
    failing, after = ask(corner, "fail"), ask(corner, "do")
    probe.wait_for("done", after)
    (dead,) = dead_letters(corner, 1)
    assert probe.steps("began") == [place_of(failing)] * 3 + [place_of(after)]
    assert (dead.key(), dead.value()) == (failing.key(), failing.value())
    told = headers_of(dead)
    assert (told["dlq-stage"], told["dlq-topic"]) == ("probe", REQUESTS)
    assert (told["dlq-partition"], told["dlq-offset"]) == ("0", str(failing.offset()))
    assert (told["dlq-error-class"], told["dlq-attempts"]) == ("ValueError", "3")
    assert told["dlq-error-message"] == "the record asked for it"
    eventually(lambda: committed(corner) == 2, 15)


def test_a_poison_record_becomes_a_dead_letter_untried(corner: KafkaCorner, make_probe: MakeProbe) -> None:
    """Bytes that are no event never reach the handler, and hold up nothing behind them."""
    probe = make_probe(corner.stage_env()).ready()
    poison = corner.produce(REQUESTS, b"\x00 no event", key="1", partition=0)
    after = ask(corner, "do")
    probe.wait_for("done", after)
    (dead,) = dead_letters(corner, 1)
    assert dead.value() == poison.value()
    assert headers_of(dead)["dlq-attempts"] == "1"
    assert place_of(poison) not in probe.steps("began")


def test_a_poison_record_of_the_largest_size_is_buried_too(
    chain_kafka: KafkaCorner, make_probe: MakeProbe
) -> None:
    """It is larger than Kafka clients send by default, and must not stop its partition for ever."""
    probe = make_probe(chain_kafka.stage_env()).ready()
    value = b"x" * 1_048_000
    produce_large(chain_kafka, REQUESTS, value)
    (dead,) = dead_letters(chain_kafka, 1)
    assert dead.value() == value
    probe.wait_for("done", ask(chain_kafka, "do"))


def produce_large(kafka: KafkaCorner, topic: str, value: bytes) -> None:
    """Write a record that is larger than the corner's own producer takes, to partition 0."""
    config = client_config(kafka.bootstrap) | {"message.max.bytes": 2 * len(value)}
    failures: list[KafkaError] = []
    producer = Producer(config)
    producer.produce(
        kafka.name(topic),
        value,
        partition=0,
        on_delivery=lambda error, _: failures.append(error) if error else None,
    )
    assert producer.flush(15) == 0
    assert failures == []


def test_a_stuck_head_holds_the_commit_so_that_a_sigkill_loses_nothing_behind_it(
    corner: KafkaCorner, make_probe: MakeProbe, tmp_path: Path
) -> None:
    """Records overtake the head, and yet no commit passes it (Faust's own gap handling would: its issue 606)."""
    gate = tmp_path / "gate"
    probe = make_probe(corner.stage_env(), in_flight=8).ready()
    head = ask(corner, f"wait {gate}", number=1)
    overtaking = [ask(corner, "do", number=number) for number in range(2, 12)]
    also_stuck = ask(corner, f"wait {gate}", number=12)
    probe.wait_for("done", *overtaking)
    probe.wait_for("began", head, also_stuck)
    elsewhere = ask(corner, "do", number=13, partition=1)
    eventually(lambda: committed(corner, partition=1) == (elsewhere.offset() or 0) + 1, 15)
    assert committed(corner) == 0
    probe.process.kill()
    gate.touch()
    probe.ready()
    probe.wait_for("done", head, also_stuck)
    eventually(lambda: committed(corner) == 12, 15)


def test_replicas_own_the_same_partitions_of_both_topics(corner: KafkaCorner, make_probe: MakeProbe) -> None:
    """What one process keeps in memory of a user is true only if nobody else handles that user's records."""
    one, two = (make_probe(corner.stage_env(), name=name).ready() for name in ("one", "two"))

    def assigned(probe: Probe) -> float:
        return probe.process.metric("distillery_assigned_partitions")

    eventually(lambda: assigned(one) == assigned(two) == 4, 40)
    requests = [ask(corner, "do", partition=partition) for partition in range(4)]
    reports = [report(corner, partition) for partition in range(4)]
    wanted = {place_of(message) for message in (*requests, *reports)}
    eventually(lambda: wanted <= {*one.steps("done"), *two.steps("done")}, 20)
    for probe in (one, two):
        owned = [place.split("/")[:2] for place in probe.steps("done")]
        of_requests = {partition for topic, partition in owned if topic == REQUESTS}
        of_progress = {partition for topic, partition in owned if topic == PROGRESS}
        assert of_requests == of_progress
        assert len(of_requests) == 2


def report(kafka: KafkaCorner, partition: int) -> Message:
    """Write a record to the second topic."""
    reply_to = a_request().reply_to
    event = JobProgressed(
        request_id="1",
        phase=Phase.RUNNING,
        progressed_at=system_clock(),
        reply_to=reply_to,
        command_string="a boat",
    )
    return kafka.produce(PROGRESS, encode(event), key=reply_to.user_id, partition=partition)


def test_a_broker_killed_under_a_send_loses_nothing(
    corner: KafkaCorner, make_probe: MakeProbe, tmp_path: Path
) -> None:
    """Sends that begin while it is away wait until it is back, and so does the offset."""
    if isinstance(corner.broker, EmbeddedBroker):
        pytest.skip("the embedded broker keeps nothing over a kill")
    gate = tmp_path / "gate"
    probe = make_probe(corner.stage_env()).ready()
    records = [ask(corner, f"wait-send {gate}", number=1)]
    records += [ask(corner, "send", number=number) for number in range(2, 12)]
    probe.wait_for("began", records[0])
    before = complaints(probe)
    corner.broker.kill()
    gate.touch()
    eventually(lambda: complaints(probe) > before, 20)
    assert probe.steps("done") == []
    corner.broker.restart()
    records.append(ask(corner, "send", number=12))
    probe.wait_for("done", *records, seconds=60)
    wanted = {str(number) for number in range(1, 13)}
    corner.consume_until(MODERATED, lambda seen: wanted == passed_on(seen), 30)


def complaints(probe: Probe) -> int:
    """How many lines the stage's Kafka client has logged, which is quiet while its connections hold."""
    return sum("aiokafka" in str(line.get("logger", "")) for line in probe.process.logs())


def passed_on(messages: list[Message]) -> set[str]:
    """The requests that reached ``moderated``."""
    events = [decode(message.value() or b"") for message in messages]
    return {event.request.request_id for event in events if isinstance(event, RequestModerated)}


def test_a_stage_started_before_its_topics_names_them_and_goes_on_once_they_exist(
    kafka: KafkaCorner, make_probe: MakeProbe
) -> None:
    """``/readyz`` says which topics are missing and what to do; nobody has to restart it afterwards."""
    if isinstance(kafka.broker, EmbeddedBroker):
        pytest.skip("the embedded broker makes every topic that is asked for")
    probe = make_probe(kafka.stage_env())
    probe.process.start()
    names = f"{kafka.name(PROGRESS)}, {kafka.name(REQUESTS)}"
    wait_until_it_says(probe, f"Kafka has no topic {names}; run: distillery topics apply.")
    kafka.create_topics(PARTITIONS)
    probe.process.wait_ready()
    probe.wait_for("done", ask(kafka, "do"))


def test_a_stage_without_a_broker_says_so_and_stays(make_probe: MakeProbe) -> None:
    """A cluster that starts later than its stages costs no crash loop; SIGTERM ends the wait with code 0."""
    reserved = reserve_port()  # nothing listens on it
    address = f"127.0.0.1:{reserved.number}"
    probe = make_probe({"KAFKA_BOOTSTRAP_SERVERS": address})
    probe.process.start()
    wait_until_it_says(probe, f"No Kafka broker answers at {address}")
    eventually(lambda: len([e for e in probe.process.logs() if e.get("event") == "kafka_awaited"]) >= 2)
    assert probe.process.get("/healthz")[0] == 200
    probe.terminate()
    eventually(lambda: probe.process.exit_code() == 0, 8, failing=probe.process.log_tail)
    reserved.release()


def wait_until_it_says(probe: Probe, words: str) -> None:
    """Wait until ``/readyz`` answers 503 with these words."""

    def says() -> bool:
        status, body = probe.process.get("/readyz")
        return status == 503 and words in body

    eventually(says, 20, failing=lambda: f"{probe.process.get('/readyz')}\n{probe.process.log_tail()}")


def test_a_process_that_was_frozen_past_its_session_handles_nothing_that_its_sibling_has_handled(
    corner: KafkaCorner, make_probe: MakeProbe, tmp_path: Path
) -> None:
    """It holds records in its buffers; thawed, it ends itself instead of handling them, to be started again."""
    gate = tmp_path / "gate"
    first = make_probe(corner.stage_env(), name="first").ready()
    blocked = ask(corner, f"wait {gate}")
    first.wait_for("began", blocked)
    buffered = [ask(corner, "do", number=number) for number in range(2, 22)]
    first.process.pause()
    second = make_probe(corner.stage_env(), name="second").ready()
    gate.touch()
    second.wait_for("done", blocked, *buffered, seconds=60)
    first.process.resume()
    eventually(lambda: first.process.exit_code() is not None, 30, failing=first.process.log_tail)
    assert first.process.exit_code() == WATCHDOG_EXIT
    assert first.steps("began") == [place_of(blocked)]
