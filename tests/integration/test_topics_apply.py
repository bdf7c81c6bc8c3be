"""``distillery topics`` against a real broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient

from services.chassis.settings import load
from services.cli import main
from services.contracts.topics import TOPIC_NAMES, load_topics
from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from services.launcher.topics.apply import TopicSettings, apply_topics, open_cluster
from services.launcher.topics.cli import FAILED, WORK_TO_DO
from services.launcher.topics.cluster import Cluster, ClusterError
from services.launcher.topics.plan import Configure, Create, Grow, InOrder, Step, WantedTopic
from tests.harness.waiting import eventually


class Corner:
    """The topics of this test on the run's broker."""

    def __init__(self, broker: OpenBroker, prefix: str) -> None:
        self.env = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap, "TOPIC_PREFIX": prefix}
        self.prefix = prefix
        self._admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
        """``distillery topics …``."""
        return CliRunner().invoke(main, ["topics", *arguments], env=self.env | dict(env or {}))

    def settings(self, **env: str) -> TopicSettings:
        """The settings of this corner."""
        return load(TopicSettings, self.env | env)

    def cluster(self) -> Cluster:
        """What the commands see."""
        return open_cluster(self.settings())

    def sizes(self) -> dict[str, int]:
        """The partition count of each topic, by its name without prefix."""
        return {
            name.removeprefix(self.prefix): n for name, n in self.cluster().topic_sizes(self.prefix).items()
        }

    def configs(self) -> dict[str, Mapping[str, str]]:
        """The effective settings of each topic, by its name without prefix."""
        found = self.cluster().find_topics([self.prefix + name for name in TOPIC_NAMES])
        return {name.removeprefix(self.prefix): topic.config for name, topic in found.items()}

    def configs_once(self, name: str, key: str, value: str) -> Mapping[str, str] | None:
        """A topic's settings, once the broker has heard of the change."""
        config = self.configs()[name]
        return config if config[key] == value else None

    def create(self, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """Make a topic by hand."""
        full = self.prefix + name
        topic = WantedTopic(
            name=full, partitions=partitions, owns_keys=True, replication_factor=-1, config=config or {}
        )
        self.cluster().carry_out(Create(topic=topic))
        self.cluster().wait_until_served({full: partitions})

    def delete_all(self) -> None:
        """Give the broker its room back."""
        names = list(self.cluster().topic_sizes(self.prefix))
        if names:
            for future in self._admin.delete_topics(names).values():
                future.result(timeout=15)


@pytest.fixture
def corner(broker: OpenBroker, topic_prefix: str) -> Iterator[Corner]:
    """Skips where there is no real broker: the embedded one answers no admin call."""
    if isinstance(broker.broker, EmbeddedBroker):
        pytest.skip("the embedded broker answers no admin call")
    made = Corner(broker, topic_prefix)
    yield made
    made.delete_all()


def test_apply_creates_every_topic_as_it_is_declared(corner: Corner) -> None:
    """Partitions, retention, cleanup and clock, on an empty cluster."""
    result = corner.run("apply")
    assert result.exit_code == 0, result.output
    assert corner.sizes() == {name: topic.partitions for name, topic in load_topics().items()}
    configs = corner.configs()
    for name, topic in load_topics().items():
        assert topic.kafka_config().items() <= configs[name].items(), name


def test_applying_again_changes_nothing(corner: Corner) -> None:
    """It is idempotent, and says so."""
    corner.run("apply")
    result = corner.run("apply")
    assert result.exit_code == 0
    assert result.output.endswith("Nothing to do: everything is as declared.\n")
    assert "create" not in result.output


def test_a_dry_run_prints_the_plan_and_changes_nothing(corner: Corner) -> None:
    """Its exit code says that there is work."""
    result = corner.run("apply", "--dry-run")
    assert result.exit_code == WORK_TO_DO
    assert result.output.count("create  ") == len(TOPIC_NAMES)
    assert corner.sizes() == {}


def test_a_dry_run_on_a_cluster_that_is_in_order_says_so(corner: Corner) -> None:
    """With the exit code of success."""
    corner.run("apply")
    result = corner.run("apply", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Dry run: everything is as declared." in result.output


def test_a_setting_that_was_changed_by_hand_is_put_back_and_others_are_kept(corner: Corner) -> None:
    """Only what is declared is ours to set."""
    corner.create("progress", 12, {"retention.ms": "1", "segment.bytes": "1048576"})
    result = corner.run("apply")
    assert result.exit_code == 0, result.output
    assert "retention.ms 1 -> 21600000" in result.output
    config = eventually(lambda: corner.configs_once("progress", "retention.ms", "21600000"))
    assert config["segment.bytes"] == "1048576"


def test_lanes_grow_and_are_never_taken_away(corner: Corner) -> None:
    """More workers, then fewer declared again."""
    corner.run("apply", env={"DISPATCH_LANES": "4"})
    assert corner.run("apply", env={"DISPATCH_LANES": "6"}).exit_code == 0
    assert corner.sizes()["dispatched"] == 6
    result = corner.run("apply", env={"DISPATCH_LANES": "4"})
    assert result.exit_code == 0
    assert "keeps its 6 partitions" in result.output
    assert corner.sizes()["dispatched"] == 6


def test_growing_a_topic_that_owns_users_is_refused_and_nothing_else_is_done(corner: Corner) -> None:
    """Half an update would be worse than none."""
    corner.create("requests", 6)
    result = corner.run("apply")
    assert result.exit_code == FAILED
    assert f"REFUSED {corner.prefix}requests" in result.output
    assert corner.sizes() == {"requests": 6}


def test_growing_a_topic_that_owns_users_works_when_a_person_says_so(corner: Corner) -> None:
    """All of them to the same new count."""
    corner.run("apply", env={"TOPIC_PARTITIONS": "2"})
    result = corner.run("apply", "--allow-rehash", env={"TOPIC_PARTITIONS": "3"})
    assert result.exit_code == 0, result.output
    assert {count for name, count in corner.sizes().items() if name != "dispatched"} == {3}


def test_what_the_broker_refuses_is_one_sentence(corner: Corner) -> None:
    """It names the step, and what was done before it is told."""
    result = corner.run("apply", env={"TOPIC_REPLICATION_FACTOR": "99"})
    assert result.exit_code == FAILED
    assert f"Kafka refused to create {corner.prefix}requests" in result.output
    assert "INVALID_REPLICATION_FACTOR" in result.output
    assert "Traceback" not in result.output


def test_list_shows_each_declared_topic_beside_what_is_there(corner: Corner) -> None:
    """Missing ones too."""
    corner.create("requests", 6)
    lines = corner.run("list").output.splitlines()
    assert len(lines) == len(TOPIC_NAMES)
    assert lines[0].split() == f"{corner.prefix}requests 6 partitions 12 declared, delete".split()
    assert lines[1].split() == f"{corner.prefix}moderated missing 12 declared, delete".split()


def test_the_workers_group_gets_its_session_timeout(corner: Corner) -> None:
    """The broker keeps it for the new protocol, so no worker can ask for it; our local broker permits a short one."""
    group = f"{corner.prefix}gpu_worker"
    before = corner.cluster().find_group(group)
    if (before.least_session_timeout_ms or 45_000) > 4_000:
        pytest.skip(f"this broker permits no session under {before.least_session_timeout_ms} ms")
    result = corner.run("apply", env={"WORKER_SESSION_TIMEOUT_SECONDS": "4"})
    assert result.exit_code == 0, result.output
    assert f"alter   group {group}: consumer.session.timeout.ms" in result.output
    eventually(lambda: corner.cluster().find_group(group).session_timeout_ms == 4_000)


def test_a_session_timeout_that_the_broker_does_not_permit_is_a_note(corner: Corner) -> None:
    """The pipeline is right without it."""
    result = corner.run("apply", env={"WORKER_SESSION_TIMEOUT_SECONDS": "0.5"})
    assert result.exit_code == 0, result.output
    assert "the broker allows no session under" in result.output


def test_a_launcher_applies_topics_in_one_call_and_is_told_each_step(corner: Corner) -> None:
    """What ``distillery demo`` does on a local broker, at every start."""
    told: list[Step] = []
    apply_topics(corner.settings(), told.append)
    assert sum(isinstance(step, Create) for step in told) == len(TOPIC_NAMES)
    told.clear()
    apply_topics(corner.settings(), told.append)
    assert sum(isinstance(step, InOrder) for step in told) >= len(TOPIC_NAMES)
    assert not any(isinstance(step, Create | Grow | Configure) for step in told)


def test_a_launcher_is_told_what_only_a_person_may_change(corner: Corner) -> None:
    """Instead of running stages on topics that do not fit each other."""
    corner.create("requests", 6)
    with pytest.raises(ClusterError, match="--allow-rehash"):
        apply_topics(corner.settings())
