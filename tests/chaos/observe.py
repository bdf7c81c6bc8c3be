"""Looks at what a run left behind: every topic from its start, the object store, and both doubles' own counts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from services.audit.adapters.kafka_log import KafkaLog
from services.audit.observation import Observation, observe
from services.chassis.object_store.folder import FolderObjectStore
from services.chassis.settings import StageSettings
from services.contracts.codec import Codec
from services.contracts.events import (
    GenerationRequested,
    JobCompleted,
    JobDispatched,
    JobRecorded,
    JobState,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.contracts.topics import BACKLOGS, CANCELLATIONS, JOBS, TOPIC_NAMES, WORKERS, load_topics
from services.launcher.brokers.broker import client_config
from services.notifier.decide import nonce
from services.sandbox.discord.client import SandboxDiscord
from services.sandbox.discord.places import shard_of
from tests.chaos.cast import CAST
from tests.chaos.history import (
    Buried,
    Commit,
    Completed,
    Delivered,
    Dispatched,
    History,
    Lag,
    Moderated,
    Place,
    Recorded,
    Requested,
    Run,
    Shown,
    State,
    Told,
)
from tests.harness.chain import is_final

GROUPS = ("moderator", "dispatcher", "gpu_worker", "notifier")
_SAMPLE_SECONDS = 1.0
_ASK_SECONDS = 5.0


#: What every process of a stage follows by itself, without a group.
_FOLLOWED = {("dispatcher", WORKERS), ("gpu_worker", BACKLOGS), ("gpu_worker", CANCELLATIONS)}


def readers() -> dict[str, tuple[str, ...]]:
    """The groups by the topic that they read; what is only read back, or by a person, is left out."""
    return {
        name: tuple(stage for stage in topic.consumers if stage in GROUPS and (stage, name) not in _FOLLOWED)
        for name, topic in load_topics().items()
        if name != JOBS
    }


def buriers() -> dict[str, tuple[str, ...]]:
    """The stages by the topic whose undecodable records they bury: its groups, and whoever follows the reports."""
    return readers() | {WORKERS: ("dispatcher",)}


class Commits:
    """Asks again and again, from a thread, how far each group has committed.

    By consumers that join nothing: librdkafka's admin client aborts the process where a broker dies while it asks.
    """

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix
        self._groups = {
            group: Consumer(
                client_config(bootstrap) | {"group.id": prefix + group, "enable.auto.commit": False}
            )
            for group in GROUPS
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)
        self.samples: list[Commit] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more by itself; `now` still works."""
        self._stopping.set()
        self._thread.join(30)

    def close(self) -> None:
        """Let the connections go."""
        self.stop()
        for consumer in self._groups.values():
            consumer.close()

    def now(self) -> list[Commit]:
        """What each group has committed; nothing of one whose coordinator does not answer."""
        found: list[Commit] = []
        for group, consumer in self._groups.items():
            try:
                places = consumer.committed(_read_by(group, self._prefix), timeout=_ASK_SECONDS)
            except KafkaException:
                continue  # the broker is away
            found.extend(self._commits(group, places, time.time()))
        return found

    def _run(self) -> None:
        while not self._stopping.wait(_SAMPLE_SECONDS):
            self.samples.extend(self.now())

    def _commits(self, group: str, places: Iterable[TopicPartition], at: float) -> Iterable[Commit]:
        by_topic: dict[str, dict[int, int]] = {}
        for place in places:
            if place.error is None and place.offset >= 0:
                topic = place.topic.removeprefix(self._prefix)
                by_topic.setdefault(topic, {})[place.partition] = place.offset
        return [Commit(at=at, group=group, topic=topic, offsets=o) for topic, o in by_topic.items()]


def _read_by(group: str, prefix: str) -> list[TopicPartition]:
    return [
        TopicPartition(prefix + name, partition)
        for name, groups in readers().items()
        if group in groups
        for partition in range(load_topics()[name].partitions)
    ]


class Topics:
    """Reads topics of a run's corner of the broker."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._log = KafkaLog(StageSettings(kafka_bootstrap_servers=bootstrap, topic_prefix=prefix))

    def ends(self) -> dict[str, dict[int, int]]:
        """The end of every partition that a group reads."""
        spans = self._log.spans({topic: None for topic, groups in readers().items() if groups})
        ends: dict[str, dict[int, int]] = {}
        for span in spans:
            ends.setdefault(span.topic, {})[span.partition] = span.stop
        return ends

    def read(self) -> Facts:
        """Everything that lies on every topic, as facts."""
        facts, codec = Facts(), Codec()
        for raw in self._log.read(self._log.spans(dict.fromkeys(TOPIC_NAMES))):
            facts.take(observe(raw, codec))
        return facts


class Facts:
    """Records as the checker wants them, collected one by one."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def into(self, history: History) -> History:
        """The history with everything that was found."""
        found: dict[str, Any] = {name: tuple(records) for name, records in self._found.items()}
        return replace(history, **found)

    def take(self, seen: Observation) -> None:
        """One record."""
        place = Place(seen.raw.topic, seen.raw.partition, seen.raw.offset)
        at = seen.raw.appended_at.timestamp()
        if seen.burial is not None:
            self._add("buried", _buried(seen))
        elif seen.problem is not None:
            self._add("undecodable", place)
        elif seen.is_tombstone:
            if seen.raw.topic == JOBS and seen.request_id:
                self._add("recorded", Recorded(place=place, at=at, request_id=seen.request_id, finished=True))
        else:
            self._take_event(seen.event, {"place": place, "at": at})

    def _take_event(self, event: object, where: dict[str, Any]) -> None:
        match event:
            case GenerationRequested():
                self._add("requested", _requested(event, where))
            case RequestModerated():
                self._add("moderated", _moderated(event, where))
            case JobRecorded():
                finished = event.state is JobState.FINISHED and event.part == 0
                self._add(
                    "recorded", Recorded(request_id=event.request.request_id, finished=finished, **where)
                )
            case JobDispatched():
                self._add("dispatched", _dispatched(event, where))
            case JobCompleted():
                self._add("completed", _completed(event, where))
            case RequestDelivered():
                self._add("delivered", _delivered(event, where))

    def _add(self, name: str, record: object) -> None:
        self._found.setdefault(name, []).append(record)


def _requested(event: GenerationRequested, where: Mapping[str, Any]) -> Requested:
    return Requested(request_id=event.request_id, user_id=event.reply_to.user_id, **where)


def _moderated(event: RequestModerated, where: Mapping[str, Any]) -> Moderated:
    return Moderated(
        request_id=event.request.request_id,
        user_id=event.request.reply_to.user_id,
        approved=event.verdict is Verdict.APPROVED,
        code=event.reasons[0].code if event.reasons else "",
        quota_left=event.quota_left,
        **where,
    )


def _dispatched(event: JobDispatched, where: Mapping[str, Any]) -> Dispatched:
    return Dispatched(
        request_id=event.request_id,
        dispatch_id=event.dispatch_id,
        worker_id=event.worker_id,
        part=event.part,
        **where,
    )


def _completed(event: JobCompleted, where: Mapping[str, Any]) -> Completed:
    return Completed(
        request_id=event.request_id,
        dispatch_id=event.dispatch_id,
        outcome=event.outcome.value,
        final=event.final,
        retryable=event.error is not None and event.error.retryable,
        code=event.error.code if event.error is not None else "",
        images=tuple(image.object_key for image in event.images),
        **where,
    )


def _delivered(event: RequestDelivered, where: Mapping[str, Any]) -> Delivered:
    return Delivered(
        request_id=event.request_id,
        user_id=event.user_id,
        outcome=event.outcome.value,
        images=event.images,
        method=event.method.value,
        **where,
    )


def _buried(seen: Observation) -> Buried:
    assert seen.burial is not None
    burial = seen.burial
    source = Place(burial.topic or "?", burial.partition or 0, burial.offset or 0)
    error = f"{burial.error_class}: {burial.error_message}"
    return Buried(stage=burial.stage or "?", source=source, error=error)


def told(discord: SandboxDiscord) -> tuple[Told, ...]:
    """Every command at the loopback Discord, with its own messages and those that the channel got for it."""
    by_nonce: dict[str, list[dict[str, Any]]] = {}
    for message in discord.messages():
        if message["interaction_id"] is None and message["nonce"]:
            by_nonce.setdefault(message["nonce"], []).append(message)
    return tuple(
        told_of(one, by_nonce.get(nonce(one["id"]), []))
        for one in discord.interactions()
        if one["command"] == "serve"
    )


def told_of(interaction: dict[str, Any], posted: list[dict[str, Any]]) -> Told:
    """One command with its messages, and with those that were posted for it."""
    shown = tuple(_shown(message) for message in (*interaction["messages"], *posted))
    texts = [state.text for message in shown for state in message.states]
    return Told(
        request_id=interaction["id"],
        user_id=interaction["user_id"],
        shard=shard_of(interaction["guild_id"], len(CAST.stages["ingest_bot"])),
        accepted=any(text.startswith("Queued: ") for text in texts),
        shown=shown,
        sent_at=interaction["created_epoch"],
    )


def _shown(message: dict[str, Any]) -> Shown:
    states = (
        State(text=edit["content"], final=is_final(edit), images=edit["attachments"])
        for edit in message["history"]
    )
    return Shown(message_id=message["id"], states=tuple(states))


def runs(journals: Mapping[str, Path]) -> tuple[Run, ...]:
    """Every job that a loopback ComfyUI began, also one that was killed."""
    found = []
    for comfyui, path in journals.items():
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            entry = json.loads(line)
            found.append(Run(prompt_id=entry["prompt_id"], posted_at=entry["posted_at"], comfyui=comfyui))
    return tuple(found)


def stored(folder: Path) -> frozenset[str]:
    """Every key of the object store."""
    return frozenset(FolderObjectStore(folder).list())


def lags(commits: Iterable[Commit], ends: Mapping[str, Mapping[int, int]]) -> tuple[Lag, ...]:
    """How far each group is in every partition that it reads; one without an offset has read nothing."""
    offsets = {(commit.group, commit.topic): commit.offsets for commit in commits}
    return tuple(
        Lag(
            group=group,
            place=Place(topic, partition, end),
            committed=offsets.get((group, topic), {}).get(partition, 0),
        )
        for topic, groups in readers().items()
        for group in groups
        for partition, end in ends.get(topic, {}).items()
        if end
    )
