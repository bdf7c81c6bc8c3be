"""The worker's composition root."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

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
from services.gpu_worker.adapters.comfyui import ComfyUIRenderer
from services.gpu_worker.consumer import LaneConsumer
from services.gpu_worker.decide import Identity
from services.gpu_worker.holdings import Holdings
from services.gpu_worker.jobs import JobRunner
from services.gpu_worker.ports import Renderer
from services.gpu_worker.reporter import Reporter
from services.gpu_worker.settings import WorkerSettings
from services.gpu_worker.sidecar import Sidecar, SidecarError, SidecarOptions
from services.gpu_worker.worker import Worker

log = logs.get_logger()


def main() -> None:
    """Run the stage until it is told to stop."""
    settings = settings_or_exit("gpu_worker", WorkerSettings, ObjectStoreSettings)
    logs.configure("gpu_worker", settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    metrics, health = m.Metrics("gpu_worker"), Health()
    endpoint = HealthEndpoint(health, metrics.registry, settings.health_host, settings.health_port)
    log.info("stage_started", health_port=endpoint.start())
    sidecar: Sidecar | None = None
    try:
        store = open_object_store(load(ObjectStoreSettings))
        sidecar = start_sidecar(settings)
        url = sidecar.url if sidecar else settings.comfyui_url
        build(settings, metrics, health, store, url, restarter(sidecar, metrics)).run(stopping)
    except (ObjectStoreError, SettingsError, SidecarError) as error:
        sys.exit(f"gpu_worker: {error}")
    finally:
        if sidecar is not None:
            sidecar.stop()
        endpoint.stop()
    log.info("stage_stopped")


def build(
    settings: WorkerSettings,
    metrics: m.Metrics,
    health: Health,
    store: ObjectStore,
    comfyui_url: str,
    restart_renderer: Callable[[str], None],
) -> Worker:
    """Put the worker together; nothing runs yet but the connections' threads."""
    me = Identity(worker_id=settings.name(), incarnation=uuid.uuid4().hex)
    codec, clock = open_codec(settings), system_clock
    client = producer_config(settings, f"gpu_worker-{me.worker_id}")
    outbox = SyncOutbox(client, codec, metrics, clock, stage="gpu_worker", prefix=settings.topic_prefix)
    holdings = Holdings()
    renderers: list[Renderer] = [
        # The same client id after a restart: a job that ComfyUI still runs is then heard of again.
        ComfyUIRenderer(comfyui_url, client_id=f"{me.worker_id}-{slot}")
        for slot in range(settings.worker_slots)
    ]
    consumer = LaneConsumer(
        settings, me, holdings, outbox, codec, metrics, health, on_lanes=lambda: reporter.wake()
    )
    reporter = Reporter(me, settings, holdings, renderers[0], outbox, clock, consumer.lanes)
    slots = [(renderer, JobRunner(renderer, store, outbox, metrics, clock)) for renderer in renderers]
    grace = settings.worker_grace_seconds
    return Worker(
        consumer, holdings, reporter, slots, outbox, health,
        grace_seconds=grace, restart_renderer=restart_renderer,
    )  # fmt: skip


def start_sidecar(settings: WorkerSettings) -> Sidecar | None:
    """Start ComfyUI where COMFYUI_DIR names one.

    Raises:
        SidecarError: the folder is none of ComfyUI's.
    """
    if not settings.comfyui_dir:
        return None
    options = SidecarOptions(
        directory=Path(settings.comfyui_dir).expanduser(),
        python=settings.comfyui_python or sys.executable,
        args=settings.comfyui_args,
    )
    sidecar = Sidecar(
        options,
        on_output=lambda line: log.info("comfyui_said", line=line),
        on_event=lambda event: log.info("sidecar_changed", what=event),
    )
    sidecar.start()
    return sidecar


def restarter(sidecar: Sidecar | None, metrics: m.Metrics) -> Callable[[str], None]:
    """What to do with a ComfyUI that is stuck or dead: nothing, where somebody else runs it."""

    def restart(why: str) -> None:
        if sidecar is not None:
            metrics.count(m.SIDECAR_RESTARTS)
            sidecar.restart(why)

    return restart
