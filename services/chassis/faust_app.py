"""The Faust app of a stage: one factory, with the settings and mends that make it safe.

Why each is so is measured in DECISIONS.md: acknowledgements by hand in order (`edge`), an idempotent
producer, Faust's own assignor (it gives one process the same partitions of every topic), and a watchdog
for aiokafka's silent death.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver

from services.chassis.health import Health
from services.chassis.kafka import LARGEST_SEND_BYTES
from services.chassis.lease import Lease
from services.chassis.logs import get_logger
from services.chassis.settings import StageSettings

log = get_logger()

#: Exit code of a process whose consumer had died silently (sysexits' EX_SOFTWARE).
WATCHDOG_EXIT = 70
#: Must outlast the slowest event that an edge holds, since a rebalance waits for it.
REBALANCE_TIMEOUT_SECONDS = 60.0
SEND_TIMEOUT_SECONDS = 30.0
#: A member hears by its heartbeat that another has left and that it is to take over: for so long nobody does.
HEARTBEAT_SECONDS = 0.3
#: A broker that has just come up knows no topic, and an assignment made by what it says gives nobody anything.
#: aiokafka makes another one as soon as it hears of the topics, which Faust's 5 minutes would let it wait for.
METADATA_SECONDS = 5.0


def create_app(
    stage: str, settings: StageSettings, *, consumes: bool = True, lease: Lease | None = None
) -> faust.App:
    """The stage's Faust app; its id, and so its consumer group, is prefix + ``stage``.

    Args:
        consumes: false for a stage that only produces; the app then starts no consumer.
        lease: renewed by the consumer's heartbeats.
    """
    session = settings.kafka_session_timeout_seconds
    app = _App(
        settings.topic_prefix + stage,
        broker=[f"aiokafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
        broker_credentials=_credentials(settings),
        broker_session_timeout=session,
        broker_heartbeat_interval=min(session / 5, HEARTBEAT_SECONDS),
        broker_rebalance_timeout=REBALANCE_TIMEOUT_SECONDS,
        broker_commit_interval=1.0,
        broker_check_crcs=False,  # librdkafka's embedded broker writes control records without one; TCP checks too
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=round(METADATA_SECONDS * 1000),
        producer_acks=-1,
        producer_request_timeout=SEND_TIMEOUT_SECONDS,
        producer_max_request_size=LARGEST_SEND_BYTES,
        stream_wait_empty=True,
        stream_buffer_maxsize=256,
        # Above zero selects Faust's assignor, which co-partitions topics; there are no tables to stand by.
        table_standby_replicas=1,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        store="memory://",
        datadir=tempfile.gettempdir(),  # Faust makes it at start, and a stage keeps nothing in it
        autodiscover=False,
    )
    app.fetch_wait_ms = settings.kafka_fetch_wait_ms
    app.producer_only = not consumes
    app.lease = lease
    return app


def aiokafka_connection(app: faust.App) -> dict[str, Any]:
    """Connection arguments for a plain aiokafka client beside the app."""
    auth = driver.credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context)
    return {"bootstrap_servers": driver.server_list(app.conf.broker, 9092), **auth}


def start_watchdog(app: faust.App, health: Health) -> None:
    """End the process when aiokafka's coordinator has died without telling Faust.

    A non-retriable join or sync error is handed to whoever calls ``getmany``, which Faust never does: the
    process would live on and consume nothing (observed; kafka errors 29 and 42).
    """
    threading.Thread(target=_watch, args=(app, health), name="watchdog", daemon=True).start()


def coordinator_is_dead(app: faust.App) -> bool:
    """Whether the group coordinator's task ended, or holds an error that nobody will read."""
    thread = getattr(getattr(app, "_consumer", None), "_thread", None)
    coordinator = getattr(getattr(thread, "_consumer", None), "_coordinator", None)
    if coordinator is None:
        return False
    task = getattr(coordinator, "_coordination_task", None)
    return bool(getattr(coordinator, "_pending_exception", None)) or (task is not None and task.done())


def _watch(app: faust.App, health: Health) -> None:
    seen = 0
    while not app.should_stop:
        time.sleep(1.0)  # noqa: TID251 - a thread of its own that only watches; nothing waits for it
        seen = seen + 1 if coordinator_is_dead(app) else 0
        if seen >= 3:
            health.broken("the consumer group coordinator died")
            log.error("coordinator_died", exit_code=WATCHDOG_EXIT)
            os._exit(WATCHDOG_EXIT)  # a normal stop would wait for the dead coordinator


def _credentials(settings: StageSettings) -> Any:
    protocol = settings.kafka_security_protocol.upper()
    context = ssl.create_default_context(cafile=settings.kafka_ca_file or None) if "SSL" in protocol else None
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password.reveal(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,  # without one Faust speaks SASL_PLAINTEXT
        )
    return faust.SSLCredentials(context=context) if context else None


class _Producer(driver.Producer):
    """Faust leaves idempotence off outside exactly-once, so that retries could repeat and reorder."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust fixes the fetch wait at 1.5 s, which the embedded broker always uses up."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = cast(_App, self.app).fetch_wait_ms
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        lease = cast(_App, self.app).lease
        if lease is not None:
            keep_lease(cast(AIOKafkaConsumer, self._consumer)._coordinator, lease)


def keep_lease(coordinator: Any, lease: Lease) -> None:
    """Renew ``lease`` by the coordinator's heartbeats, and end the process when it joins anew after losing it.

    Joining anew would first wait until everything in hand is handled, which is another process's by then.
    """
    heartbeat, prepare_join = coordinator._do_heartbeat, coordinator._on_join_prepare

    async def renewing_heartbeat() -> bool:
        asked_at = time.monotonic()
        is_member: bool = await heartbeat()
        if is_member:
            lease.renew(asked_at)
        return is_member

    async def fenced_join(previous_assignment: Any) -> None:
        _end_if_lost(lease, previous_assignment)
        preparing = asyncio.ensure_future(prepare_join(previous_assignment))
        # It waits for what is in hand, which waits for the lease: one lost meanwhile never comes back.
        while not (await asyncio.wait({preparing}, timeout=1.0))[0]:
            _end_if_lost(lease, previous_assignment)
        await preparing

    coordinator._do_heartbeat = renewing_heartbeat
    coordinator._on_join_prepare = fenced_join


def _end_if_lost(lease: Lease, assignment: Any) -> None:
    if lease.has_ended() and assignment is not None and assignment.tps:
        log.error("session_lost", exit_code=WATCHDOG_EXIT)
        os._exit(WATCHDOG_EXIT)


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer
    Producer = _Producer


class _App(faust.App):
    #: Milliseconds that the broker may hold an empty fetch.
    fetch_wait_ms: int = 500
    #: Kept by the consumer's heartbeats.
    lease: Lease | None = None

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> _Transport:
        return _Transport(self.conf.broker_producer, self)
