"""Applies ``schemas/topics`` to a cluster: renders what is wanted, plans, and carries the plan out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from services.chassis.kafka import client_config
from services.chassis.settings import StageSettings
from services.contracts.topics import Topic, load_topics, prefixed, sized
from services.launcher.topics.cluster import Cluster, ClusterError
from services.launcher.topics.plan import (
    Change,
    Configure,
    Create,
    Grow,
    Note,
    Step,
    WantedGroup,
    WantedTopic,
    plan_group,
    plan_topics,
    refusals,
)

WORKER_GROUP = (
    "gpu_worker"  #: the one group of the new protocol; the others choose their session timeout themselves
)


class TopicSettings(StageSettings, frozen=True, kw_only=True):
    """What ``distillery topics`` can be told."""

    topic_partitions: Annotated[
        int,
        Meta(
            description="Partitions of every topic but dispatched; at most so many instances of a stage.",
            ge=1,
        ),
    ] = 12
    dispatch_lanes: Annotated[
        int, Meta(description="Partitions of dispatched; at most so many GPU workers.", ge=1)
    ] = 48
    topic_replication_factor: Annotated[
        int, Meta(description="Replicas of each partition; -1 = the broker's default.", ge=-1)
    ] = -1
    topic_min_insync_replicas: Annotated[
        int,
        Meta(
            description="Replicas that must have a record; 0 = 2 with 3 or more replicas, else the broker's.",
            ge=0,
        ),
    ] = 0
    worker_session_timeout_seconds: Annotated[
        float,
        Meta(description="A gpu_worker silent for so long loses its lanes, where brokers permit it.", gt=0),
    ] = 10.0
    kafka_admin_timeout_seconds: Annotated[
        float, Meta(description="Longest wait for one answer of the cluster.", gt=0, le=600)
    ] = 15.0


def open_cluster(settings: TopicSettings) -> Cluster:
    """The cluster that the settings name; nothing is asked of it yet."""
    return Cluster(client_config(settings, "topics"), timeout_seconds=settings.kafka_admin_timeout_seconds)


def wanted_topics(settings: TopicSettings) -> list[WantedTopic]:
    """Every declared topic, by this installation's prefix, counts and replication."""
    topics = sized(load_topics(), partitions=settings.topic_partitions, lanes=settings.dispatch_lanes)
    return [_wanted(topic, settings) for topic in topics.values()]


def plan(settings: TopicSettings, cluster: Cluster, *, allow_rehash: bool = False) -> list[Step]:
    """The steps that are due on this cluster; changes nothing.

    Raises:
        ClusterError: the cluster is away or refuses to tell.
    """
    wanted = wanted_topics(settings)
    found = cluster.find_topics([topic.name for topic in wanted])
    group = WantedGroup(
        name=prefixed(WORKER_GROUP, settings.topic_prefix),
        session_timeout_ms=round(settings.worker_session_timeout_seconds * 1000),
    )
    return [
        *plan_topics(wanted, found, allow_rehash=allow_rehash),
        plan_group(group, cluster.find_group(group.name)),
    ]


def carry_out(steps: list[Step], cluster: Cluster, tell: Callable[[Step], object]) -> None:
    """Do the steps in order and ``tell`` each when it is done; a group's setting is tried, a topic's is required.

    When it returns, the topics can be written to.

    Raises:
        ClusterError: the cluster is away or refuses; the steps told before it are done.
    """
    for step in steps:
        tell(_done(step, cluster) if isinstance(step, Create | Configure | Grow) else step)
    made = {step.topic.name: step.topic.partitions for step in steps if isinstance(step, Create)}
    grown = {step.name: step.partitions for step in steps if isinstance(step, Grow)}
    cluster.wait_until_served(made | grown)


def apply_topics(settings: StageSettings, tell: Callable[[Step], object] = lambda step: None) -> None:
    """Create and update every topic, for a launcher; what the settings do not say is as declared.

    Raises:
        ClusterError: the cluster is away, refuses, or has topics that only a person may change.
    """
    shape = TopicSettings(**{f: getattr(settings, f) for f in StageSettings.__struct_fields__})
    cluster = open_cluster(shape)
    steps = plan(shape, cluster)
    if refused := refusals(steps):
        raise ClusterError("; ".join(f"{step.name}: {step.reason}" for step in refused))
    carry_out(steps, cluster, tell)


def _wanted(topic: Topic, settings: TopicSettings) -> WantedTopic:
    """One topic of this installation."""
    return WantedTopic(
        name=prefixed(topic.name, settings.topic_prefix),
        partitions=topic.partitions,
        owns_keys=topic.sized_by == "partitions",
        replication_factor=settings.topic_replication_factor,
        config=topic.kafka_config() | _durability(settings),
    )


def _durability(settings: TopicSettings) -> dict[str, str]:
    """With acks=all, 2 of 3 replicas let one broker fail without losing a record or refusing one."""
    least = settings.topic_min_insync_replicas or (2 if settings.topic_replication_factor >= 3 else 0)
    return {"min.insync.replicas": str(least)} if least else {}


def _done(step: Change, cluster: Cluster) -> Step:
    """Carry one change out; a refused group setting becomes a note, since the pipeline is right without it."""
    try:
        cluster.carry_out(step)
    except ClusterError as error:
        if isinstance(step, Configure) and step.kind == "group":
            return Note(name=f"group {step.name}", reason=f"its session timeout stays as it is.  {error}")
        raise
    return step
