"""The harness's own promise: a stage runs as in production, and is started, frozen, killed and restarted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.kafka import KafkaCorner
from tests.harness.stage import StageProcess, StartStage
from tests.harness.waiting import eventually


def test_a_stage_is_ready_logs_json_and_ends_by_sigterm(
    chain_kafka: KafkaCorner, start_stage: StartStage
) -> None:
    """A started stage answers /readyz and /metrics, logs events, and ends with code 0."""
    stage = start_stage("moderator")
    assert stage.get("/readyz")[0] == 200
    assert "# TYPE distillery_" in stage.get("/metrics")[1]
    assert any("event" in line for line in stage.logs())
    assert stage.stop() == 0
    assert stage.get("/readyz") == (0, "")


def test_a_killed_stage_comes_back_on_its_port(chain_kafka: KafkaCorner, start_stage: StartStage) -> None:
    """After SIGKILL the same process object starts again, at the same address, on the same log."""
    stage = start_stage("moderator")
    port, first, lines = stage.port, stage.pid, len(stage.logs())
    stage.kill()
    assert stage.exit_code() == -9
    stage.restart()
    assert stage.port == port
    assert stage.pid != first
    assert len(stage.logs()) > lines


def test_a_frozen_stage_answers_again_when_thawed(chain_kafka: KafkaCorner, start_stage: StartStage) -> None:
    """SIGSTOP silences a stage without ending it."""
    stage = start_stage("moderator")
    stage.pause()
    assert stage.get("/healthz") == (0, "")
    stage.resume()
    eventually(lambda: stage.get("/healthz")[0] == 200)


def test_a_stage_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    """The failure holds what the stage said, so that nobody has to look for a log."""
    stage = StageProcess("moderator", {"TOPIC_PREFIX": "not/allowed"}, tmp_path)
    stage.start()
    with pytest.raises(
        AssertionError, match=r"(?s)moderator ended with code \d+ before it was ready.*TOPIC_PREFIX"
    ):
        stage.wait_ready()
    stage.close()
