"""The topic registry: declared once, sized by two numbers, true to the rules of the design."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.contracts import topics
from services.contracts.events import JobRecorded, WorkerReported
from services.contracts.keys import key_of
from services.contracts.schema_files import EVENT_TYPES, schemas_dir
from services.contracts.topics import (
    TOPIC_NAMES,
    Topic,
    TopicFileError,
    load_topics,
    prefixed,
    read_topic,
    sized,
    topic_carrying,
    unprefixed,
)
from tests.contract.examples import load_examples

TOPICS = list(load_topics().values())
STAGES = {"ingest_bot", "moderator", "dispatcher", "gpu_worker", "notifier", "audit"}


def test_names_that_the_broker_remembers_are_pinned() -> None:
    """Renaming one would leave its records behind."""
    assert TOPIC_NAMES == (
        "requests",
        "moderated",
        "dispatched",
        "completed",
        "delivered",
        "progress",
        "workers",
        "jobs",
        "cancellations",
        "backlogs",
        "dead-letters",
    )
    constants = {value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(TOPIC_NAMES)


def test_every_event_has_exactly_one_topic() -> None:
    """Else its type would not say where it belongs."""
    carried = [t.event for t in TOPICS if t.event is not None]
    assert sorted(carried, key=str) == sorted(EVENT_TYPES, key=str)
    assert topic_carrying(WorkerReported).name == "workers"


def test_all_topics_but_the_lanes_have_one_partition_count() -> None:
    """Partition ownership is the only lock: a user's partition is the same number on each of them."""
    counts = {t.partitions for t in TOPICS if t.name != "dispatched"}
    assert len(counts) == 1
    assert {t.name for t in TOPICS if t.sized_by == "lanes"} == {"dispatched"}


def test_an_installation_sizes_all_owning_topics_by_one_number() -> None:
    """And the lanes by another."""
    counts = {name: t.partitions for name, t in sized(load_topics(), partitions=3, lanes=5).items()}
    assert counts == {name: 5 if name == "dispatched" else 3 for name in TOPIC_NAMES}
    assert sized(load_topics()) == dict(load_topics())


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_a_topic_file_names_stages_that_exist(topic: Topic) -> None:
    """Owner, producers and consumers."""
    assert {topic.owner, *topic.producers, *topic.consumers} <= STAGES


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_a_topic_is_written_and_read_or_says_that_it_is_neither(topic: Topic) -> None:
    """What is written and never read, or read and never written, is a mistake in the file or in a stage."""
    unused = "No stage of this version writes or reads it." in topic.description
    assert (bool(topic.producers), bool(topic.consumers)) == (not unused, not unused)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_a_topic_has_the_brokers_clock(topic: Topic) -> None:
    """Workers' clocks differ: replay by time and lag by time need one."""
    assert topic.kafka_config()["message.timestamp.type"] == "LogAppendTime"


def test_only_state_topics_are_compacted() -> None:
    """Compaction of a pipeline topic would lose all but a user's last request."""
    assert {t.name for t in TOPICS if t.cleanup_policy == "compact"} == {"workers", "jobs"}


def test_pipeline_topics_are_kept_for_thirty_days_and_what_passes_for_hours() -> None:
    """Replay needs what it replays."""
    day = 86_400_000
    kept = {t.name: t.retention_ms for t in TOPICS if t.cleanup_policy == "delete"}
    assert kept.pop("progress") < day
    assert kept.pop("backlogs") < day
    assert set(kept.values()) == {30 * day}


def test_a_dead_letter_may_be_larger_than_its_original() -> None:
    """Headers come on top: the largest record of another topic has to fit."""
    assert int(load_topics()["dead-letters"].kafka_config()["max.message.bytes"]) > 1_048_588 + 65_536


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_a_key_is_what_the_topic_file_says(topic: Topic) -> None:
    """The words of the file and the code agree for every example."""
    if topic.event is None:
        return
    for example in load_examples(topic.event):
        event = example.event()
        request = getattr(event, "request", event)
        reply_to = getattr(request, "reply_to", request)
        holder, name = {
            "user id": (reply_to, "user_id"),
            "request id": (request, "request_id"),
            "request id, with /part for a part of a split request": (request, "request_id"),
            "worker id": (event, "worker_id"),
            "dispatcher id": (event, "dispatcher_id"),
        }[topic.key]
        part = f"/{event.part}" if isinstance(event, JobRecorded) and event.part else ""
        assert key_of(event) == getattr(holder, name) + part


def test_a_prefix_goes_before_a_name_and_off_again() -> None:
    """Several installations share a cluster; another's topic is no one's here."""
    assert prefixed("requests", "blue-") == "blue-requests"
    assert prefixed("requests") == "requests"
    assert unprefixed("blue-requests", "blue-") == "requests"
    assert unprefixed("green-requests", "blue-") is None


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (("event: RequestModerated", "event: RequestModerate"), "names the event RequestModerate"),
        (("partitions: 12", "partitions: 0"), "partitions"),
        (("sized_by: partitions", "sized_by: moon"), "sized_by"),
        (("LogAppendTime", "CreateTime"), "timestamp_type"),
        (("cleanup_policy: delete", "cleanup_policy: shred"), "cleanup_policy"),
        (("owner:", "ownr:"), "ownr"),
        (("owner: moderator", "owner: [moderator"), "is not a topic file"),
    ],
)
def test_a_malformed_topic_file_is_refused_by_name(
    tmp_path: Path, changed: tuple[str, str], complaint: str
) -> None:
    """A mistyped word is not taken for a default."""
    text = (schemas_dir() / "topics" / "moderated.yaml").read_text(encoding="utf-8")
    assert changed[0] in text
    (tmp_path / "moderated.yaml").write_text(text.replace(*changed), encoding="utf-8")
    with pytest.raises(TopicFileError, match="moderated") as raised:
        read_topic(tmp_path / "moderated.yaml")
    assert complaint in str(raised.value)
