"""The worker's composition root."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.chassis import logs
from services.chassis import metrics as m
from services.chassis.clock import system_clock
from services.chassis.health import Health, HealthEndpoint
from services.chassis.kafka import producer_config
from services.chassis.object_store import (
    ObjectStore,
    ObjectStoreError,
    ObjectStoreSettings,
    open_object_store,
)
from services.chassis.schema_registry import open_codec
from services.chassis.settings import SettingsError, load
from services.chassis.stage import settings_or_exit
from services.chassis.sync_outbox import SyncOutbox
from services.contracts.codec import Codec
from services.contracts.events import BacklogReported, CancellationRequested
from services.contracts.topics import BACKLOGS, CANCELLATIONS
from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.attaching import Attaching
from services.gpu_worker.availability import Availability
from services.gpu_worker.broadcasts import BroadcastReader
from services.gpu_worker.cancelling import LOOK_BACK, Canceller, Taken
from services.gpu_worker.consumer import LaneConsumer
from services.gpu_worker.disk import Disk, DiskWatch
from services.gpu_worker.holdings import Assignment, Holdings
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.lease import Lease
from services.gpu_worker.ports import Renderer
from services.gpu_worker.reporter import Reporter
from services.gpu_worker.settings import WorkerSettings
from services.gpu_worker.sidecar import Sidecar, SidecarError, SidecarOptions
from services.gpu_worker.slot import Slot
from services.gpu_worker.spot import SpotWatch
from services.gpu_worker.warm_up import open_warm_up
from services.gpu_worker.worker import Worker

log = logs.get_logger()
#: Reports that the dispatcher lets a worker miss before it gives its jobs to others.
SILENT_REPORTS = 3
_MIB = 1024**2


def main() -> None:
    """Run the stage until it is told to stop."""
    settings = settings_or_exit("gpu_worker", WorkerSettings, ObjectStoreSettings)
    logs.configure("gpu_worker", settings.log_level)
    stopping, reclaimed = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    signal.signal(signal.SIGUSR1, lambda *_: reclaimed.set())
    metrics, health = m.Metrics("gpu_worker"), Health()
    endpoint = HealthEndpoint(health, metrics.registry, settings.health_host, settings.health_port)
    log.info("stage_started", health_port=endpoint.start())
    try:
        store = open_object_store(load(ObjectStoreSettings))
        with ExitStack() as closing:
            worker = build(settings, metrics, health, store, reclaimed, closing)
            worker.run(stopping, reclaimed)
    except (ObjectStoreError, SettingsError, SidecarError) as error:
        sys.exit(f"gpu_worker: {error}")
    finally:
        endpoint.stop()
    log.info("stage_stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What most parts of a worker are given."""

    settings: WorkerSettings
    metrics: m.Metrics
    codec: Codec
    outbox: SyncOutbox
    availability: Availability
    lease: Lease
    holdings: Holdings = field(default_factory=Holdings)
    taken: Taken = field(default_factory=Taken)
    abandoning: threading.Event = field(default_factory=threading.Event)
    slots: list[Slot] = field(default_factory=list)  #: filled last: ComfyUI is started before they are there


def build(
    settings: WorkerSettings,
    metrics: m.Metrics,
    health: Health,
    store: ObjectStore,
    reclaimed: threading.Event,
    closing: ExitStack,
) -> Worker:
    """Put the worker together, and start what runs beside it; ``closing`` ends that."""
    kit = open_kit(
        settings, metrics, health, changed=lambda: reporter.changed(), lapsed=lambda: worker.start_over()
    )
    renderers, restart_renderer = open_comfyui(kit, closing)

    def on_job(assignment: Assignment) -> None:
        attaching.took()
        canceller.arrived(assignment)

    consumer = LaneConsumer(
        settings, kit.lease, kit.holdings, kit.outbox, kit.codec, metrics, health,
        on_lanes=lambda: reporter.wake(), on_job=on_job,
    )  # fmt: skip
    attaching = open_attaching(kit, checkpoints=lambda: reporter.checkpoints(), moved=lambda: reporter.wake())
    reporter = Reporter(
        kit.lease, settings, kit.holdings, kit.availability, renderers, kit.outbox, system_clock,
        consumer.lanes, attaching.place,
    )  # fmt: skip
    interrupt = interrupter(renderers)
    canceller = Canceller(
        kit.taken, kit.holdings, kit.outbox, metrics, system_clock,
        interrupt=interrupt, finished=consumer.finished, leaving=kit.abandoning,
    )  # fmt: skip
    start_readers(kit, canceller, attaching, closing)
    disk = start_watches(kit, reclaimed, closing)
    open_slots(kit, renderers, store, disk, consumer.finished, reporter.relist, restart_renderer)
    worker = Worker(
        consumer, kit.holdings, reporter, kit.slots, kit.outbox, health, kit.availability,
        interrupt=interrupt, abandoning=kit.abandoning, grace_seconds=settings.worker_grace_seconds,
    )  # fmt: skip
    return worker


def open_kit(
    settings: WorkerSettings,
    metrics: m.Metrics,
    health: Health,
    *,
    changed: Callable[[], None],
    lapsed: Callable[[], None],
) -> Kit:
    """The parts that know of no other; the callbacks say when the worker's availability or its identity changed."""
    codec = open_codec(settings)
    client = producer_config(settings, f"gpu_worker-{settings.name()}")
    return Kit(
        settings=settings,
        metrics=metrics,
        codec=codec,
        outbox=SyncOutbox(
            client, codec, metrics, system_clock, stage="gpu_worker", prefix=settings.topic_prefix
        ),
        availability=Availability(health, changed),
        lease=Lease(settings.name(), SILENT_REPORTS * settings.worker_report_seconds, lapsed=lapsed),
    )


def start_sidecar(kit: Kit, closing: ExitStack) -> Sidecar | None:
    """Start ComfyUI where COMFYUI_DIR names one.

    Raises:
        SidecarError: the folder is none of ComfyUI's.
    """
    settings = kit.settings
    if not settings.comfyui_dir:
        return None

    def on_ready(ready: bool) -> None:
        if not ready:
            for slot in kit.slots:
                slot.cool()

    options = SidecarOptions(
        directory=Path(settings.comfyui_dir).expanduser(),
        python=settings.comfyui_python or sys.executable,
        args=settings.comfyui_args,
    )
    sidecar = Sidecar(
        options,
        on_output=lambda line: log.info("comfyui_said", line=line),
        on_event=lambda event: log.info("sidecar_changed", what=event),
        on_ready=on_ready,
    )
    closing.callback(sidecar.stop)
    sidecar.start()
    return sidecar


def open_attaching(
    kit: Kit, *, checkpoints: Callable[[], tuple[str, ...]], moved: Callable[[], None]
) -> Attaching:
    """What says where to report."""
    return Attaching(
        kit.settings.name(),
        kit.holdings,
        kit.metrics,
        checkpoints=checkpoints,
        offers=lambda: kit.availability.why_not() is None,
        moved=moved,
        session_seconds=kit.settings.kafka_session_timeout_seconds,
    )


def start_readers(kit: Kit, canceller: Canceller, attaching: Attaching, closing: ExitStack) -> None:
    """Start to hear what is told to every worker: cancellations, and what waits at each dispatcher."""
    cancellations = BroadcastReader(
        kit.settings, kit.codec, system_clock, CANCELLATIONS, CancellationRequested, canceller.heard,
        look_back=LOOK_BACK,
    )  # fmt: skip
    backlogs = BroadcastReader(
        kit.settings, kit.codec, system_clock, BACKLOGS, BacklogReported,
        lambda event: attaching.heard(event, backlogs.partitions), look_back=None,
    )  # fmt: skip
    _start((cancellations, backlogs), closing)


def start_watches(kit: Kit, reclaimed: threading.Event, closing: ExitStack) -> DiskWatch:
    """Start the threads that look at the machine beside the work: at its disk, and for a spot notice."""
    settings = kit.settings
    disk = DiskWatch(
        Disk(settings.comfyui_folders(), settings.worker_least_free_mib * _MIB), kit.availability
    )
    spot = SpotWatch(settings.worker_spot_notice_url, reclaimed.set)
    _start((disk, spot) if settings.worker_spot_notice_url else (disk,), closing)
    return disk


def _start(threads: Sequence[BroadcastReader[Any] | DiskWatch | SpotWatch], closing: ExitStack) -> None:
    for thread in threads:
        closing.callback(thread.stop)
        thread.start()


def open_comfyui(kit: Kit, closing: ExitStack) -> tuple[list[Renderer], Callable[[str], None]]:
    """A renderer for each slot, all on one ComfyUI, and what starts that again when it is stuck or dead."""
    sidecar = start_sidecar(kit, closing)
    url = sidecar.url if sidecar else kit.settings.comfyui_url
    # The same client id after a restart: a job that ComfyUI still runs is then heard of again.
    ids = [f"{kit.settings.name()}-{slot}" for slot in range(kit.settings.worker_slots)]
    return [ComfyUIRenderer(url, client_id=client_id) for client_id in ids], restarter(sidecar, kit.metrics)


def open_slots(
    kit: Kit,
    renderers: Sequence[Renderer],
    store: ObjectStore,
    disk: DiskWatch,
    finished: Callable[[Assignment], None],
    relist: Callable[[], None],
    restart_renderer: Callable[[str], None],
) -> None:
    """Put what runs the jobs into the kit.

    Raises:
        SettingsError: WORKER_WARM_UP names no workflow.
    """
    warm_up = open_warm_up(kit.settings.worker_warm_up, kit.settings.worker_warm_up_seconds)
    kit.slots.extend(
        Slot(
            renderer,
            JobRunner(renderer, store, kit.outbox, kit.metrics, system_clock, kit.taken.covers),
            kit.lease,
            kit.holdings,
            kit.availability,
            disk,
            warm_up=warm_up,
            abandoning=kit.abandoning,
            finished=finished,
            relist=relist,
            restart_renderer=restart_renderer,
        )
        for renderer in renderers
    )


def interrupter(renderers: Sequence[Renderer]) -> Callable[[str], bool]:
    """Stops a prompt, whichever slot runs it; true where ComfyUI had it."""

    def interrupt(prompt_id: str) -> bool:
        known = [
            renderer.interrupt(prompt_id) for renderer in renderers
        ]  # each, so that its own slot hears of it
        return any(known)

    return interrupt


def restarter(sidecar: Sidecar | None, metrics: m.Metrics) -> Callable[[str], None]:
    """What to do with a ComfyUI that is stuck or dead: nothing, where somebody else runs it."""

    def restart(why: str) -> None:
        if sidecar is not None:
            metrics.count(m.SIDECAR_RESTARTS)
            sidecar.restart(why)

    return restart
