"""``distillery audit`` on a broker: a journey told, a topic shown, records sent again, and no token anywhere."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import OffsetSpec

from services.audit.adapters.kafka_log import KafkaLog, Place
from services.audit.cli import audit
from services.audit.observation import Raw
from services.audit.ports import BrokerAway
from services.chassis.clock import system_clock
from services.chassis.settings import StageSettings, load
from services.contracts.envelope import REPLAY_OF
from services.contracts.partitioner import partition_for
from services.contracts.topics import DEAD_LETTERS, DISPATCHED, JOBS, TOPIC_NAMES, topic
from services.launcher.brokers.choose import OpenBroker
from tests.harness.kafka import KafkaCorner
from tests.unit.audit.journeys import SECRET, TOKEN, Journey, happy_journey, request, snowflake

_SERIALS = itertools.count(1)
_OTHER_USER = "373737373737373737"


def run(kafka: KafkaCorner, *args: str) -> tuple[int, str]:
    """Exit code and everything that a command printed."""
    result = CliRunner().invoke(audit, args, env=kafka.stage_env())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def lines(kafka: KafkaCorner, *args: str) -> list[str]:
    """The lines of a command that succeeds, without what it says of its progress."""
    result = CliRunner().invoke(audit, args, env=kafka.stage_env())
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def run_json(kafka: KafkaCorner, *args: str) -> Any:
    """What a command that succeeds printed as JSON."""
    result = CliRunner().invoke(audit, [*args, "--json"], env=kafka.stage_env())
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def journey_now(user_id: str = "424242424242424242") -> Journey:
    """A request of this moment that goes well."""
    now = system_clock()
    return happy_journey(request(snowflake(now, next(_SERIALS)), user_id, now))


def write(kafka: KafkaCorner, raws: list[Raw]) -> list[Message]:
    """Put records on the broker, in order; only lanes and ledgers have a partition that their key does not decide."""
    return [
        kafka.produce(
            raw.topic,
            raw.value,
            key=raw.key,
            headers={name: value or b"" for name, value in raw.headers},
            partition=raw.partition if raw.topic in (DISPATCHED, JOBS) else None,
        )
        for raw in raws
    ]


@pytest.fixture
def told(chain_kafka: KafkaCorner) -> Journey:
    """A request that is on the broker, beside another user's."""
    journey = journey_now()
    write(chain_kafka, journey_now(_OTHER_USER).raws)
    write(chain_kafka, journey.raws)
    return journey


def test_a_timeline_tells_a_dead_letter_and_a_second_delivery(chain_kafka: KafkaCorner) -> None:
    """What is not as it should be is said, each in a sentence."""
    journey = journey_now()
    journey.buried(journey.raws[0], 12.4)
    journey.delivered(12.5)
    write(chain_kafka, journey.raws)
    anomalies = run_json(chain_kafka, "timeline", journey.asked.request_id)["anomalies"]
    assert any("gave up on requests/" in anomaly for anomaly in anomalies)
    assert any("2 different delivered events" in anomaly for anomaly in anomalies)


def test_a_request_that_was_not_delivered_is_told_so(chain_kafka: KafkaCorner) -> None:
    """The last record and its age are named."""
    journey = Journey(asked=journey_now().asked)
    journey.requested()
    journey.moderated()
    write(chain_kafka, journey.raws)
    story = run_json(chain_kafka, "timeline", journey.asked.request_id)
    assert story["outcome"] is None
    assert story["summary"].startswith("not delivered: the last record is on moderated")
    assert any("There is no delivered record yet" in anomaly for anomaly in story["anomalies"])


def test_a_broker_that_cannot_look_up_times_is_read_from_the_start(
    embedded_broker: OpenBroker, topic_prefix: str
) -> None:
    """The embedded broker answers no time: the same journey is told all the same."""
    with KafkaCorner(embedded_broker, topic_prefix) as kafka:
        kafka.create_registry_topics()
        journey = journey_now()
        write(kafka, journey.raws)
        story = run_json(kafka, "timeline", journey.asked.request_id)
        assert len(story["steps"]) == len(journey.raws)


def test_a_tail_shows_what_is_decodable_and_what_is_not(chain_kafka: KafkaCorner, told: Journey) -> None:
    """Oldest first: events as events, bytes that are none with the reason and a preview in hexadecimal."""
    chain_kafka.produce("requests", b"\xde\xad\xbe\xef", key="1")
    *events, odd = lines(chain_kafka, "tail", "requests", "--from-beginning")
    assert len(events) == 2
    assert all("a lighthouse at dusk" in line for line in events)
    assert "(unknown_framing)" in odd
    assert "deadbeef" in odd


def test_a_replay_of_the_ledger_keeps_the_user_s_partition(chain_kafka: KafkaCorner, told: Journey) -> None:
    """A job's key is its request, but its partition is its user's: the key alone would lead it astray."""
    owned = partition_for(told.asked.reply_to.user_id.encode(), topic(JOBS).partitions)
    code, text = run(chain_kafka, "replay", JOBS, "--request", told.asked.request_id, "--execute", "--force")
    assert code == 0, text
    records = _records_of(chain_kafka, JOBS, told.asked.request_id)
    copies = [m for m in records if _header(m, REPLAY_OF) is not None]
    assert copies
    assert {m.partition() for m in records} == {owned}


def test_a_range_of_offsets_is_replayed(chain_kafka: KafkaCorner, told: Journey) -> None:
    """From an offset up to and with another, of one partition."""
    first = next(raw for raw in told.raws if raw.topic == "progress")
    written = _records_of(chain_kafka, "progress", told.asked.request_id)
    partition, offset = str(written[0].partition()), written[0].offset() or 0
    args = ("--partition", partition, "--offset", str(offset), "--to", str(offset + 1), "--execute")
    code, text = run(chain_kafka, "replay", "progress", *args)
    assert code == 0, text
    assert "2 matched, 2 sent." in text
    after = _records_of(chain_kafka, "progress", told.asked.request_id)
    assert [m.value() for m in after[3:]] == [m.value() for m in written[:2]]
    assert after[3].value() == first.value


def test_a_dead_letter_goes_back_to_where_it_came_from(chain_kafka: KafkaCorner, told: Journey) -> None:
    """To its topic, without the headers of its burial; only letters of the error class asked for."""
    letters = [
        told.buried(told.raws[0], 13.0, "StorageError"),
        told.buried(told.raws[1], 13.1, "ValueError"),
    ]
    buried = write(chain_kafka, letters)[0]
    args = ("--dead-letters", "--error-class", "StorageError", "--execute")
    code, text = run(chain_kafka, "replay", DEAD_LETTERS, *args)
    assert code == 0, text
    original, copy = _records_of(chain_kafka, "requests", told.asked.request_id)
    place = f"{DEAD_LETTERS}/{buried.partition()}/{buried.offset()}".encode()
    assert copy.value() == original.value()
    assert copy.partition() == original.partition()
    assert copy.headers() == [*(original.headers() or []), (REPLAY_OF, place)]
    assert len(_records_of(chain_kafka, "moderated", told.asked.request_id)) == 1


def test_no_interaction_token_is_ever_printed(chain_kafka: KafkaCorner, told: Journey) -> None:
    """Whatever is asked, of every topic, as lines and as JSON, and when a token stands in an error's text."""
    quoting = f"404 for /webhooks/616161616161616161/{TOKEN}/messages"
    damaged = told.raws[0].value or b""
    letters = [
        told.buried(raw, 13.0, "DiscordError", quoting) for raw in list(told.raws) if raw.topic != JOBS
    ]
    write(chain_kafka, letters)
    chain_kafka.produce("requests", damaged[:-3], key=told.asked.reply_to.user_id)
    looks = [("tail", name, "--from-beginning") for name in TOPIC_NAMES] + [
        ("timeline", told.asked.request_id),
        ("replay", "requests", "--request", told.asked.request_id),
        ("replay", DEAD_LETTERS, "--dead-letters"),
    ]
    printed = "".join(run(chain_kafka, *look, *form)[1] for look in looks for form in ((), ("--json",)))
    assert told.asked.request_id in printed
    assert TOKEN not in printed
    assert SECRET not in printed


class MovingLeader(KafkaLog):
    """A log whose broker says, the first ``moves`` times that offsets are asked for, that the leader is another."""

    moves = 1

    def _ask_offsets(self, places: Sequence[Place], spec: OffsetSpec) -> dict[Place, int]:
        self.moves -= 1
        if self.moves >= 0:
            raise KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION))
        return super()._ask_offsets(places, spec)


def test_a_leader_that_moves_is_asked_for_again(embedded_broker: OpenBroker, topic_prefix: str) -> None:
    """Just after a topic was made its partitions have no leader yet: that is no reason to give up."""
    with KafkaCorner(embedded_broker, topic_prefix) as kafka:
        kafka.create_topics({"requests": 4})
        log = MovingLeader(load(StageSettings, kafka.stage_env()))
        assert [span.partition for span in log.spans({"requests": None})] == [0, 1, 2, 3]


def test_a_leader_that_is_never_found_is_told(
    embedded_broker: OpenBroker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again ends after the time that an answer may take, with what the broker said."""
    monkeypatch.setattr("services.audit.adapters.kafka_log.ANSWER_SECONDS", 0.3)
    with KafkaCorner(embedded_broker, topic_prefix) as kafka:
        kafka.create_topics({"requests": 4})
        log = MovingLeader(load(StageSettings, kafka.stage_env()))
        log.moves = sys.maxsize
        with pytest.raises(BrokerAway, match="Not leader for partition"):
            log.spans({"requests": None})


def _records_of(kafka: KafkaCorner, topic_name: str, request_id: str) -> list[Message]:
    """The topic's records of one request, in the order of one partition."""
    found = [m for m in kafka.consume_all(topic_name) if _header(m, "correlation-id") == request_id.encode()]
    return sorted(found, key=lambda m: m.offset() or 0)


def _header(message: Message, name: str) -> bytes | None:
    headers: Any = dict(message.headers() or [])
    value: bytes | None = headers.get(name)
    return value
