"""What a dead letter tells of the record that it was."""

from __future__ import annotations

from datetime import UTC, datetime

from services.chassis.dead_letters import dead_letter_headers
from services.chassis.records import Record

NOW = datetime(2026, 11, 24, 12, 0, 0, 500_000, tzinfo=UTC)


def a_record(headers: dict[str, bytes] | None = None) -> Record:
    """A record that could not be handled."""
    return Record(
        topic="requests",
        partition=3,
        offset=17,
        key=b"42",
        value=b"\x00",
        headers=headers or {},
        appended_at=NOW,
    )


def test_a_dead_letter_says_where_it_lay_why_it_failed_and_how_often_it_was_tried() -> None:
    """All that an operator needs to judge it and to replay it."""
    assert dead_letter_headers(a_record(), ValueError("no"), 3, stage="probe", now=NOW) == {
        "dlq-stage": b"probe",
        "dlq-topic": b"requests",
        "dlq-partition": b"3",
        "dlq-offset": b"17",
        "dlq-error-class": b"ValueError",
        "dlq-error-message": b"no",
        "dlq-attempts": b"3",
        "dlq-failed-at": b"2026-11-24T12:00:00.500000+00:00",
    }


def test_a_dead_letter_keeps_the_headers_that_the_record_had() -> None:
    """Its trace goes on, and a replay finds them again; bytes that are no text stay as they are."""
    kept = {"correlation-id": b"1", "foreign": b"\xff\xfe"}
    headers = dead_letter_headers(a_record(kept), KeyError("x"), 1, stage="probe", now=NOW)
    assert kept.items() <= headers.items()


def test_a_dead_letter_that_dies_again_tells_of_its_last_death() -> None:
    """The old ``dlq-`` headers would send an operator to the wrong stage."""
    old = {"dlq-stage": b"moderator", "dlq-attempts": b"9"}
    headers = dead_letter_headers(a_record(old), KeyError("x"), 1, stage="probe", now=NOW)
    assert (headers["dlq-stage"], headers["dlq-attempts"]) == (b"probe", b"1")


def test_a_long_error_is_cut() -> None:
    """Some libraries quote the whole input; the headers must leave room for the record."""
    headers = dead_letter_headers(a_record(), ValueError("ß" * 9000), 1, stage="probe", now=NOW)
    assert headers["dlq-error-message"].decode() == "ß" * 500
