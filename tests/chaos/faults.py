"""Injects a schedule's faults into a cluster, and notes what was really done and when."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from services.contracts.topics import load_topics
from services.launcher.brokers.broker import client_config
from services.sandbox.discord.client import SandboxDiscord
from tests.chaos.cluster import Cluster
from tests.chaos.history import Incident, Place
from tests.chaos.proxy import Mode
from tests.chaos.schedule import Fault, Kind

#: Bytes that are no event: none, no known framing, an unknown schema, a body cut short.
POISONS = (b"", b"not an event", b"\xc3\x01poison!!", b"\x00\x00\x00\x00\x07confluent", b"{}")
_MODES = {Kind.RESET: Mode.RESET, Kind.BLACKHOLE: Mode.BLACKHOLE, Kind.HALF_OPEN: Mode.HALF_OPEN}
_DISCORD_ROUTES = ("callback", "edit", "post")
_ENDLESS = 0  #: strikes until it is disarmed
_BROKER_TRIES = 20  #: a second apart
_LOST_ANSWERS = 10  #: of each kind of call, which is then made again
_EXPIRED = 8  #: requests whose tokens end at once


class Faults:
    """One thread starts each fault at its time, and each has a thread to last in."""

    def __init__(
        self,
        cluster: Cluster,
        schedule: list[Fault],
        seed: int,
        unended: Callable[[], list[str]],
        say: Callable[[str], None],
    ) -> None:
        """``unended`` gives the requests that users are waiting for."""
        self._cluster = cluster
        self._schedule = schedule
        self._random = Random(seed)  # noqa: S311 - which record is hit, no secret
        self._unended = unended
        self._say = say
        self._stopping = threading.Event()
        self._lasting: list[threading.Thread] = []
        #: A fault may last longer than planned, as a broker's start on a busy machine: the next one on it waits.
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self.incidents: list[Incident] = []
        self.injected: set[Place] = set()  #: undecodable records
        self.copies: set[Place] = set()
        self.expired: set[str] = set()  #: requests whose token was ended
        self.missed: list[Fault] = []  #: that could not be injected, as a record while the broker is away

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, deadline_seconds: float) -> None:
        """Wait until the last fault is over."""
        end = time.monotonic() + deadline_seconds
        self._thread.join(deadline_seconds)
        for thread in self._lasting:
            thread.join(max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        """End every fault now and start no other."""
        self._stopping.set()
        self.wait(60)

    def _run(self) -> None:
        began = time.monotonic()
        for fault in self._schedule:
            if self._stopping.wait(max(0.0, began + fault.at - time.monotonic())):
                return
            thread = threading.Thread(target=self._strike, args=(fault,), name=str(fault.kind), daemon=True)
            self._lasting.append(thread)
            thread.start()

    def _strike(self, fault: Fault) -> None:
        with self._turns[fault.target]:
            self._strike_in_turn(fault)

    def _strike_in_turn(self, fault: Fault) -> None:
        lasts = f" for {fault.seconds:g} s" if fault.seconds else ""
        self._say(f"{fault.at:6.1f} s: {fault.kind} {fault.target} {fault.detail}{lasts}")
        since = time.time()
        try:
            self._inject(fault)
        except (KafkaException, OSError, AssertionError) as error:
            self.missed.append(fault)
            self._say(f"{fault.kind} {fault.target} could not be injected: {error!r}"[:200])
            return
        incident = Incident(kind=fault.kind, target=fault.target, since=since, until=time.time())
        self.incidents.append(incident)

    def _inject(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.KILL | Kind.TERMINATE:
                self._end(fault)
            case Kind.FREEZE:
                self._freeze(fault)
            case Kind.BROKER_RESTART:
                self._cluster.broker.restart()
            case Kind.BROKER_KILL:
                self._cluster.broker.kill()
                self._stopping.wait(fault.seconds)
                self._cluster.broker.restart()
            case Kind.DISCORD_5XX | Kind.DISCORD_429 | Kind.DISCORD_LOST:
                self._trouble_discord(fault)
            case Kind.TOKEN_EXPIRED:
                self._expire()
            case Kind.COMFYUI_ERROR:
                self._trouble_comfyui(fault)
            case Kind.POISON:
                self._while_broker_returns(lambda: self._poison(fault.target))
            case Kind.DUPLICATE:
                self._while_broker_returns(lambda: self._duplicate(fault.target))
            case _:
                self._cut(fault)

    def _end(self, fault: Fault) -> None:
        end = self._cluster.kill if fault.kind is Kind.KILL else self._cluster.terminate
        end(fault.target)
        self._stopping.wait(fault.seconds)
        self._cluster.start_again(fault.target)

    def _freeze(self, fault: Fault) -> None:
        stage = self._cluster.stages[fault.target]
        stage.pause()
        self._stopping.wait(fault.seconds)
        stage.resume()

    def _cut(self, fault: Fault) -> None:
        latency = float(fault.detail) if fault.kind is Kind.DELAY else 0.0
        self._cluster.proxy.turn(fault.target, _MODES.get(fault.kind, Mode.PASS), latency)
        self._stopping.wait(fault.seconds)
        self._cluster.proxy.turn(fault.target, Mode.PASS)

    def _trouble_discord(self, fault: Fault) -> None:
        discord = SandboxDiscord(self._cluster.discord.url)  # its connection is one thread's
        for route in _DISCORD_ROUTES:
            if fault.kind is Kind.DISCORD_429:
                discord.arm(route, 429, times=_ENDLESS, retry_after=float(fault.detail))
            elif fault.kind is Kind.DISCORD_LOST:
                discord.arm(route, times=_LOST_ANSWERS, lose_answer=True)
            else:
                discord.arm(route, int(fault.detail), times=_ENDLESS)
        self._stopping.wait(fault.seconds)
        discord.disarm()

    def _expire(self) -> None:
        discord = SandboxDiscord(self._cluster.discord.url)
        open_requests = self._unended()
        for request in self._random.sample(open_requests, min(_EXPIRED, len(open_requests))):
            self.expired.add(request)
            discord.expire(request)

    def _trouble_comfyui(self, fault: Fault) -> None:
        comfyui = self._cluster.comfyuis[fault.target]
        comfyui.arm(fault.detail, times=1 if fault.detail in ("exit", "hang_ignoring_interrupt") else 2)
        self._stopping.wait(fault.seconds)
        if fault.detail != "exit":
            comfyui.disarm()

    def _while_broker_returns(self, inject: Callable[[], None]) -> None:
        """Try again for a while: another fault may have the broker down."""
        for _ in range(_BROKER_TRIES):
            try:
                return inject()
            except KafkaException:
                self._stopping.wait(1.0)
        return inject()

    def _poison(self, topic: str) -> None:
        partition = self._random.randrange(load_topics()[topic].partitions)
        value = self._random.choice(POISONS)
        written = self._cluster.kafka.produce(topic, value, key=b"poison", partition=partition)
        self.injected.add(Place(topic, partition, written.offset() or 0))

    def _duplicate(self, topic: str) -> None:
        original = self._some_record(topic)
        assert original is not None, f"{topic} holds no record to repeat"
        written = self._cluster.kafka.produce(
            topic,
            _bytes(original.value()),
            key=_bytes(original.key()),
            headers={name: value or b"" for name, value in _headers(original)},
            partition=original.partition(),
        )
        source = Place(topic, original.partition() or 0, original.offset() or 0)
        marks = self.injected if source in self.injected else self.copies
        marks.add(source._replace(offset=written.offset() or 0))

    def _some_record(self, topic: str) -> Message | None:
        """A record of the last hundred of some partition; none where there is none."""
        name = self._cluster.kafka.name(topic)
        partitions = list(range(load_topics()[topic].partitions))
        self._random.shuffle(partitions)
        with _reader(self._cluster.kafka.bootstrap) as consumer:
            for partition in partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)
                if high > low:
                    offset = self._random.randrange(max(low, high - 100), high)
                    consumer.assign([TopicPartition(name, partition, offset)])
                    return consumer.poll(10)
        return None


@contextmanager
def _reader(bootstrap: str) -> Iterator[Consumer]:
    consumer = Consumer(client_config(bootstrap) | {"group.id": "chaos-faults", "enable.auto.commit": False})
    try:
        yield consumer
    finally:
        consumer.close()


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    pairs: Any = message.headers() or ()
    return [(str(name), _bytes(value)) for name, value in pairs]


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
