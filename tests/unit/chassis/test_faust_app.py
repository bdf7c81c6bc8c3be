"""The settings of the Faust app that the promises rest on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import faust
import pytest
from faust.assignor.partition_assignor import PartitionAssignor

from services.chassis.faust_app import aiokafka_connection, create_app
from services.chassis.settings import Secret, StageSettings


@pytest.fixture
def app() -> faust.App:
    """A stage's app that was never started."""
    return create_app("probe", StageSettings(kafka_bootstrap_servers="127.0.0.1:1", topic_prefix="blue-"))


@pytest.fixture
async def aiokafka_producer(app: faust.App) -> AsyncIterator[Any]:
    """The producer as Faust makes it of the app's settings."""
    faust_producer: Any = app.producer
    producer = faust_producer._new_producer()
    yield producer
    await producer.stop()


async def test_the_producer_is_idempotent_and_waits_for_every_in_sync_replica(aiokafka_producer: Any) -> None:
    """Else a retry could repeat or reorder records; a transaction manager without an id is idempotence."""
    manager = aiokafka_producer._txn_manager
    assert manager is not None
    assert manager.transactional_id is None
    assert aiokafka_producer._sender._acks == -1


async def test_topics_are_co_partitioned_by_fausts_own_assignor(app: faust.App) -> None:
    """Above zero standbys Faust takes it; with none it takes one that would tear a user's records apart."""
    assert app.conf.table_standby_replicas > 0
    assert isinstance(app.assignor, PartitionAssignor)


async def test_a_group_is_the_prefix_and_the_stages_name(app: faust.App) -> None:
    """The broker remembers it, so it is written out."""
    assert app.conf.id == "blue-probe"


async def test_faust_never_makes_a_topic(app: faust.App) -> None:
    """Topics come from their files; one made by the way would have the wrong partition count."""
    assert app.conf.topic_allow_declare is False
    assert app.conf.topic_disable_leader is True


async def test_topics_that_a_starting_broker_did_not_know_are_noticed_within_seconds(app: faust.App) -> None:
    """A group assigned by such a broker's metadata owns nothing until its members hear of the topics."""
    assert app.conf.consumer_metadata_max_age_ms <= 1000 * app.conf.broker_session_timeout


async def test_a_new_group_starts_at_the_oldest_record(app: faust.App) -> None:
    """A request written before the stage first ran is not lost."""
    assert app.conf.consumer_auto_offset_reset == "earliest"


async def test_several_brokers_and_credentials_reach_plain_clients_too() -> None:
    """The read-back connects as the app does."""
    settings = StageSettings(
        kafka_bootstrap_servers="127.0.0.1:1, 127.0.0.1:2",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="ann",
        kafka_sasl_password=Secret("hush"),
    )
    connection = aiokafka_connection(create_app("probe", settings))
    assert set(connection["bootstrap_servers"]) == {"127.0.0.1:1", "127.0.0.1:2"}
    assert connection["security_protocol"] == "SASL_PLAINTEXT"
    assert connection["sasl_mechanism"] == "PLAIN"
    assert connection["sasl_plain_username"] == "ann"
    assert connection["sasl_plain_password"] == "hush"


def test_a_member_hears_within_a_third_of_a_second_that_another_has_left(app: faust.App) -> None:
    """It takes over what that one had; a fifth of the session, as Faust would have it, is two seconds of standstill."""
    assert app.conf.broker_heartbeat_interval <= 0.3
    assert app.conf.broker_heartbeat_interval < app.conf.broker_session_timeout / 3
