"""Envelopes: ids that follow from the cause, traces that survive nonsense, headers there and back."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import __version__
from services.contracts.envelope import Envelope, correlation_of, next_traceparent
from services.contracts.events import (
    CancellationRequested,
    DeliveryMethod,
    Event,
    Outcome,
    RequestDelivered,
    WorkerReported,
)
from services.contracts.schema_files import EVENT_TYPES, event_name
from tests.contract.examples import load_examples

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
ASKED = CancellationRequested(request_id="41", user_id="7", requested_at=NOON)
TOLD = RequestDelivered(
    request_id="41",
    user_id="7",
    outcome=Outcome.CANCELLED,
    method=DeliveryMethod.EDIT,
    delivered_at=NOON,
    requested_at=NOON,
)
REPORT = WorkerReported(
    worker_id="gpu-1", incarnation="a", sequence=1, reported_at=NOON, lanes=[], slots=1, held_limit=1
)
VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CAUSE = Envelope.for_event(ASKED, None, stage="ingest_bot")


def test_an_event_without_a_cause_starts_its_chain() -> None:
    """It has no causation id and a trace of its own; the request is what it is about."""
    assert CAUSE.causation_id is None
    assert CAUSE.correlation_id == "41"
    assert CAUSE.event_type == "cancellation_requested"
    assert CAUSE.producer == f"ingest_bot/{__version__}"


def test_a_caused_event_names_its_cause_and_stays_in_its_trace() -> None:
    """Same trace id, another span."""
    told = Envelope.for_event(TOLD, CAUSE, stage="notifier")
    assert told.causation_id == CAUSE.event_id
    assert told.traceparent[:36] == CAUSE.traceparent[:36]
    assert told.traceparent != CAUSE.traceparent


def test_handling_an_event_again_gives_the_same_envelope() -> None:
    """So a reader can tell a repetition from news, even when the second try came later."""
    first = Envelope.for_event(TOLD, CAUSE, stage="notifier")
    later = replace(TOLD, delivered_at=NOON + timedelta(minutes=5))
    assert Envelope.for_event(later, CAUSE, stage="notifier") == first


@pytest.mark.parametrize(
    ("event", "cause", "discriminator"),
    [
        (TOLD, replace(CAUSE, event_id="another"), None),
        (ASKED, CAUSE, None),
        (TOLD, CAUSE, "second"),
        (TOLD, None, None),
    ],
    ids=["another-cause", "another-type", "another-discriminator", "no-cause"],
)
def test_what_differs_has_another_id(event: Event, cause: Envelope | None, discriminator: str | None) -> None:
    """Cause, type and discriminator all count."""
    first = Envelope.for_event(TOLD, CAUSE, stage="notifier")
    other = Envelope.for_event(event, cause, stage="notifier", discriminator=discriminator)
    assert other.event_id != first.event_id


def test_each_report_of_a_worker_has_its_own_id() -> None:
    """Reports have no cause; their sequence tells them apart."""
    ids = {
        Envelope.for_event(replace(REPORT, sequence=n), None, stage="gpu_worker").event_id for n in range(9)
    }
    assert len(ids) == 9


@pytest.mark.parametrize("event_type", EVENT_TYPES, ids=event_name)
def test_every_event_has_a_correlation_id_and_an_envelope(event_type: type[Event]) -> None:
    """No event falls through the cases."""
    for example in load_examples(event_type):
        event = example.event()
        envelope = Envelope.for_event(event, CAUSE, stage="moderator")
        assert envelope.correlation_id == correlation_of(event)
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", envelope.event_id)


def test_headers_come_back_as_the_same_envelope() -> None:
    """As a dict, as pairs, and as confluent-kafka gives them."""
    envelope = replace(Envelope.for_event(TOLD, CAUSE, stage="notifier"), replay_of="delivered/3/14")
    assert Envelope.from_headers(envelope.to_headers(), fallback_id="x") == envelope
    assert Envelope.from_headers(envelope.to_header_pairs(), fallback_id="x") == envelope


def test_header_names_are_in_kebab_case_and_absent_values_have_none() -> None:
    """The names are part of the contract."""
    assert list(CAUSE.to_headers()) == ["event-id", "correlation-id", "traceparent", "event-type", "producer"]
    both = replace(CAUSE, causation_id="a", replay_of="b").to_headers()
    assert both.keys() - CAUSE.to_headers().keys() == {"causation-id", "replay-of"}


def test_a_record_without_headers_has_the_same_envelope_each_time_it_is_read() -> None:
    """A foreign producer's record is told apart by where it lies."""
    first = Envelope.from_headers(None, fallback_id="requests/0/1")
    assert first == Envelope.from_headers([], fallback_id="requests/0/1")
    assert first.event_id != Envelope.from_headers({}, fallback_id="requests/0/2").event_id


def test_the_last_of_a_repeated_header_counts() -> None:
    """As for Faust, which sees them as a dict."""
    pairs: list[tuple[str, bytes | str | None]] = [("event-id", b"a"), ("event-id", b"b"), ("producer", None)]
    assert Envelope.from_headers(pairs, fallback_id="x").event_id == "b"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["event-id", "traceparent", "correlation-id", "replay-of", "other"]),
            st.none() | st.binary(max_size=80) | st.text(max_size=80),
        )
    )
)
def test_any_headers_give_an_envelope_with_a_valid_trace(pairs: list[tuple[str, bytes | str | None]]) -> None:
    """Headers come from anywhere: none is an error."""
    envelope = Envelope.from_headers(pairs, fallback_id="requests/0/1")
    assert envelope.event_id
    assert re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", envelope.traceparent)


def test_a_valid_traceparent_is_kept_as_it_came() -> None:
    """The reader's own spans hang below it."""
    assert Envelope.from_headers({"traceparent": VALID.encode()}, fallback_id="x").traceparent == VALID


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        VALID.upper(),
        VALID[:-1],
        VALID + "-extra",
        "ff" + VALID[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "\udcff" * 55,
        "٠٠-" + "٠" * 32 + "-" + "٠" * 16 + "-٠١",
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(malformed: str) -> None:
    """W3C Trace Context 3.2: restart the trace, never an error."""
    fresh = next_traceparent(None, trace_seed="41", span_seed="a")
    assert next_traceparent(malformed, trace_seed="41", span_seed="a") == fresh


def test_a_trace_of_a_later_version_is_continued_in_ours() -> None:
    """A higher version may have more fields; its first four are ours."""
    spun = next_traceparent("01" + VALID[2:] + "-extra", trace_seed="41", span_seed="a")
    assert spun[:36] == VALID[:36]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", spun)


def test_a_trace_that_is_not_sampled_stays_so() -> None:
    """The flags are the caller's decision."""
    assert next_traceparent(VALID[:-2] + "00", trace_seed="41", span_seed="a").endswith("-00")
