"""The audit commands beside a running chain: how little they read, how replays chain, and what a stage buries."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from click.testing import CliRunner
from confluent_kafka import Message

from services.audit.cli import audit
from services.audit.observation import Raw
from services.chassis.clock import system_clock
from services.contracts.envelope import REPLAY_OF
from services.contracts.topics import DEAD_LETTERS, REQUESTS
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StartStage
from tests.unit.audit.journeys import SECRET, TOKEN, USER, Journey, happy_journey, request, snowflake


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.out.splitlines()


Run = Callable[..., Ran]


@pytest.fixture
def run(chain_kafka: KafkaCorner) -> Run:
    """Run an audit command on the test's corner; no output may hold the token."""

    def run_command(*args: str) -> Ran:
        result = CliRunner().invoke(audit, args, env=chain_kafka.stage_env(), catch_exceptions=False)
        assert TOKEN[:24] not in result.output
        assert SECRET not in result.output
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run_command


@pytest.fixture
def journey(chain_kafka: KafkaCorner) -> Journey:
    """A request of now that went well, on the broker, among those of other users."""
    now = system_clock()
    for number in range(5):
        write(chain_kafka, happy_journey(request(snowflake(now, 50 + number), user_id=str(number), at=now)))
    made = happy_journey(request(snowflake(now), at=now))
    write(chain_kafka, made)
    return made


def write(kafka: KafkaCorner, made: Journey) -> None:
    """Put a journey's records on the broker, in the order of their times, where a stage would."""
    for raw in sorted(made.raws, key=lambda raw: raw.appended_at):
        put(kafka, raw)


def put(kafka: KafkaCorner, raw: Raw) -> Message:
    """Write one record."""
    headers = {name: value for name, value in raw.headers if value is not None}
    return kafka.produce(raw.topic, raw.value, key=raw.key, headers=headers, partition=raw.partition)


def request_id_of(made: Journey) -> str:
    """The id that an operator would type."""
    return made.asked.request_id


def test_a_timeline_reads_little_of_what_is_there(run: Run, journey: Journey, kafka: KafkaCorner) -> None:
    """What it says on stderr: the first record tells the user, the ledger the lane."""
    ran = run("timeline", request_id_of(journey))
    assert ran.err.splitlines() == [
        "looking for the request on requests ...",
        "reading the records of its user ...",
        "reading lane 7 ...",
    ]


def test_a_request_of_another_time_is_not_found_but_in_full(
    run: Run, chain_kafka: KafkaCorner, kafka: KafkaCorner
) -> None:
    """Its id says last month, its records are of now: only --full looks there, where the broker can tell times."""
    then = system_clock() - timedelta(days=30)
    made = happy_journey(request(snowflake(then), at=then))
    write(chain_kafka, made)
    is_embedded = isinstance(kafka.broker, EmbeddedBroker)
    assert run("timeline", request_id_of(made)).code == (0 if is_embedded else 3)
    assert run("timeline", request_id_of(made), "--full").code == 0


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("", 6),
        ("--from-beginning", 6),
        ("--since 10m", 6),
        ("--user 3", 1),
        (f"--user {USER} --from-beginning", 1),
        ("--request {id}", 1),
        ("--partition 4 --request {id}", 1),
    ],
)
def test_tail_narrows_to_what_is_asked(run: Run, journey: Journey, options: str, count: int) -> None:
    """By position, partition, request and user."""
    ran = run("tail", "requests", *options.format(id=request_id_of(journey)).split(), "--json")
    assert ran.code == 0, ran.err
    shown = [json.loads(line) for line in ran.lines()]
    assert len(shown) == count
    assert all(one["event"]["reply_to"]["interaction_token"] == "***" for one in shown)


def test_tail_of_nothing_says_so(run: Run, chain_kafka: KafkaCorner) -> None:
    """Rather than an empty page, and with the exit code of nothing found."""
    ran = run("tail", "delivered")
    assert (ran.code, ran.out) == (3, "")
    assert "Nothing that was asked for is on delivered." in ran.err


def test_a_replay_is_the_same_record_again(run: Run, journey: Journey, kafka: KafkaCorner) -> None:
    """Bytes, key, partition and headers, and where it came from; a second replay names the first."""
    for chain in (["0"], ["0", "1"]):
        ran = run("replay", "requests", "--request", request_id_of(journey), "--execute")
        assert ran.code == 0, ran.err
        copies = [m for m in kafka.consume_all(REQUESTS) if m.key() == USER.encode()]
        assert [_replay_of(m) for m in copies] == [None, *(f"requests/4/{offset}" for offset in chain)]
    assert ran.lines()[-1] == "2 matched, 1 sent, 1 left out as copies of a later one."
    assert {(m.partition(), m.value()) for m in copies} == {(4, journey.raws[0].value)}
    kept = [tuple(pair for pair in m.headers() or () if pair[0] != REPLAY_OF) for m in copies]
    assert set(kept) == {journey.raws[0].headers}


def test_a_replay_of_which_a_part_is_refused_says_so(run: Run, journey: Journey, kafka: KafkaCorner) -> None:
    """What can be sent is; the exit code tells that it was not all."""
    bad = kafka.produce(REQUESTS, b"not an event", key=USER)
    ran = run("replay", REQUESTS, "--partition", "4", "--offset", "0", "--to", str(bad.offset()), "--execute")
    assert ran.code == 4
    assert ran.lines()[-1] == "2 matched, 1 sent, 1 refused."


def test_a_replay_to_a_topic_that_is_not_there_sends_nothing(run: Run, journey: Journey) -> None:
    """The nearest name is offered."""
    ran = run("replay", "requests", "--request", request_id_of(journey), "--to-topic", "request", "--execute")
    assert ran.code == 1
    assert "requests." in ran.err
    assert "the nearest is" in ran.err


def test_what_a_stage_buried_is_shown_and_goes_home(
    run: Run, chain_kafka: KafkaCorner, start_stage: StartStage, kafka: KafkaCorner
) -> None:
    """A real moderator buries bytes that it cannot read; they are refused, and sent home unchanged when forced."""
    start_stage("moderator")
    kafka.produce(REQUESTS, b"not an event", key=USER, headers={"note": b"by hand"})
    kafka.consume_until(DEAD_LETTERS, bool)
    (line,) = run("tail", DEAD_LETTERS).lines()
    assert (
        "moderator gave up on requests/4/0 after 1 attempt; UndecodableRecord: The record starts neither"
        in line
    )
    assert "headers note=by hand" in line

    refused = run("replay", REQUESTS, "--dead-letters", "--execute")
    assert refused.code == 3
    assert "it cannot be decoded (unknown_framing), so it would fail again" in refused.out
    assert len(kafka.consume_all(REQUESTS)) == 1

    forced = run(
        "replay", REQUESTS, "--dead-letters", "--error-class", "UndecodableRecord", "--force", "--execute"
    )
    assert forced.code == 0, forced.err
    home = kafka.consume_all(REQUESTS)[-1]
    letter = kafka.consume_all(DEAD_LETTERS)[0]
    assert (home.value(), home.partition()) == (b"not an event", 4)
    assert home.headers() == [
        ("note", b"by hand"),
        (REPLAY_OF, f"dead-letters/{letter.partition()}/{letter.offset()}".encode()),
    ]
    # The stage fails at it again: the second letter names the first as its origin.
    letters = kafka.consume_until(DEAD_LETTERS, lambda seen: len(seen) == 2)
    assert _replay_of(letters[-1]) == f"dead-letters/{letter.partition()}/{letter.offset()}"


def _replay_of(message: Message) -> str | None:
    value = dict(message.headers() or ()).get(REPLAY_OF)
    return value.decode() if isinstance(value, bytes) else None
