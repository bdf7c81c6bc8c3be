"""What ``distillery topics apply`` would do: a table of what is wanted and what is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.chassis.settings import load
from services.contracts.topics import TOPIC_NAMES
from services.launcher.topics.apply import TopicSettings, wanted_topics
from services.launcher.topics.plan import (
    Configure,
    Create,
    FoundGroup,
    FoundTopic,
    Grow,
    InOrder,
    Note,
    Refused,
    Step,
    WantedGroup,
    WantedTopic,
    changes,
    plan_group,
    plan_topics,
    refusals,
)

USERS = WantedTopic(
    name="requests", partitions=12, owns_keys=True, replication_factor=-1, config={"retention.ms": "1000"}
)
LANES = replace(USERS, name="dispatched", partitions=48, owns_keys=False)
FOUND = FoundTopic(partitions=12, replication_factor=1, config={"retention.ms": "1000", "segment.ms": "5"})
GROUP = WantedGroup(name="gpu_worker", session_timeout_ms=10_000)


def steps(wanted: WantedTopic, found: FoundTopic | None, *, allow_rehash: bool = False) -> list[Step]:
    """The plan for one topic."""
    return plan_topics([wanted], {wanted.name: found} if found else {}, allow_rehash=allow_rehash)


def test_a_missing_topic_is_created() -> None:
    """As it is declared."""
    assert steps(USERS, None) == [Create(topic=USERS)]


def test_a_topic_that_is_as_declared_is_left_alone() -> None:
    """Settings that nobody declares do not matter."""
    assert steps(USERS, FOUND) == [InOrder(name="requests")]


def test_topics_that_nobody_declares_are_left_alone() -> None:
    """They may be another installation's."""
    assert plan_topics([USERS], {"requests": FOUND, "other": FOUND}, allow_rehash=False) == [
        InOrder(name="requests")
    ]


def test_a_differing_setting_is_altered_and_no_other() -> None:
    """With the value before it, so that a person sees what is lost."""
    wanted = replace(USERS, config={"retention.ms": "2000", "segment.ms": "5", "max.message.bytes": "9"})
    assert steps(wanted, FOUND) == [
        Configure(
            kind="topic",
            name="requests",
            values={"retention.ms": "2000", "max.message.bytes": "9"},
            before={"retention.ms": "1000"},
        )
    ]


def test_lanes_may_grow() -> None:
    """The dispatcher names the lane, so nothing is rehashed."""
    assert steps(LANES, FOUND) == [Grow(name="dispatched", before=12, partitions=48)]


def test_a_topic_whose_partitions_own_users_does_not_grow_by_itself() -> None:
    """A user would move to an instance that does not know them, with requests in flight."""
    (step,) = steps(USERS, replace(FOUND, partitions=6))
    assert isinstance(step, Refused)
    assert "--allow-rehash" in step.reason


def test_a_topic_whose_partitions_own_users_grows_when_a_person_says_so() -> None:
    """After the stages were stopped and drained."""
    assert steps(USERS, replace(FOUND, partitions=6), allow_rehash=True) == [
        Grow(name="requests", before=6, partitions=12)
    ]


def test_lanes_are_never_taken_away() -> None:
    """Kafka cannot, and more lanes than declared harm nothing."""
    (step,) = steps(LANES, replace(FOUND, partitions=60))
    assert isinstance(step, Note)


@pytest.mark.parametrize("allow_rehash", [False, True])
def test_too_many_partitions_where_they_own_users_are_refused(allow_rehash: bool) -> None:
    """Topics with unequal counts would split a user between instances; the message names the setting that helps."""
    (step,) = steps(USERS, replace(FOUND, partitions=24), allow_rehash=allow_rehash)
    assert isinstance(step, Refused)
    assert "TOPIC_PARTITIONS=24" in step.reason


def test_settings_are_altered_beside_a_refused_size() -> None:
    """Both are in the plan, so a person sees all of it at once."""
    found = replace(FOUND, partitions=6, config={})
    assert [type(step) for step in steps(USERS, found)] == [Refused, Configure]


def test_another_replication_factor_is_told_and_not_changed() -> None:
    """Changing it moves data between brokers."""
    (step,) = steps(replace(USERS, replication_factor=3), FOUND)
    assert isinstance(step, Note)
    assert "kafka-reassign-partitions" in step.reason


def test_the_brokers_default_replication_matches_any() -> None:
    """Nobody declared one."""
    assert steps(USERS, replace(FOUND, replication_factor=5)) == [InOrder(name="requests")]


def test_a_groups_session_timeout_is_lowered_where_the_broker_permits_it() -> None:
    """A killed worker's lanes then move sooner."""
    found = FoundGroup(session_timeout_ms=45_000, least_session_timeout_ms=5_000)
    assert plan_group(GROUP, found) == Configure(
        kind="group",
        name="gpu_worker",
        values={"consumer.session.timeout.ms": "10000"},
        before={"consumer.session.timeout.ms": "45000"},
    )


def test_a_groups_session_timeout_is_tried_where_the_least_is_not_told() -> None:
    """Reading the broker's settings needs rights that altering the group's may not."""
    found = FoundGroup(session_timeout_ms=45_000, least_session_timeout_ms=None)
    assert isinstance(plan_group(GROUP, found), Configure)


@pytest.mark.parametrize("now", [10_000, 6_000])
def test_a_groups_session_timeout_is_never_raised(now: int) -> None:
    """An operator who set it lower had a reason."""
    found = FoundGroup(session_timeout_ms=now, least_session_timeout_ms=3_000)
    assert plan_group(GROUP, found) == InOrder(name="group gpu_worker")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FoundGroup(session_timeout_ms=45_000, least_session_timeout_ms=45_000), "no session under 45 s"),
        (FoundGroup(session_timeout_ms=None, least_session_timeout_ms=None), "its defaults hold"),
    ],
    ids=["broker-forbids", "broker-silent"],
)
def test_a_group_setting_that_cannot_be_had_is_said_and_no_fault(found: FoundGroup, said: str) -> None:
    """The pipeline is right without it: the dispatcher's reports decide, not the group."""
    step = plan_group(GROUP, found)
    assert isinstance(step, Note)
    assert said in step.reason


def test_changes_and_refusals_are_told_apart_from_the_rest() -> None:
    """Only changes are carried out, only refusals need a person."""
    plan: list[Step] = [
        Create(topic=USERS),
        InOrder(name="a"),
        Note(name="b", reason="c"),
        Refused(name="d", reason="e"),
        Grow(name="f", before=1, partitions=2),
    ]
    assert [type(step) for step in changes(plan)] == [Create, Grow]
    assert refusals(plan) == [Refused(name="d", reason="e")]


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (
            Create(topic=USERS),
            "create  requests: 12 partitions, the broker's default replication, retention.ms=1000",
        ),
        (
            Create(topic=replace(USERS, replication_factor=3)),
            "create  requests: 12 partitions, 3 replicas, retention.ms=1000",
        ),
        (Grow(name="dispatched", before=12, partitions=48), "grow    dispatched: 12 -> 48 partitions"),
        (
            Configure(kind="topic", name="jobs", values={"b": "2", "a": "1"}, before={"b": "3"}),
            "alter   jobs: a (unset) -> 1, b 3 -> 2",
        ),
        (
            Configure(kind="group", name="gpu", values={"a": "1"}, before={}),
            "alter   group gpu: a (unset) -> 1",
        ),
        (InOrder(name="jobs"), "ok      jobs"),
        (Note(name="jobs", reason="so"), "note    jobs: so"),
        (Refused(name="jobs", reason="so"), "REFUSED jobs: so"),
    ],
)
def test_a_step_is_one_line_of_the_plan(step: Step, line: str) -> None:
    """A person reads these before saying yes."""
    assert str(step) == line


def test_what_is_wanted_is_what_is_declared_under_the_prefix() -> None:
    """All ten topics, with the counts of this installation."""
    settings = load(TopicSettings, {"TOPIC_PREFIX": "t-", "TOPIC_PARTITIONS": "3", "DISPATCH_LANES": "5"})
    wanted = wanted_topics(settings)
    assert [topic.name for topic in wanted] == [f"t-{name}" for name in TOPIC_NAMES]
    assert {topic.name: topic.partitions for topic in wanted if not topic.owns_keys} == {"t-dispatched": 5}
    assert {topic.partitions for topic in wanted if topic.owns_keys} == {3}


@pytest.mark.parametrize(
    ("env", "least"),
    [
        ({}, None),
        ({"TOPIC_REPLICATION_FACTOR": "1"}, None),
        ({"TOPIC_REPLICATION_FACTOR": "3"}, "2"),
        ({"TOPIC_REPLICATION_FACTOR": "3", "TOPIC_MIN_INSYNC_REPLICAS": "1"}, "1"),
        ({"TOPIC_MIN_INSYNC_REPLICAS": "2"}, "2"),
    ],
)
def test_three_replicas_mean_that_two_must_have_a_record(env: dict[str, str], least: str | None) -> None:
    """One broker may fail without a loss; with fewer replicas the broker's own default holds."""
    for topic in wanted_topics(load(TopicSettings, env)):
        assert topic.config.get("min.insync.replicas") == least
