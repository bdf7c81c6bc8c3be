"""One suite for the port `RecordLog`: the fake of the unit tests and the adapter on the run's broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from services.audit.adapters.kafka_log import KafkaLog
from services.audit.adapters.kafka_sender import KafkaSender
from services.audit.observation import Raw
from services.audit.ports import BrokerAway, RecordLog, Sending, Span, UnknownTopic
from services.chassis.clock import from_millis
from services.chassis.settings import StageSettings, load
from services.contracts.partitioner import partition_for
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.kafka import KafkaCorner
from tests.harness.waiting import eventually
from tests.unit.audit.fake_log import FakeLog

PARTITIONS = 3
OpenLog = Callable[[], RecordLog]


@pytest.fixture
def written(kafka: KafkaCorner) -> list[Raw]:
    """Six records of two keys on ``requests``, a tombstone on ``jobs``, as the broker acknowledged them."""
    kafka.create_topics({"requests": PARTITIONS, "jobs": PARTITIONS})
    values = [("requests", b"a", b"%d" % number) for number in range(3)]
    values += [("requests", b"b", b"%d" % number) for number in range(3)]
    return [_write(kafka, *value) for value in (*values, ("jobs", b"a", None))]


@pytest.fixture(params=["fake", "kafka"])
def log(request: pytest.FixtureRequest, kafka: KafkaCorner, written: list[Raw]) -> RecordLog:
    """The same records in the fake and on the broker."""
    if request.param == "fake":
        knows_times = not isinstance(kafka.broker, EmbeddedBroker)
        return FakeLog(written, {"requests": PARTITIONS, "jobs": PARTITIONS}, knows_times=knows_times)
    return KafkaLog(settings_of(kafka))


def settings_of(kafka: KafkaCorner) -> StageSettings:
    """Settings that lead to the test's corner."""
    return load(StageSettings, kafka.stage_env())


def _write(kafka: KafkaCorner, topic: str, key: bytes, value: bytes | None) -> Raw:
    headers = {"correlation-id": b"r1", "note": b"x"}
    message = kafka.produce(topic, value, key=key, headers=headers)
    return Raw(
        topic=topic,
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=key,
        value=value,
        headers=tuple(headers.items()),
        appended_at=from_millis(message.timestamp()[1]),
    )


def places(raws: Sequence[Raw]) -> list[str]:
    """Where records lie, sorted."""
    return sorted(raw.place for raw in raws)


def on(raws: Sequence[Raw], topic: str) -> list[Raw]:
    """Those of one topic."""
    return [raw for raw in raws if raw.topic == topic]


def test_reading_gives_every_record_as_it_was_written(log: RecordLog, written: list[Raw]) -> None:
    """Key, value, headers in order, tombstones, and the append time to the millisecond."""
    spans = log.spans({"requests": None, "jobs": None})
    read = {raw.place: raw for raw in log.read(spans)}
    # The broker's append time is its own; a producer's report may carry the producer's.
    stripped = {place: _without_time(raw) for place, raw in read.items()}
    assert stripped == {raw.place: _without_time(raw) for raw in written}
    assert len({raw.appended_at.tzinfo for raw in read.values()}) == 1


def _without_time(raw: Raw) -> tuple[object, ...]:
    return raw.topic, raw.partition, raw.offset, raw.key, raw.value, raw.headers


def test_each_partition_is_read_in_order(log: RecordLog) -> None:
    """Across partitions there is none."""
    read = list(log.read(log.spans({"requests": None})))
    for partition in range(PARTITIONS):
        offsets = [raw.offset for raw in read if raw.partition == partition]
        assert all(earlier < later for earlier, later in pairwise(offsets))


def test_spans_cover_what_is_there_and_say_so_of_empty_partitions(log: RecordLog, written: list[Raw]) -> None:
    """An empty partition has a span too: following begins at its end."""
    spans = log.spans({"requests": None})
    assert [span.partition for span in spans] == list(range(PARTITIONS))
    assert sum(len(span) for span in spans) == len(on(written, "requests"))


def test_only_the_partitions_asked_for_are_read(log: RecordLog, written: list[Raw]) -> None:
    """A user's records are in one."""
    mine = partition_for(b"a", PARTITIONS)
    read = list(log.read(log.spans({"requests": [mine]})))
    assert places(read) == places([raw for raw in on(written, "requests") if raw.partition == mine])


def test_a_span_s_bounds_are_kept(log: RecordLog) -> None:
    """From start up to, without, stop; an empty one gives nothing."""
    mine = partition_for(b"a", PARTITIONS)
    (whole,) = log.spans({"requests": [mine]})
    middle = Span(topic="requests", partition=mine, start=whole.start + 1, stop=whole.start + 2)
    nothing = Span(topic="requests", partition=mine, start=whole.stop, stop=whole.stop)
    assert [raw.offset for raw in log.read([middle])] == [whole.start + 1]
    assert list(log.read([nothing])) == []


def test_times_bound_what_is_read(log: RecordLog, written: list[Raw], kafka: KafkaCorner) -> None:
    """Since now there is nothing, until now there is all; a broker that cannot tell gives all for both."""
    future = max(raw.appended_at for raw in written) + timedelta(hours=1)
    past = min(raw.appended_at for raw in written) - timedelta(hours=1)
    is_embedded = isinstance(kafka.broker, EmbeddedBroker)
    everything = len(on(written, "requests"))

    def count(since: datetime | None, until: datetime | None) -> int:
        return sum(len(span) for span in log.spans({"requests": None}, since, until))

    assert count(past, None) == count(None, future) == count(past, future) == everything
    assert count(future, None) == (everything if is_embedded else 0)
    assert count(None, past) == (everything if is_embedded else 0)


def test_an_unknown_topic_is_refused(log: RecordLog) -> None:
    """Before anything is read."""
    with pytest.raises(UnknownTopic):
        log.spans({"completed": None})


def test_following_begins_at_the_end_of_each_span(log: RecordLog, written: list[Raw]) -> None:
    """What was shown is not shown again, and nothing between is missed."""
    mine = partition_for(b"a", PARTITIONS)
    (whole,) = log.spans({"requests": [mine]})
    start = Span(topic="requests", partition=mine, start=whole.start, stop=whole.stop - 1)
    followed = log.follow([start])
    assert next(followed).offset == whole.stop - 1


def test_the_nearest_topic_of_this_installation_is_named(kafka: KafkaCorner, written: list[Raw]) -> None:
    """With its prefix, as the broker has it; another installation's are not named."""
    with pytest.raises(
        UnknownTopic, match=f"has no topic {kafka.prefix}request; the nearest is {kafka.prefix}requests"
    ):
        KafkaLog(settings_of(kafka)).partitions("request")


def test_following_gives_new_records_as_they_come(kafka: KafkaCorner, written: list[Raw]) -> None:
    """Also of a partition that was empty at first."""
    log = KafkaLog(settings_of(kafka))
    empty = next(span for span in log.spans({"jobs": None}) if not len(span))
    followed = log.follow([empty])
    kafka.produce("jobs", b"new", partition=empty.partition)
    assert next(followed).value == b"new"


def test_reading_leaves_no_trace_of_a_group(kafka: KafkaCorner, written: list[Raw]) -> None:
    """No offset is committed under the name that the library demands."""
    log = KafkaLog(settings_of(kafka))
    assert len(list(log.read(log.spans({"requests": None})))) == 6
    assert kafka.committed("audit", "requests") == {}


def test_a_broker_that_goes_away_in_the_middle_of_a_read_is_told(
    kafka: KafkaCorner, written: list[Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span promises records; when none comes for long, the read says that it is not whole."""
    monkeypatch.setattr("services.audit.adapters.kafka_log.STALL_SECONDS", 0.3)
    nowhere = load(StageSettings, kafka.stage_env() | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    with pytest.raises(BrokerAway, match="what was printed so far is not everything"):
        list(KafkaLog(nowhere).read([Span(topic="requests", partition=0, start=0, stop=9)]))


def test_what_is_sent_lies_where_its_key_or_its_partition_says(
    kafka: KafkaCorner, written: list[Raw]
) -> None:
    """Keys are hashed as the stages do; headers, tombstones and a missing key pass through unchanged."""
    headers = (("x", b"1"), ("x", b"2"), ("empty", None))
    sendings = [
        Sending(topic="jobs", partition=None, key=b"key-%d" % number, value=b"v", headers=headers)
        for number in range(9)
    ]
    sendings.append(Sending(topic="jobs", partition=2, key=None, value=None, headers=()))
    assert KafkaSender(settings_of(kafka)).send(sendings) == [None] * 10
    log = KafkaLog(settings_of(kafka))
    sent = [raw for raw in log.read(log.spans({"jobs": None})) if raw.key != b"a"]
    keyed = [raw for raw in sent if raw.key is not None]
    assert {raw.key: raw.partition for raw in keyed} == {
        sending.key: partition_for(sending.key, PARTITIONS) for sending in sendings if sending.key is not None
    }
    assert all(raw.headers == headers for raw in keyed)
    assert [(raw.partition, raw.value) for raw in sent if raw.key is None] == [(2, None)]


def test_a_record_that_cannot_be_sent_does_not_hold_up_the_others(
    kafka: KafkaCorner, written: list[Raw]
) -> None:
    """Each has its own answer."""
    sendings = [
        Sending(topic="jobs", partition=None, key=b"k", value=value, headers=())
        for value in (b"small", b"x" * 2_000_000, b"small too")
    ]
    answers = KafkaSender(settings_of(kafka)).send(sendings)
    assert [answer is None for answer in answers] == [True, False, True]
    assert "too large" in str(answers[1])
    log = KafkaLog(settings_of(kafka))
    assert eventually(lambda: [r for r in log.read(log.spans({"jobs": None})) if r.value == b"small too"])


def test_sending_to_a_broker_that_is_away_says_that_nothing_was_sent(
    kafka: KafkaCorner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first record."""
    monkeypatch.setattr("services.audit.adapters.kafka_sender.ANSWER_SECONDS", 0.3)
    nowhere = load(StageSettings, kafka.stage_env() | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    with pytest.raises(BrokerAway, match="so nothing was sent"):
        KafkaSender(nowhere).send([Sending(topic="jobs", partition=None, key=b"k", value=b"v", headers=())])
