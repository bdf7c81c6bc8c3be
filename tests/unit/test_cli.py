"""The command line: what it offers, and that it imports only what a command needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from click.testing import CliRunner, Result

from services import __version__
from services.cli import COMMANDS, STAGES, main
from services.launcher.topics.cli import FAILED


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments, env=env)


def test_the_overview_names_every_command_and_imports_none() -> None:
    """``distillery --help`` answers at once, whatever is broken in a stage."""
    code = "import sys; from services.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    overview, _, modules = output.rpartition("\n\n")
    for name, (_, sentence) in COMMANDS.items():
        assert f"{name} " in output
        assert sentence in " ".join(output.split())
    assert not {"faust", "discord", "confluent_kafka"} & set(modules.split())
    assert "stage" in overview + modules


def test_the_topics_commands_need_neither_faust_nor_discord() -> None:
    """An operator's machine has a broker to reach and nothing to run."""
    code = "import sys; import services.launcher.topics.cli; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"faust", "discord", "boto3"} & set(output.split())


@pytest.mark.parametrize("name", ["demo", "serve", "topics"])
def test_a_command_is_where_the_table_says(name: str) -> None:
    """And explains itself."""
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage: main " + name in result.output


def test_an_unknown_command_is_refused() -> None:
    """With click's usage error."""
    assert run("topic").exit_code == 2


def test_the_version_is_the_packages() -> None:
    """One place says it."""
    assert __version__ in run("--version").output


def test_an_unknown_stage_is_answered_with_the_known_ones() -> None:
    """A mistyped name says what could have been meant."""
    result = run("stage", "dispather")
    assert result.exit_code == 2
    assert all(stage in result.output for stage in STAGES)


def test_a_broker_that_is_down_is_one_sentence() -> None:
    """No traceback, and the exit code of a failure."""
    result = run(
        "topics",
        "apply",
        env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_ADMIN_TIMEOUT_SECONDS": "0.3"},
    )
    assert result.exit_code == FAILED
    assert "No Kafka broker at 127.0.0.1:1 answered within 0.3 s" in result.output
    assert "KAFKA_BOOTSTRAP_SERVERS" in result.output


@pytest.mark.parametrize("command", ["apply", "list"])
def test_a_wrong_setting_is_one_sentence(command: str) -> None:
    """It names the setting."""
    result = run("topics", command, env={"TOPIC_PARTITIONS": "zero"})
    assert result.exit_code == FAILED
    assert "TOPIC_PARTITIONS" in result.output
