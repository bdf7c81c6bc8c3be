"""What the demo starts, decided from its settings alone.  Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from services.chassis.settings import Secret

NOTICE = (
    "No GPU is used here: the loopback ComfyUI draws these images procedurally from the prompt and the seed. "
    "No model is involved."
)
#: What the loopback Discord knows its one bot by; no secret, since it opens nothing but this machine's sandbox.
SANDBOX_TOKEN = "sandbox-bot-token"  # noqa: S105 - see above
STAGES = ("ingest_bot", "moderator", "dispatcher", "gpu_worker", "notifier")


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What decides between the loopback stand-ins and the real thing."""

    broker: Annotated[
        str,
        Meta(
            description="embedded (nothing kept), local (a real Kafka on this machine's Java, data kept), "
            "docker (one in a container) or, with KAFKA_BOOTSTRAP_SERVERS, external.",
            pattern="^(|embedded|local|docker|external)$",
        ),
    ] = ""
    kafka_bootstrap_servers: Annotated[str, Meta(description="A running Kafka cluster to use.")] = ""
    topic_prefix: Annotated[str, Meta(description="Goes before every topic and group name.")] = ""
    discord_token: Annotated[Secret, Meta(description="Bot token; empty = the loopback Discord.")] = Secret(
        ""
    )
    comfyui_url: Annotated[str, Meta(description="A running ComfyUI; empty = the loopback one.")] = ""
    comfyui_dir: Annotated[str, Meta(description="A ComfyUI checkout for the worker to start.")] = ""
    s3_bucket: Annotated[str, Meta(description="S3 bucket for images; empty = a folder of DEMO_DIR.")] = ""
    object_store_dir: Annotated[str, Meta(description="Folder for images; empty = DEMO_DIR/objects.")] = ""
    demo_dir: Annotated[str, Meta(description="Where the demo keeps data, images and logs.")] = ".demo"
    demo_port: Annotated[int, Meta(description="Port of the page; 0 = any free one.", ge=0, le=65535)] = 8420
    demo_step_seconds: Annotated[
        float, Meta(description="Time of one sampling step of the loopback ComfyUI.", ge=0, le=10)
    ] = 0.15

    def broker_kind(self) -> str:
        """The broker to start: an external one when its address is given and no other is asked for."""
        return self.broker or ("external" if self.kafka_bootstrap_servers else "embedded")

    def with_sandbox_discord(self) -> bool:
        """Whether the loopback Discord stands in."""
        return not self.discord_token

    def with_sandbox_comfyui(self) -> bool:
        """Whether the loopback ComfyUI stands in."""
        return not (self.comfyui_url or self.comfyui_dir)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """TCP ports on 127.0.0.1 that the launcher has reserved."""

    discord: int
    comfyui: int
    health: Mapping[str, int]  #: stage -> port


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process: what to run, with what beside the launcher's own environment, and how it says it is ready."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_url: str = ""


def sandbox_programs(settings: DemoSettings, ports: Ports) -> list[Program]:
    """The loopback stand-ins that the settings call for."""
    programs = []
    if settings.with_sandbox_discord():
        notice = NOTICE if settings.with_sandbox_comfyui() else ""
        argv = _module("services.sandbox.discord", "--port", str(ports.discord), "--notice", notice)
        programs.append(Program(name="discord", argv=argv, ready_url=f"http://127.0.0.1:{ports.discord}/"))
    if settings.with_sandbox_comfyui():
        step = str(settings.demo_step_seconds)
        argv = _module("services.sandbox.comfyui", "--port", str(ports.comfyui), "--step-seconds", step)
        url = f"http://127.0.0.1:{ports.comfyui}/system_stats"
        programs.append(Program(name="comfyui", argv=argv, ready_url=url))
    return programs


def stage_programs(settings: DemoSettings, ports: Ports, bootstrap: str, folder: Path) -> list[Program]:
    """The five stages, pointed at the broker and at whatever stands for the outside."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "TOPIC_PREFIX": settings.topic_prefix}
    env["WORKER_GRACE_SECONDS"] = "3"  # so that jobs are given back within the launcher's patience
    if settings.broker_kind() == "embedded":
        env["KAFKA_FETCH_WAIT_MS"] = "10"  # it holds every empty fetch for the whole wait
        env["KAFKA_SESSION_TIMEOUT_SECONDS"] = "6"
    if not (settings.s3_bucket or settings.object_store_dir):
        env["OBJECT_STORE_DIR"] = str(folder / "objects")
    if settings.with_sandbox_discord():
        env["DISCORD_API_BASE_URL"] = f"http://127.0.0.1:{ports.discord}/api/v10"
        env["DISCORD_TOKEN"] = SANDBOX_TOKEN
    if settings.with_sandbox_comfyui():
        env["COMFYUI_URL"] = f"http://127.0.0.1:{ports.comfyui}"
    return [
        Program(
            name=stage,
            argv=_module(f"services.{stage}"),
            env={**env, "HEALTH_PORT": str(ports.health[stage])},
            ready_url=f"http://127.0.0.1:{ports.health[stage]}/readyz",
        )
        for stage in STAGES
    ]


def _module(name: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *args)
