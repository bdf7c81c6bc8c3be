"""Finding every record of one request while reading as little as possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.observation import Raw
from services.audit.search import EARLY, Search, UnknownRequest, Window, lanes_of, window_of
from services.contracts.codec import Codec
from services.contracts.envelope import CORRELATION_ID
from services.contracts.events import JobState
from services.contracts.topics import TOPIC_NAMES
from tests.unit.audit.fake_log import FakeLog
from tests.unit.audit.journeys import (
    LANE,
    PARTITIONS,
    REQUEST,
    START,
    USER,
    Journey,
    happy_journey,
    request,
    snowflake,
)

COUNTS = dict.fromkeys(TOPIC_NAMES, PARTITIONS) | {"dispatched": 48}
WITHIN = timedelta(days=1)


def search_for(
    request_id: str, log: FakeLog, user_id: str | None = None, *, full: bool = False
) -> tuple[list[str], list[str]]:
    """The places that a search finds, and what it said meanwhile."""
    said: list[str] = []
    window = window_of(request_id, WITHIN, full=full)
    search = Search(log=log, codec=Codec(), request_id=request_id, window=window, say=said.append)
    return sorted(seen.raw.place for seen in search.run(user_id)), said


def log_of(
    *journeys: Iterable[Raw], partitions: dict[str, int] | None = None, knows_times: bool = True
) -> FakeLog:
    """A log with the records of several requests, each partition's offsets counted anew."""
    offsets: dict[tuple[str, int], int] = {}
    placed = []
    for raw in sorted((raw for raws in journeys for raw in raws), key=lambda raw: raw.appended_at):
        place = (raw.topic, raw.partition)
        placed.append(replace(raw, offset=offsets.get(place, 0)))
        offsets[place] = offsets.get(place, 0) + 1
    return FakeLog(placed, COUNTS | (partitions or {}), knows_times=knows_times)


def test_every_record_of_a_request_is_found_and_none_of_another() -> None:
    """Two requests of one user share all partitions."""
    mine, other = happy_journey(), happy_journey(request(snowflake(START, 2)))
    found, _ = search_for(REQUEST, log_of(mine.raws, other.raws))
    assert len(found) == len(mine.raws)
    assert {place.split("/")[0] for place in found} == {raw.topic for raw in mine.raws}


def test_only_the_user_s_partition_and_the_job_s_lane_are_read() -> None:
    """Once the first record has told the user; dead letters are few and read whole."""
    log = log_of(happy_journey().raws, happy_journey(request(snowflake(START, 2), user_id="1")).raws)
    search_for(REQUEST, log)
    read = {(span.topic, span.partition) for span in log.reads if span.topic != "requests"}
    assert {partition for topic, partition in read if topic != "dispatched"} == {4}
    assert {partition for topic, partition in read if topic == "dispatched"} == {LANE}


def test_a_known_user_spares_the_search_for_the_first_record() -> None:
    """``--user`` is for who has it at hand."""
    log = log_of(happy_journey().raws)
    found, said = search_for(REQUEST, log, USER)
    assert len(found) == len(happy_journey().raws)
    assert said == ["reading the records of its user", "reading lane 7"]


def test_only_the_time_around_the_request_is_read() -> None:
    """Its id tells when it was made; older and much younger records cost nothing."""
    earlier = happy_journey(request(snowflake(START - timedelta(days=3)), at=START - timedelta(days=3)))
    later = happy_journey(request(snowflake(START + timedelta(days=3)), at=START + timedelta(days=3)))
    log = log_of(earlier.raws, happy_journey().raws, later.raws)
    search_for(REQUEST, log)
    assert all(span.start >= 1 for span in log.reads)
    assert sum(len(span) for span in log.reads if span.topic == "moderated") == 1


def test_a_broker_that_cannot_look_up_times_is_read_from_the_start() -> None:
    """As the embedded one: more is read, nothing is missed."""
    earlier = happy_journey(request(snowflake(START - timedelta(days=3)), at=START - timedelta(days=3)))
    log = log_of(earlier.raws, happy_journey().raws, knows_times=False)
    assert len(search_for(REQUEST, log)[0]) == len(happy_journey().raws)


def test_a_request_whose_first_record_is_gone_is_found_by_the_next() -> None:
    """Retention, or a bot that failed: the moderator's record tells the user too."""
    journey = happy_journey()
    found, said = search_for(REQUEST, log_of(journey.raws[1:]))
    assert len(found) == len(journey.raws) - 1
    assert said[1] == "looking for the request on moderated, jobs, dead-letters"


def test_a_request_that_is_only_a_dead_letter_is_found() -> None:
    """Undecodable bytes with our headers: the user is not known, so every partition is read."""
    journey = Journey()
    letter = journey.buried(replace(journey.requested(), value=b"\xff"), 1.0)
    found, said = search_for(REQUEST, log_of([letter]))
    assert found == [letter.place]
    assert "reading the records of every user" in said


def test_records_that_are_not_where_the_hash_says_are_found_all_the_same() -> None:
    """Partitions were added since: the user's old records lie elsewhere."""
    moved = [
        replace(raw, partition=raw.partition + 1) for raw in happy_journey().raws if raw.topic != "dispatched"
    ]
    found, said = search_for(REQUEST, log_of(moved))
    assert len(found) == len(moved)
    assert "reading the records of every user" in said


def test_a_tombstone_and_a_record_without_headers_are_found() -> None:
    """The ledger's key is the request; a foreign producer may write no headers."""
    journey = Journey()
    bare = replace(journey.requested(), headers=())
    tombstone = journey.add(None, 5.0, stage="dispatcher")
    assert search_for(REQUEST, log_of([bare, tombstone]))[0] == [tombstone.place, bare.place]


def test_a_record_whose_header_names_another_request_is_not_decoded() -> None:
    """A scan passes millions of others."""
    journey = Journey()
    other = replace(journey.requested(), value=b"\xff", headers=((CORRELATION_ID, b"1"),))
    with pytest.raises(UnknownRequest):
        search_for(REQUEST, log_of([other]))


def test_an_unknown_request_is_told_with_where_it_was_looked_for() -> None:
    """The sentence names the time in the id and the way to look everywhere."""
    with pytest.raises(UnknownRequest) as told:
        search_for(REQUEST, log_of([]))
    assert str(told.value) == (
        f"No record of request {REQUEST} was found near 2026-03-01T11:58:00.000Z, where its id says that it was made; "
        "check the id, or read all that is kept with --full."
    )


def test_an_unknown_request_after_a_full_search_is_told_without_false_advice() -> None:
    """Everything was read already."""
    with pytest.raises(UnknownRequest, match=r"is kept on any topic; is the id complete\?$"):
        search_for(REQUEST, log_of([]), full=True)


def test_an_unknown_request_of_a_known_user_names_the_user() -> None:
    """The mistake may be in either id."""
    with pytest.raises(UnknownRequest, match=f"No record of request {REQUEST} of user 1 was found"):
        search_for(REQUEST, log_of([]), "1")


def test_a_full_search_finds_a_record_that_is_not_where_its_id_says() -> None:
    """A replay of weeks later, or a wrong clock."""
    late = [replace(raw, appended_at=raw.appended_at + timedelta(days=9)) for raw in happy_journey().raws]
    assert len(search_for(REQUEST, log_of(late), full=True)[0]) == len(late)


@pytest.mark.parametrize("request_id", ["r-1", "123"])
def test_an_id_that_tells_no_time_is_looked_for_everywhere(request_id: str) -> None:
    """Ids of tests and of other front ends."""
    assert window_of(request_id, WITHIN, full=False) == Window()


def test_the_window_begins_a_little_before_the_request() -> None:
    """The brokers' clock may be behind Discord's."""
    window = window_of(REQUEST, WITHIN, full=False)
    assert (window.since, window.until) == (START - EARLY, START + WITHIN)


def test_lanes_come_from_the_ledger_of_every_attempt() -> None:
    """Each attempt may be on another lane."""
    journey = Journey()
    journey.dispatched(1.0, attempt=1, lane=3)
    journey.dispatched(2.0, attempt=2, lane=9)
    assert lanes_of(journey.seen()) == {3, 9}


def test_a_request_that_reached_no_worker_needs_no_lane() -> None:
    """Rejected, or still queued."""
    journey = Journey()
    journey.moderated()
    journey.recorded(JobState.QUEUED, 0.1)
    assert lanes_of(journey.seen()) == set()


def test_an_attempt_that_the_ledger_forgot_asks_for_every_lane() -> None:
    """Compaction keeps the last state alone, and a tombstone nothing."""
    journey = Journey()
    journey.recorded(JobState.DISPATCHED, 2.0, attempt=2, lane=9)
    assert lanes_of(journey.seen()) is None
    journey.raws.clear()
    journey.completed()
    assert lanes_of(journey.seen()) is None
