"""What a replay would send, to where, and what it would not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.observation import Observation, Raw, observe
from services.audit.ports import AuditError
from services.audit.render import counts_line, plan_json, plan_lines
from services.audit.replay import dead_letters_of, headers_for_replay, plan
from services.audit.selection import Selection, SelectionError
from services.contracts.codec import Codec
from services.contracts.envelope import CORRELATION_ID, EVENT_ID, REPLAY_OF
from services.contracts.events import JobState
from services.contracts.topics import DEAD_LETTERS
from tests.unit.audit.fake_log import FakeLog
from tests.unit.audit.journeys import LANE, PARTITIONS, REQUEST, START, Journey, happy_journey

NOTHING = Selection(
    topic="requests",
    request_id=None,
    partition=None,
    offset=None,
    to_offset=None,
    dead_letters=False,
    error_class=None,
    since=None,
)


def seen(*raws: Raw) -> list[Observation]:
    """The records, looked at."""
    return [observe(raw, Codec()) for raw in raws]


def test_bytes_key_and_headers_are_kept_and_the_origin_is_stamped() -> None:
    """The copy is the same event, so that its effects stay idempotent."""
    raw = Journey().requested()
    (replay,) = plan(seen(raw)).replays
    assert (replay.sending.key, replay.sending.value) == (raw.key, raw.value)
    assert replay.sending.headers == (*raw.headers, (REPLAY_OF, b"requests/4/0"))


def test_headers_keep_their_order_and_repetitions() -> None:
    """A foreign header may be there twice, or without a value."""
    headers = (("x", b"1"), ("y", None), ("x", b"2"))
    raw = replace(Journey().requested(), headers=headers)
    assert headers_for_replay(*seen(raw)) == (*headers, (REPLAY_OF, b"requests/4/0"))


def test_a_replay_of_a_replay_names_the_replay() -> None:
    """The records form a chain: each names the one before."""
    raw = Journey().requested()
    again = replace(raw, offset=9, headers=(*raw.headers, (REPLAY_OF, b"requests/4/0")))
    assert headers_for_replay(*seen(again)) == (*raw.headers, (REPLAY_OF, b"requests/4/9"))


@pytest.mark.parametrize(
    ("topic", "partition"),
    [("requests", None), ("completed", None), ("dispatched", LANE), ("delivered", None)],
)
def test_the_key_decides_the_partition_where_it_did_before(topic: str, partition: int | None) -> None:
    """A lane was chosen by the dispatcher and is kept; a user's partition follows from the key."""
    raw = next(raw for raw in happy_journey().raws if raw.topic == topic)
    (replay,) = plan(seen(raw)).replays
    assert replay.sending.partition == partition


def test_a_record_without_a_key_keeps_its_partition() -> None:
    """No hash could find it again."""
    (replay,) = plan(seen(replace(Journey().requested(), key=None))).replays
    assert replay.sending.partition == 4


def test_a_dead_letter_goes_home_as_it_was() -> None:
    """To the topic it came from, without what burying added, naming the letter as its origin."""
    journey = Journey()
    original = journey.requested()
    letter = journey.buried(original, 1.0)
    (replay,) = plan(seen(letter)).replays
    assert (replay.sending.topic, replay.sending.value) == ("requests", original.value)
    assert replay.sending.headers == (*original.headers, (REPLAY_OF, letter.place.encode()))


def test_a_dead_letter_of_a_lane_goes_back_to_its_lane() -> None:
    """The letter itself lies in another partition."""
    journey = Journey()
    letter = journey.buried(journey.dispatched(), 1.0)
    (replay,) = plan(seen(letter)).replays
    assert letter.partition != LANE
    assert replay.sending.partition == LANE


def test_headers_of_that_name_on_another_topic_are_left_alone() -> None:
    """Only a dead letter's dlq-* headers are ours to drop."""
    raw = replace(Journey().requested(), headers=(("dlq-note", b"mine"),))
    assert headers_for_replay(*seen(raw))[0] == ("dlq-note", b"mine")


def refusal_of(raw: Raw, *, to_topic: str | None = None, force: bool = False) -> str | None:
    """Why a record is refused, or none where it is sent."""
    made = plan(seen(raw), to_topic=to_topic, force=force)
    return made.refusals[0].why if made.refusals else None


def test_undecodable_bytes_are_refused_unless_forced() -> None:
    """They would fail again."""
    raw = replace(Journey().requested(), value=b"\xff")
    assert refusal_of(raw) == "it cannot be decoded (too_short), so it would fail again; --force sends it"
    assert refusal_of(raw, force=True) is None


def test_old_state_is_refused_unless_forced() -> None:
    """The ledger and the workers' reports say what is so now."""
    ledger = Journey().recorded(JobState.QUEUED, 1.0)
    assert refusal_of(ledger) == (
        "jobs holds what is so now, and this would bring an old state back; --force sends it"
    )
    assert refusal_of(ledger, force=True) is None


def test_an_event_is_refused_on_a_topic_that_carries_another() -> None:
    """Its readers would bury it at once."""
    raw = Journey().requested()
    assert refusal_of(raw, to_topic="completed") == (
        "completed carries JobCompleted and this is a GenerationRequested; --force sends it"
    )
    assert refusal_of(raw, to_topic="a-copy") is None


@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_sent_to_dead_letters_or_to_an_unknown_lane(force: bool) -> None:
    """No force helps: the one is the stages' to write, the other cannot be done."""
    raw = Journey().requested()
    assert refusal_of(raw, to_topic=DEAD_LETTERS, force=force) is not None
    assert refusal_of(raw, to_topic="dispatched", force=force) == (
        "records of dispatched have a partition of their own, and this one does not say which"
    )


def test_a_dead_letter_that_does_not_say_where_from_needs_a_topic() -> None:
    """Written by something else than a stage."""
    raw = replace(Journey().requested(), topic=DEAD_LETTERS, headers=())
    assert "name one with --to-topic" in str(refusal_of(raw))
    assert refusal_of(raw, to_topic="requests") is None


def test_of_several_records_of_one_event_the_last_is_sent() -> None:
    """A request that was replayed before is there twice; it is sent once, and the chain goes on from its end."""
    journey = Journey()
    first = journey.requested()
    journey.put(replace(first, headers=(*first.headers, (REPLAY_OF, b"requests/4/0"))), 5.0)
    made = plan(journey.seen())
    assert [replay.source.raw.place for replay in made.replays] == ["requests/4/1"]
    assert (made.copies, made.matched) == (1, 2)


def test_the_last_record_of_an_event_keeps_its_own_place_in_the_order() -> None:
    """What was appended later is sent later, whatever its first copy was."""
    journey = Journey()
    first, other = journey.requested(), replace(journey.requested(), headers=())
    again = replace(first, offset=2)
    assert [replay.source.raw.offset for replay in plan(seen(first, other, again)).replays] == [1, 2]


def test_one_event_in_two_topics_is_no_copy() -> None:
    """Two stages may bury the same event, each from its own topic."""
    journey = Journey()
    raw = journey.requested()
    letters = [journey.buried(raw, 1.0), journey.buried(replace(raw, topic="moderated"), 2.0)]
    assert plan(seen(*letters), to_topic="a-copy").copies == 0


def test_records_without_ids_are_never_taken_for_copies() -> None:
    """Nothing says that they are the same."""
    bare = replace(Journey().requested(), headers=())
    assert len(plan(seen(bare, replace(bare, offset=1))).replays) == 2


def test_the_limit_bounds_what_is_sent_and_counts_the_rest() -> None:
    """A wide selection does not flood the chain by mistake."""
    raws = [replace(Journey().requested(), offset=n, headers=()) for n in range(5)]
    made = plan(seen(*raws), limit=2)
    assert [replay.source.raw.offset for replay in made.replays] == [0, 1]
    assert counts_line(made) == "5 matched, 2 to send, 3 beyond --limit."


def test_dead_letters_are_chosen_by_topic_and_error() -> None:
    """``dead-letters`` itself means those of every topic."""
    journey = Journey()
    raw = journey.requested()
    odd = journey.buried(raw, 1.0, "KeyError")
    even = journey.buried(replace(raw, topic="moderated"), 2.0, "ValueError")
    letters = seen(raw, odd, even)
    chosen = {
        (topic, error): [letter.raw.place for letter in dead_letters_of(letters, topic, error)]
        for topic, error in [
            ("requests", None),
            (DEAD_LETTERS, None),
            (DEAD_LETTERS, "ValueError"),
            ("jobs", None),
        ]
    }
    assert chosen == {
        ("requests", None): [odd.place],
        (DEAD_LETTERS, None): [odd.place, even.place],
        (DEAD_LETTERS, "ValueError"): [even.place],
        ("jobs", None): [],
    }


def test_the_plan_is_printed_record_by_record() -> None:
    """What would be sent where, what not and why."""
    journey = Journey()
    good, bad = journey.requested(), replace(journey.requested(), value=b"\xff")
    made = plan(seen(good, replace(bad, headers=())))
    would_send, refused = plan_lines(made)
    assert would_send == f"would send  requests/4/0 -> requests (by its key)  requested of request {REQUEST}"
    assert refused.startswith("refused  requests/4/1  undecodable: it cannot be decoded (too_short)")
    assert counts_line(made) == "2 matched, 1 to send, 1 refused."


def test_what_became_of_each_record_is_printed() -> None:
    """Sent, or why not."""
    journey = Journey()
    journey.requested()
    journey.moderated()
    made = plan(journey.seen())
    results = [None, "Broker: Not enough in-sync replicas"]
    assert [line.split("  ")[0] for line in plan_lines(made, results)] == [
        "sent",
        "FAILED (Broker: Not enough in-sync replicas)",
    ]
    assert counts_line(made, results) == "2 matched, 1 sent, 1 failed."
    shown = plan_json(made, results)
    assert [one["error"] for one in shown["replays"]] == results
    assert shown["executed"] is True


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (NOTHING, "Give one of --request, --partition with --offset, and --dead-letters"),
        (replace(NOTHING, request_id="1", dead_letters=True), "Give one of"),
        (replace(NOTHING, partition=1), "--partition and --offset go together"),
        (replace(NOTHING, offset=1), "--partition and --offset go together"),
        (replace(NOTHING, partition=1, offset=5, to_offset=4), "--to is the last offset"),
        (replace(NOTHING, request_id="1", to_offset=4), "--to is the last offset"),
        (replace(NOTHING, request_id="1", error_class="E"), "--error-class goes with --dead-letters"),
    ],
)
def test_a_selection_that_is_none_or_two_is_refused(wanted: Selection, says: str) -> None:
    """Nothing is guessed where records are sent."""
    with pytest.raises(SelectionError, match=says):
        wanted.check()


def log() -> FakeLog:
    """Two requests, and a dead letter of the first."""
    journey = happy_journey()
    journey.put(replace(journey.raws[0], headers=((CORRELATION_ID, b"1"), (EVENT_ID, b"x")), key=b"1"), 60.0)
    journey.buried(journey.raws[1], 61.0)
    return FakeLog(journey.raws, {"requests": PARTITIONS, DEAD_LETTERS: PARTITIONS})


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (replace(NOTHING, request_id=REQUEST), ["requests/4/0"]),
        (replace(NOTHING, partition=4, offset=1), ["requests/4/1"]),
        (replace(NOTHING, partition=4, offset=0, to_offset=7), ["requests/4/0", "requests/4/1"]),
        (replace(NOTHING, topic="moderated", dead_letters=True), ["dead-letters/4/0"]),
        (replace(NOTHING, dead_letters=True), []),
        (replace(NOTHING, topic=DEAD_LETTERS, request_id=REQUEST), ["dead-letters/4/0"]),
        (replace(NOTHING, topic=DEAD_LETTERS, dead_letters=True, since=START + timedelta(minutes=5)), []),
    ],
)
def test_a_selection_finds_its_records(wanted: Selection, places: list[str]) -> None:
    """By request, by place, or among the dead letters."""
    wanted.check()
    assert [one.raw.place for one in wanted.find(log(), Codec(), lambda _: None)] == places


def test_an_offset_that_is_not_there_is_told_with_those_that_are() -> None:
    """A mistyped offset sends nothing."""
    with pytest.raises(
        AuditError, match="Partition 4 of requests holds the offsets 0 to 1, so there is no offset 9"
    ):
        replace(NOTHING, partition=4, offset=9).find(log(), Codec(), lambda _: None)
    with pytest.raises(AuditError, match="Partition 5 of requests holds nothing"):
        replace(NOTHING, partition=5, offset=0).find(log(), Codec(), lambda _: None)
