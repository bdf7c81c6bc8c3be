"""Which records of a topic are shown, in which order and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.describe import as_json, as_line
from services.audit.observation import Raw, observe
from services.audit.ports import AuditError, Span
from services.audit.tail import Choice, all_of, in_time_order, last_of, picker, spans_of
from services.contracts.codec import Codec, encode
from services.contracts.envelope import REPLAY_OF
from services.contracts.partitioner import partition_for
from tests.unit.audit.fake_log import FakeLog
from tests.unit.audit.journeys import (
    PARTITIONS,
    REQUEST,
    START,
    USER,
    Journey,
    happy_journey,
    report,
    request,
    snowflake,
)


def row(partition: int, *seconds: float) -> list[Raw]:
    """Records of one partition, appended at these seconds."""
    value = encode(request())
    return [
        Raw(
            topic="requests",
            partition=partition,
            offset=offset,
            key=USER.encode(),
            value=value,
            headers=(),
            appended_at=START + timedelta(seconds=second),
        )
        for offset, second in enumerate(seconds)
    ]


def log_of(*rows: Sequence[Raw]) -> FakeLog:
    """A log of as many partitions of ``requests``."""
    return FakeLog([raw for one in rows for raw in one], {"requests": max(1, len(rows)), "workers": 1})


def last_seconds(log: FakeLog, count: int, choice: Choice | None = None) -> list[float]:
    """When the last ``count`` wanted records were appended."""
    choice = choice or Choice(topic="requests")
    spans = spans_of(log, choice, None)
    found = last_of(log, spans, count, picker(choice, Codec()), lambda _: None)
    return [(seen.raw.appended_at - START).total_seconds() for seen in found]


def test_partitions_are_merged_by_time() -> None:
    """Each partition is in order already; together they are too."""
    log = log_of(row(0, 1, 4, 5), row(1, 2, 3, 6), row(2))
    spans = spans_of(log, Choice(topic="requests"), None)
    seen = all_of(log, spans, picker(Choice(topic="requests"), Codec()), lambda _: None)
    assert [(one.raw.appended_at - START).total_seconds() for one in seen] == [1, 2, 3, 4, 5, 6]


def test_merging_holds_back_only_what_another_partition_may_precede() -> None:
    """A long topic is printed while it is read."""
    spans = [Span(topic="requests", partition=p, start=0, stop=2) for p in (0, 1)]
    first, second = row(0, 1, 4), row(1, 2, 3)
    taken: list[Raw] = []

    def source() -> object:
        for raw in (first[0], second[0], second[1], first[1]):
            taken.append(raw)
            yield raw

    merged = in_time_order(source(), spans)  # type: ignore[arg-type]  # a generator of records
    assert next(merged) is first[0]
    assert taken == [first[0], second[0]]
    assert list(merged) == [second[0], second[1], first[1]]


def test_a_partition_whose_last_record_compaction_took_ends_all_the_same() -> None:
    """Its span promises an offset that never comes."""
    spans = [
        Span(topic="requests", partition=0, start=0, stop=9),
        Span(topic="requests", partition=1, start=0, stop=1),
    ]
    assert [raw.partition for raw in in_time_order([*row(0, 2), *row(1, 1)], spans)] == [1, 0]


def test_the_last_records_are_the_last_of_all_partitions_together() -> None:
    """Not the last of each."""
    assert last_seconds(log_of(row(0, 1, 2, 3), row(1, 7, 8, 9)), 4) == [3, 7, 8, 9]


def test_looking_back_reads_little_of_a_long_topic() -> None:
    """Ten records of ten thousand cost about ten a partition."""
    log = log_of(row(0, *range(1000)), row(1, *range(1000)))
    last_seconds(log, 10)
    assert sum(len(span) for span in log.reads) <= 200


def test_looking_back_goes_on_until_enough_are_wanted() -> None:
    """A filter may match none of the last thousand."""
    rows = row(0, *range(1000))
    rows[3] = replace(rows[3], key=b"1", value=encode(request(user_id="1")))
    choice = Choice(topic="requests", user_id="1")
    log = log_of(rows)
    assert last_seconds(log, 2, choice) == [3]


def test_looking_back_is_not_fooled_by_a_busy_partition() -> None:
    """Partition 1's record of second 50 lies behind many unwanted ones, and is later than what partition 0 gave."""
    unwanted = encode(request(user_id="1"))
    busy = [replace(raw, value=unwanted, key=b"1") for raw in row(1, 49, *range(51, 90))]
    busy.insert(1, replace(row(1, 50)[0], offset=0))
    busy = [replace(raw, offset=offset) for offset, raw in enumerate(busy)]
    log = log_of(row(0, 1, 2, 3), busy)
    spans = spans_of(log, Choice(topic="requests"), None)
    found = last_of(log, spans, 3, picker(Choice(topic="requests", user_id=USER), Codec()), lambda _: None)
    assert [(seen.raw.appended_at - START).total_seconds() for seen in found] == [2, 3, 50]


def test_since_leaves_out_what_is_older() -> None:
    """By the broker's append time."""
    spans = spans_of(log_of(row(0, 1, 2, 3)), Choice(topic="requests"), START + timedelta(seconds=2))
    assert [(span.start, span.stop) for span in spans] == [(1, 3)]


def test_a_user_s_records_are_looked_for_in_one_partition() -> None:
    """The one that the user's hash says."""
    log = FakeLog([], {"requests": PARTITIONS})
    spans = spans_of(log, Choice(topic="requests", user_id=USER), None)
    assert [span.partition for span in spans] == [partition_for(USER.encode(), PARTITIONS)]


def test_a_partition_that_is_not_there_is_refused() -> None:
    """With those that are."""
    with pytest.raises(AuditError, match="requests has the partitions 0 to 0, so there is no partition 3"):
        spans_of(log_of(row(0)), Choice(topic="requests", partition=3), None)


def test_workers_have_no_users() -> None:
    """A mistaken filter is told of, not answered with nothing."""
    with pytest.raises(AuditError, match="nothing of users; leave --user out"):
        spans_of(log_of(row(0)), Choice(topic="workers", user_id="1"), None)


def test_a_request_s_records_are_picked() -> None:
    """By its id, from among others of the same user."""
    journey = Journey()
    journey.requested()
    other = Journey(asked=request(snowflake(START, 2)))
    other.requested()
    pick = picker(Choice(topic="requests", request_id=REQUEST), Codec())
    assert [pick(raw) is not None for raw in (*journey.raws, *other.raws)] == [True, False]


def test_an_undecodable_record_belongs_to_the_user_of_its_key() -> None:
    """Its bytes tell nothing."""
    raw = replace(row(0, 1)[0], value=b"\xff")
    assert picker(Choice(topic="requests", user_id=USER), Codec())(raw) is not None
    assert picker(Choice(topic="requests", user_id="1"), Codec())(raw) is None


def line_of(raw: Raw) -> str:
    """What tail prints of a record."""
    return as_line(observe(raw, Codec()))


def test_a_line_tells_when_where_what_and_of_whom() -> None:
    """One record, one line."""
    journey = Journey()
    line = line_of(journey.requested())
    assert line == (
        f"2026-03-01T12:00:00.020Z  requests/4/0  requested  request {REQUEST}  user {USER}  "
        "| /serve a lighthouse at dusk --ar 16:9; 4 images by sd15 1, seed 7; plan free"
    )


def test_an_undecodable_record_shows_reason_bytes_and_headers() -> None:
    """Enough to find who wrote it."""
    raw = replace(row(0, 1)[0], value=b"junk!", headers=(("producer", b"someone/9"),))
    line = line_of(raw)
    assert "undecodable" in line
    assert "(unknown_framing)" in line
    assert "6a756e6b 21 |junk!|" in line
    assert "headers producer=someone/9" in line


def test_a_dead_letter_shows_where_from_and_why() -> None:
    """And its original's event, if that can be read."""
    journey = Journey()
    line = line_of(journey.buried(journey.requested(), 1.0, "KeyError", "'plan'"))
    assert "moderator gave up on requests/4/0 after 3 attempts; KeyError: 'plan'" in line
    assert "/serve a lighthouse" in line


def test_a_dead_letter_with_odd_headers_is_still_shown() -> None:
    """Anybody may write to a topic."""
    raw = replace(row(0, 1)[0], topic="dead-letters", headers=(("dlq-offset", b"x"), ("dlq-partition", None)))
    assert "an unknown stage gave up on ?/?/?; no error class: no message" in line_of(raw)


def test_a_tombstone_says_what_it_closes() -> None:
    """No bytes is not undecodable."""
    journey = Journey()
    assert "ledger closed  request" in line_of(journey.add(None, 1.0, stage="dispatcher"))
    worker = replace(row(0, 1)[0], topic="workers", key=b"gpu-9", value=None)
    assert "worker left  worker gpu-9" in line_of(worker)


def test_a_worker_s_report_shows_what_it_holds() -> None:
    """The lanes and the running request."""
    raw = replace(row(0, 1)[0], topic="workers", key=b"gpu-1", value=encode(report()))
    assert f"worker gpu-1  | report 3 of i1; lanes 7; running {REQUEST}" in line_of(raw)


def test_an_event_on_the_wrong_topic_is_undecodable_there() -> None:
    """As it is for the stage that reads that topic."""
    raw = replace(row(0, 1)[0], topic="completed")
    assert "(wrong_event_type)" in line_of(raw)


def test_a_replay_names_what_it_repeats() -> None:
    """The chain can be followed back."""
    raw = replace(row(0, 1)[0], headers=((REPLAY_OF, b"requests/0/0"),))
    assert "replay of requests/0/0" in line_of(raw)


def test_every_record_has_a_json_form() -> None:
    """One object with the same fields for all, ready for jq."""
    journey = happy_journey()
    journey.add(None, 13.0, stage="dispatcher")
    journey.buried(journey.raws[0], 14.0)
    journey.put(replace(journey.raws[0], value=b"junk"), 15.0)
    shown = [json.loads(json.dumps(as_json(seen))) for seen in journey.seen()]
    assert len({tuple(one) for one in shown}) == 1
    assert [one["title"] for one in shown[-3:]] == ["ledger closed", "dead letter", "undecodable"]
    assert shown[-2]["original"] == "requests/4/0"
    assert shown[-1]["preview"] == "6a756e6b |junk|"
