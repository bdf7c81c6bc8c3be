"""What a composition root starts with, and how a stage's process lives and ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import faust
import msgspec
import uvloop
from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError

from services.chassis import logs
from services.chassis import metrics as m
from services.chassis.clock import Clock, system_clock
from services.chassis.edge import Edge
from services.chassis.faust_app import aiokafka_connection, create_app, start_watchdog
from services.chassis.follower import Follower
from services.chassis.health import Health, HealthEndpoint
from services.chassis.lease import Lease
from services.chassis.outbox import Outbox
from services.chassis.positions import Positions
from services.chassis.read_back import ReadBack
from services.chassis.schema_registry import open_codec
from services.chassis.settings import SettingsError, StageSettings, describe, load
from services.contracts.codec import Codec

log = logs.get_logger()
S = TypeVar("S", bound=StageSettings)

#: A whole stop takes at most so long; container platforms kill after 30 s by default.
STOP_SECONDS = 25.0
#: Of that, for what comes before the app's own stop, and kept for what comes after it.
ON_STOP_SECONDS = 10.0
AFTER_STOP_SECONDS = 2.0


@dataclass(slots=True, kw_only=True)
class Stage:
    """The parts of one Faust stage's process, built once by `run_stage` and handed to ``compose``."""

    name: str
    settings: StageSettings
    app: faust.App
    codec: Codec
    outbox: Outbox
    metrics: m.Metrics
    health: Health
    positions: Positions
    lease: Lease
    clock: Clock = system_clock
    read_backs: list[ReadBack] = field(default_factory=list)
    #: Awaited once the app runs (a Discord client, a timer); cancelled before the app stops.
    background: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    #: Awaited in order before the app stops, while sends still work.
    on_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    #: Awaited in order after the app has stopped and nothing is in hand any more.
    after_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    #: Called with the owned partitions once the read-backs are in step with them.
    on_assigned: list[Callable[[set[int]], None]] = field(default_factory=list)
    #: Awaited in order before the owned partitions change, when no event is in hand any more.
    on_revoked: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    topics: tuple[str, ...] = ()
    #: Set while the read-backs are in step with the owned partitions; no event is handled before.
    in_step: asyncio.Event = field(default_factory=asyncio.Event)

    def consume(self, topics: tuple[str, ...], handler: Any, **edge: Any) -> Edge:
        """Run ``handler`` over ``topics`` behind a guarded edge; one agent, named after the stage."""
        guarded = Edge(
            handler=handler,
            outbox=self.outbox,
            codec=self.codec,
            metrics=self.metrics,
            clock=self.clock,
            prefix=self.settings.topic_prefix,
            gate=self.in_step,
            settled=self.positions.settled,
            lease=self.lease,
            **edge,
        )
        prefixed = [self.settings.topic_prefix + topic for topic in topics]
        raw: Any = {
            "key_type": bytes,
            "value_type": bytes,
            "key_serializer": "raw",
            "value_serializer": "raw",
        }
        channel = self.app.topic(*prefixed, **raw, allow_empty=True)
        self.app.agent(channel, name=self.name)(guarded.run)
        self.topics = topics
        return guarded

    def follow(self, topic: str, **follower: Any) -> Follower:
        """Hand all of ``topic`` to this process, whoever owns which partition; see `Follower`."""
        followed = Follower(self.app, self.codec, topic, prefix=self.settings.topic_prefix, **follower)
        self.background.append(followed.run)
        self.topics = (*self.topics, topic)
        return followed

    def read_back(self, topic: str, **fold: Any) -> ReadBack:
        """Keep a fold over ``topic`` in step with the owned partitions; see `ReadBack`."""
        back = ReadBack(self.app, self.codec, topic, prefix=self.settings.topic_prefix, **fold)
        self.read_backs.append(back)
        return back

    async def assigned(self, partitions: set[Any]) -> None:
        """Faust's signal: the owned partitions are now these, of all topics."""
        # The group's answer to the join is what began the session.
        self.lease.renew(time.monotonic())
        self.metrics.count(m.REBALANCES)
        self.metrics.set(m.ASSIGNED_PARTITIONS, len(partitions))
        # Faust's assignor gives one process the same partitions of every topic, so one topic's stand for all.
        first = self.settings.topic_prefix + self.topics[0]
        owned = {tp.partition for tp in partitions if tp.topic == first}
        for back in self.read_backs:
            await back.catch_up(owned)
        for told in self.on_assigned:
            told(owned)
        self.in_step.set()
        self.health.ready()

    def is_owner(self) -> bool:
        """Whether the state is that of the owned partitions, and no other process can have these."""
        return self.in_step.is_set() and self.lease.is_held()

    async def revoked(self) -> None:
        """Faust's signal, sent when nothing is in hand any more: the partitions are about to change."""
        self.in_step.clear()
        for step in self.on_revoked:
            await step()
        self.positions.clear()


def run_stage(
    name: str, settings_type: type[S], compose: Callable[[Stage, S], Any], *, consumes: bool = True
) -> None:
    """The ``main`` of a stage: settings, logs, event loop, signals, exit code."""
    settings = settings_or_exit(name, settings_type)
    logs.configure(name, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_live(name, settings, compose, consumes)))


def settings_or_exit(name: str, settings_type: type[S], *more: type[msgspec.Struct]) -> S:
    """Read the settings; ``--help`` prints them all, and a wrong one ends the process with one sentence.

    Args:
        more: further structs that the stage reads, for ``--help``.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        structs: list[type[msgspec.Struct]] = [settings_type, *more]
        print(f"python -m services.{name}: one stage of Distillery.  Settings (environment):\n")  # noqa: T201 - help
        print("\n".join(map(describe, structs)))  # noqa: T201 - help
        sys.exit(0)
    try:
        return load(settings_type)
    except SettingsError as error:
        sys.exit(f"{name}: {error}")


async def _live(name: str, settings: S, compose: Callable[[Stage, S], Any], consumes: bool) -> int:
    stopping = _stop_signal()
    stage = _build(name, settings, consumes)
    endpoint = HealthEndpoint(
        stage.health, stage.metrics.registry, settings.health_host, settings.health_port
    )
    log.info("stage_started", health_port=endpoint.start())
    composed = compose(stage, settings)
    if asyncio.iscoroutine(composed):
        await composed
    heart = asyncio.create_task(_beat(stage.health))
    try:
        if not await _kafka_is_ready(stage, stopping):
            return 0
        return await _serve(stage, stopping, consumes)
    finally:
        heart.cancel()
        endpoint.stop()
        log.info("stage_stopped")


def _build(name: str, settings: StageSettings, consumes: bool) -> Stage:
    lease = Lease(settings.kafka_session_timeout_seconds)
    app = create_app(name, settings, consumes=consumes, lease=lease)
    metrics = m.Metrics(name)
    codec = open_codec(settings)
    outbox = Outbox(app, codec, metrics, system_clock, stage=name, prefix=settings.topic_prefix)
    positions = Positions(app, settings.topic_prefix)
    return Stage(
        name=name,
        settings=settings,
        app=app,
        codec=codec,
        outbox=outbox,
        metrics=metrics,
        health=Health(),
        positions=positions,
        lease=lease,
        after_stop=[positions.close],
    )


async def _serve(stage: Stage, stopping: asyncio.Event, consumes: bool) -> int:
    app = stage.app
    if consumes:

        async def on_revoked(*_: Any, **__: Any) -> None:
            await stage.revoked()

        async def on_assigned(_: Any, *args: Any, **__: Any) -> None:
            await stage.assigned(*args)

        # Faust's signature of a receiver cannot be met by any function of one's own.
        app.on_partitions_revoked.connect(cast(Any, on_revoked), weak=False)
        app.on_partitions_assigned.connect(cast(Any, on_assigned), weak=False)
    await app.start()
    if consumes:
        start_watchdog(app, stage.health)
    elif not stage.background:
        stage.health.ready()
    tasks = [asyncio.create_task(_run(job)) for job in stage.background]
    ended = asyncio.create_task(app.wait_until_stopped())
    await asyncio.wait(
        {asyncio.create_task(stopping.wait()), ended, *tasks}, return_when=asyncio.FIRST_COMPLETED
    )
    stage.health.not_ready("stopping")
    failed = app.crashed or any(task.done() for task in tasks)
    return await _wind_down(stage, tasks, failed)


async def _wind_down(stage: Stage, tasks: list[asyncio.Task[None]], failed: bool) -> int:
    """Stop everything in order; a step that does not end in its time, or raises, is logged and left behind."""
    begun = asyncio.get_running_loop().time()
    ended = [await _step(step, by=begun + ON_STOP_SECONDS) for step in stage.on_stop]
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()):
            log.error("background_failed", error=repr(error), exc_info=error)
        task.cancel()
    ended.append(await _step(stage.app.stop, by=begun + STOP_SECONDS - AFTER_STOP_SECONDS))
    ended += [await _step(step, by=begun + STOP_SECONDS) for step in stage.after_stop]
    return 1 if failed or not all(ended) else 0


async def _step(step: Callable[[], Awaitable[None]], *, by: float) -> bool:
    """Whether ``step`` ended well by then, in the event loop's time; a step that ignores its end is not waited for."""
    name = getattr(step, "__qualname__", repr(step))
    task = asyncio.create_task(_run(step))
    _, late = await asyncio.wait({task}, timeout=max(0.0, by - asyncio.get_running_loop().time()))
    if late:
        task.cancel()
        log.error("stop_timed_out", step=name)
        return False
    if error := task.exception():
        log.error("stop_step_failed", step=name, error=repr(error), exc_info=error)
    return error is None


async def _run(job: Callable[[], Awaitable[None]]) -> None:
    await job()


async def _kafka_is_ready(stage: Stage, stopping: asyncio.Event) -> bool:
    """Wait until the brokers answer and every topic of the stage exists; false when told to stop first.

    Faust would end on the first and silently ignore the second.
    """
    while not stopping.is_set():
        why = await _kafka_obstacle(stage)
        if why is None:
            return True
        stage.health.not_ready(why)
        log.warning("kafka_awaited", why=why)
        try:
            await asyncio.wait_for(stopping.wait(), 2.0)
        except TimeoutError:
            continue
    return False


async def _kafka_obstacle(stage: Stage) -> str | None:
    servers = stage.settings.kafka_bootstrap_servers
    wanted = {stage.settings.topic_prefix + topic for topic in stage.topics}
    client = AIOKafkaClient(**aiokafka_connection(stage.app))
    try:
        await client.bootstrap()
        for topic in wanted:
            await client.add_topic(topic)
        missing = sorted(topic for topic in wanted if not client.cluster.partitions_for_topic(topic))
    except (KafkaError, OSError) as error:
        return f"No Kafka broker answers at {servers} ({type(error).__name__}); trying again."
    finally:
        await client.close()
    if missing:
        return f"Kafka has no topic {', '.join(missing)}; run: distillery topics apply."
    return None


async def _beat(health: Health) -> None:
    while True:
        health.beat()
        await asyncio.sleep(1.0)


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping
