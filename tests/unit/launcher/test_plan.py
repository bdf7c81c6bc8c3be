"""Which programs the demo runs, and what each is told, for the settings that matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from services.chassis.settings import SettingsError, load
from services.launcher.plan import (
    NOTICE,
    SANDBOX_TOKEN,
    STAGES,
    DemoSettings,
    Ports,
    Program,
    sandbox_programs,
    stage_programs,
)

PORTS = Ports(discord=8001, comfyui=8002, health={stage: 9000 + n for n, stage in enumerate(STAGES)})
SECRET = "a-real-bot-token"


def settings_of(env: Mapping[str, str]) -> DemoSettings:
    """The settings that an environment gives."""
    return load(DemoSettings, env)


def sandboxes(**env: str) -> dict[str, Program]:
    """The loopback stand-ins by name."""
    return {program.name: program for program in sandbox_programs(settings_of(env), PORTS)}


def stages(**env: str) -> dict[str, Program]:
    """The stages by name."""
    programs = stage_programs(settings_of(env), PORTS, "127.0.0.1:7000", Path("demo"))
    return {program.name: program for program in programs}


def env_of_all(**env: str) -> dict[str, str]:
    """What every stage is told alike."""
    each = [{**program.env} for program in stages(**env).values()]
    return dict(set.intersection(*(set(one.items()) for one in each)))


def option(program: Program, name: str) -> str:
    """The value of a command-line option."""
    return program.argv[program.argv.index(name) + 1]


def test_without_settings_both_worlds_are_loopback_ones() -> None:
    """The demo needs nothing: no account, no GPU, no cluster."""
    assert settings_of({}).broker_kind() == "embedded"
    assert set(sandboxes()) == {"discord", "comfyui"}
    assert option(sandboxes()["discord"], "--port") == "8001"
    assert option(sandboxes()["comfyui"], "--port") == "8002"
    assert env_of_all() == {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:7000",
        "TOPIC_PREFIX": "",
        "WORKER_GRACE_SECONDS": "3",
        "KAFKA_FETCH_WAIT_MS": "10",
        "KAFKA_SESSION_TIMEOUT_SECONDS": "6",
        "OBJECT_STORE_DIR": str(Path("demo") / "objects"),
        "DISCORD_API_BASE_URL": "http://127.0.0.1:8001/api/v10",
        "DISCORD_TOKEN": SANDBOX_TOKEN,
        "COMFYUI_URL": "http://127.0.0.1:8002",
    }


def test_every_stage_runs_once_with_a_health_port_of_its_own() -> None:
    """And the launcher asks that port whether it is ready."""
    programs = stages()
    assert tuple(programs) == STAGES
    for stage, program in programs.items():
        assert program.argv[1:] == ("-m", f"services.{stage}")
        assert program.env["HEALTH_PORT"] == str(PORTS.health[stage])
        assert program.ready_url == f"http://127.0.0.1:{PORTS.health[stage]}/readyz"


def test_with_a_bot_token_the_real_discord_is_used() -> None:
    """No stage is told another address, so each takes Discord's own and the token of its environment."""
    assert set(sandboxes(DISCORD_TOKEN=SECRET)) == {"comfyui"}
    told = env_of_all(DISCORD_TOKEN=SECRET)
    assert not {"DISCORD_API_BASE_URL", "DISCORD_TOKEN"} & set(told)


@pytest.mark.parametrize(
    "env", [{"COMFYUI_URL": "http://127.0.0.1:8188"}, {"COMFYUI_DIR": "comfy"}], ids=["running", "to-start"]
)
def test_with_a_comfyui_of_ones_own_that_one_draws(env: dict[str, str]) -> None:
    """No stage is told another, and the page does not say that no model is involved."""
    programs = sandboxes(**env)
    assert set(programs) == {"discord"}
    assert option(programs["discord"], "--notice") == ""
    assert "COMFYUI_URL" not in env_of_all(**env)


def test_the_page_says_when_no_model_draws() -> None:
    """Nobody shall take the procedural images for a model's."""
    assert option(sandboxes()["discord"], "--notice") == NOTICE


@pytest.mark.parametrize("env", [{"S3_BUCKET": "images"}, {"OBJECT_STORE_DIR": "elsewhere"}])
def test_with_a_store_of_ones_own_no_folder_of_the_demos_is_used(env: dict[str, str]) -> None:
    """The stages take the store from their environment."""
    assert "OBJECT_STORE_DIR" not in env_of_all(**env)


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ({"BROKER": "local"}, "local"),
        ({"BROKER": "docker"}, "docker"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092"}, "external"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092", "BROKER": "embedded"}, "embedded"),
    ],
)
def test_the_broker_is_the_one_asked_for(env: dict[str, str], kind: str) -> None:
    """An address alone asks for that cluster; a kind says more than an address."""
    assert settings_of(env).broker_kind() == kind


@pytest.mark.parametrize("env", [{"BROKER": "local"}, {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092"}])
def test_a_real_broker_needs_no_mends_of_the_embedded_one(env: dict[str, str]) -> None:
    """Short fetches would only cost it work, and sessions are its operator's choice."""
    assert not {"KAFKA_FETCH_WAIT_MS", "KAFKA_SESSION_TIMEOUT_SECONDS"} & set(env_of_all(**env))


def test_every_stage_has_the_prefix_and_the_address_of_the_broker_that_runs() -> None:
    """A cluster can hold several demos."""
    told = env_of_all(TOPIC_PREFIX="blue-")
    assert (told["TOPIC_PREFIX"], told["KAFKA_BOOTSTRAP_SERVERS"]) == ("blue-", "127.0.0.1:7000")


@pytest.mark.parametrize("env", [{}, {"DISCORD_TOKEN": SECRET}])
def test_no_secret_is_on_a_command_line(env: dict[str, str]) -> None:
    """Everyone on the machine can read those."""
    for program in (*sandboxes(**env).values(), *stages(**env).values()):
        assert not {SECRET, SANDBOX_TOKEN} & set(program.argv)


def test_the_time_of_a_step_reaches_the_loopback_comfyui() -> None:
    """A demo for people takes its time, one for tests none."""
    assert float(option(sandboxes(DEMO_STEP_SECONDS="0")["comfyui"], "--step-seconds")) == 0


@pytest.mark.parametrize("env", [{"BROKER": "rabbit"}, {"DEMO_PORT": "65536"}, {"DEMO_STEP_SECONDS": "-1"}])
def test_a_wrong_setting_is_named(env: dict[str, str]) -> None:
    """The sentence begins with it."""
    (name,) = env
    with pytest.raises(SettingsError, match=f"^{name}: "):
        settings_of(env)
