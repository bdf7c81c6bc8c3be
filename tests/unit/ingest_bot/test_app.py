"""What is wrong with an installation is said in one sentence before anything starts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from services.chassis.settings import load
from services.ingest_bot import app
from services.ingest_bot.policy import Policy
from services.ingest_bot.settings import IngestSettings


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "ingest_bot: DISCORD_TOKEN is not set and has no default"),
        ({"DISCORD_TOKEN": "t", "DISCORD_SHARD_IDS": "0,2"}, "ingest_bot: DISCORD_SHARD_IDS needs DISCORD_SHARD_COUNT"),
        ({"DISCORD_TOKEN": "t", "DISCORD_SYNC": "often"}, "ingest_bot: DISCORD_SYNC: Invalid enum value 'often'"),
        ({"DISCORD_TOKEN": "t", "DISCORD_PLANS": "1=pro,me=pro"}, "ingest_bot: DISCORD_PLANS: "),
        ({"DISCORD_TOKEN": "t", "WORKFLOWS_DIRS": "/nowhere/at/all"}, "/nowhere/at/all: cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_setting_ends_the_stage_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], said: str
) -> None:
    """It names the setting; nobody has to read a traceback."""
    for name in (
        "DISCORD_TOKEN",
        "DISCORD_TOKEN_FILE",
        "DISCORD_SHARD_IDS",
        "DISCORD_SHARD_COUNT",
        "DISCORD_SYNC",
        "DISCORD_PLANS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["ingest_bot"])
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert said in str(ended.value)


def test_a_faulty_workflow_ends_the_stage_with_its_faults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Found when it starts, not by the first user who asks for it."""
    (tmp_path / "broken").mkdir()
    monkeypatch.setattr("sys.argv", ["ingest_bot"])
    monkeypatch.setenv("DISCORD_TOKEN", "t")
    monkeypatch.setenv("WORKFLOWS_DIRS", f" {tmp_path}")
    with pytest.raises(SystemExit, match=r"ingest_bot: .*/broken/graph\.json: cannot be read"):
        app.main()


def test_settings_become_the_policy() -> None:
    """Each limit is a setting, and the defaults of both agree."""
    assert load(IngestSettings, {"DISCORD_TOKEN": "t"}).policy() == Policy()
    env = {
        "DISCORD_TOKEN": "t", "PROMPT_MAX_CHARS": "10", "IMAGES_MAX": "2", "REQUEST_LIFETIME_SECONDS": "60",
        "INPUT_MAX_BYTES": "2048", "INPUT_MAX_PIXELS": "4096",
        "DISCORD_PLANS": "1=pro, 2=team",
    }  # fmt: skip
    assert load(IngestSettings, env).policy() == Policy(
        prompt_chars=10,
        images=2,
        lifetime=timedelta(minutes=1),
        input_bytes=2048,
        input_pixels=4096,
        plans=(("1", "pro"), ("2", "team")),
    )


def test_several_shards_and_folders_are_separated_by_commas() -> None:
    """As in the documentation of the settings."""
    env = {"DISCORD_TOKEN": "t", "DISCORD_SHARD_IDS": "0,2", "WORKFLOWS_DIRS": "a,b"}
    settings = load(IngestSettings, env)
    assert (settings.discord_shard_ids, settings.workflows_dirs) == ((0, 2), ("a", "b"))
