"""Stage cards against the topic registry, names that the broker remembers, settings that explain themselves."""

from __future__ import annotations

import importlib
import re
from typing import Any

import msgspec
import pytest

from services.chassis.faust_app import create_app
from services.chassis.settings import StageSettings, describe
from services.cli import COMMANDS
from services.contracts.topics import TOPIC_NAMES, load_topics
from services.dispatcher.settings import DispatcherSettings
from services.gpu_worker.consumer import consumer_config
from services.gpu_worker.settings import WorkerSettings
from services.ingest_bot.settings import IngestSettings
from services.launcher.plan import STAGES, DemoSettings
from services.moderator.settings import ModeratorSettings
from services.notifier.settings import NotifierSettings

SETTINGS = (
    IngestSettings,
    ModeratorSettings,
    DispatcherSettings,
    WorkerSettings,
    NotifierSettings,
    DemoSettings,
)


def on_card(stage: str, word: str) -> set[str]:
    """The topics that a stage's card names after ``word``."""
    card = importlib.import_module(f"services.{stage}").__doc__ or ""
    (line,) = re.findall(rf"^{word}: (.*)$", card, re.MULTILINE)
    return {name for name in re.findall(r"[a-z-]+", line) if name in TOPIC_NAMES}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_consumes_what_its_card_and_the_topic_files_say(stage: str) -> None:
    """But for a state's own topic, which is read back and not consumed."""
    declared = {topic.name for topic in load_topics().values() if stage in topic.consumers}
    own = {topic.name for topic in load_topics().values() if topic.producers == (stage,)}
    assert on_card(stage, "Consumes") == declared - own


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_produces_what_its_card_and_the_topic_files_say(stage: str) -> None:
    """Dead letters apart, which every stage may write."""
    declared = {topic.name for topic in load_topics().values() if stage in topic.producers}
    assert on_card(stage, "Produces") == declared - {"dead-letters"}


@pytest.mark.parametrize("stage", ["ingest_bot", "moderator", "dispatcher", "notifier"])
def test_the_consumer_group_of_a_faust_stage_is_prefix_and_stage(stage: str) -> None:
    """The broker remembers its offsets: a new name reads every topic from the start."""
    assert create_app(stage, StageSettings(topic_prefix="blue-")).conf.id == f"blue-{stage}"


def test_the_consumer_group_of_the_workers_is_pinned() -> None:
    """All workers of an installation share the lanes."""
    assert consumer_config(WorkerSettings(topic_prefix="blue-"))["group.id"] == "blue-gpu_worker"


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_setting_says_what_it_means(settings: type[msgspec.Struct]) -> None:
    """``--help`` is the documentation."""
    lines = describe(settings).splitlines()
    undescribed = [name for name, meaning in zip(lines[::2], lines[1::2], strict=True) if not meaning.strip()]
    assert undescribed == []


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_setting_of_a_time_says_its_unit(settings: type[Any]) -> None:
    """``…_SECONDS`` or ``…_MS``, never a bare timeout."""
    vague = re.compile(r"(timeout|deadline|interval|period|wait|grace)$")
    assert [name for name in settings.__struct_fields__ if vague.search(name)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_console_script_can_be_imported(name: str) -> None:
    """And explains itself."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    assert getattr(importlib.import_module(module), attribute).help


def test_importing_a_stage_needs_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only composition roots read it, and only when they run."""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "DISCORD_TOKEN", "TOPIC_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    for stage in STAGES:
        importlib.reload(importlib.import_module(f"services.{stage}.app"))
