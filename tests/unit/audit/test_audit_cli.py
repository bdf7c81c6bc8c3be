"""The audit commands' help, refusals and exit codes where no broker is needed."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from services.audit.cli import audit
from services.audit.parameters import TopicName
from services.launcher.brokers.ports import reserve_port


def run(*args: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and everything that a command printed."""
    result = CliRunner().invoke(audit, args, env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", **(env or {})})
    return result.exit_code, result.output


@pytest.mark.parametrize("command", ["timeline", "tail", "replay"])
def test_help_teaches_by_examples_that_are_right(command: str) -> None:
    """Each example is a command line that the command itself accepts."""
    code, text = run(command, "--help")
    assert code == 0
    examples = re.findall(rf"distillery audit {command} ([^|\n]*)", text)
    assert len(examples) >= 3
    for example in examples:
        parsed = audit.commands[command].make_context(command, example.split())
        assert parsed.params


def test_help_documents_the_exit_codes() -> None:
    """For scripts."""
    for command in ("--help", "replay --help"):
        text = run(*command.split())[1]
        assert [code for code in "01234" if f"\n    {code}  " in text] == list("01234")


@pytest.mark.parametrize(
    "command", ["timeline 1313131313131313131", "tail requests", "replay requests --request 1"]
)
def test_a_broker_that_is_down_is_told_in_one_sentence(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which address, and what to do."""
    monkeypatch.setattr("services.audit.adapters.kafka_log.ANSWER_SECONDS", 0.5)
    port = reserve_port()
    code, text = run(*command.split(), env={"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port.number}"})
    port.release()
    assert code == 1
    assert f"Error: No Kafka broker answers at 127.0.0.1:{port.number}" in text
    assert text.rstrip().endswith("start it, or set KAFKA_BOOTSTRAP_SERVERS to where it is.")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("tail requets", "There is no topic 'requets'; the nearest is 'requests'."),
        ("tail zzz", "There is no topic 'zzz'; the topics are requests, moderated,"),
        ("tail requests --since yesterday", "'yesterday' is not a time; write an age such as 90s, 10m or 2h"),
        ("tail requests --last 3 --since 1h", "Only one of --from-beginning, --last and --since"),
        ("timeline 1 --within soon", "'soon' is not a duration"),
        ("replay requests", "Give one of --request, --partition with --offset, and --dead-letters."),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_was_meant(line: str, says: str) -> None:
    """Before any broker is asked; exit code 2."""
    code, text = run(*line.split())
    assert code == 2
    assert says in " ".join(text.split())


def test_a_wrong_setting_is_told_in_one_sentence() -> None:
    """As the stages tell it."""
    code, text = run("tail", "requests", env={"KAFKA_FETCH_WAIT_MS": "soon"})
    assert code == 1
    assert "Error: KAFKA_FETCH_WAIT_MS:" in text


def test_a_topic_s_name_is_completed_to_no_other() -> None:
    """A known name passes as it is."""
    assert TopicName().convert("dead-letters", None, None) == "dead-letters"
    with pytest.raises(click.BadParameter):
        TopicName().convert("dead_letters", None, None)
