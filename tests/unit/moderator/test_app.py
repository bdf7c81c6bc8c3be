"""Which policy a moderator starts with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.chassis.settings import SettingsError, load
from services.moderator.app import load_policy
from services.moderator.policy import PolicyError
from services.moderator.settings import ModeratorSettings
from tests.unit.moderator.requests import SMALL


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A policy file of an operator's own."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_the_policy_that_ships_is_the_default() -> None:
    """Without any setting there are rules and a daily quota."""
    policy = load_policy(load(ModeratorSettings, {}))
    assert policy.rules
    assert policy.quota("free") == 100


def test_a_file_of_one_s_own_replaces_it(small_file: Path) -> None:
    """Whole: nothing of the shipped rules is left."""
    policy = load_policy(load(ModeratorSettings, {"POLICY_FILE": str(small_file)}))
    assert policy.version.startswith("small+")
    assert policy.broken_rules("nude") == []


@pytest.mark.parametrize(("setting", "quota"), [("0", None), ("7", 7), ("-1", 2)])
def test_one_setting_replaces_every_quota(small_file: Path, setting: str, quota: int | None) -> None:
    """Zero lifts the limit, -1 leaves the file's."""
    policy = load_policy(load(ModeratorSettings, {"POLICY_FILE": str(small_file), "DAILY_QUOTA": setting}))
    assert policy.quota("free") == quota


def test_a_replaced_quota_shows_in_the_version(small_file: Path) -> None:
    """An event's policy version alone must tell by which rules it was decided."""
    env = {"POLICY_FILE": str(small_file)}
    versions = {
        load_policy(load(ModeratorSettings, env | {"DAILY_QUOTA": q})).version for q in ("-1", "0", "7")
    }
    assert len(versions) == 3


def test_a_quota_below_no_quota_is_refused() -> None:
    """-2 means nothing."""
    with pytest.raises(SettingsError, match="DAILY_QUOTA"):
        load(ModeratorSettings, {"DAILY_QUOTA": "-2"})


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    """It is missing, or it is no text."""
    path = tmp_path / "policy.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=r"POLICY_FILE: .*policy\.yaml cannot be read"):
        load_policy(load(ModeratorSettings, {"POLICY_FILE": str(path)}))


def test_a_wrong_policy_ends_the_process_with_one_sentence(tmp_path: Path) -> None:
    """No traceback: the file, the field and what was expected."""
    path = tmp_path / "policy.yaml"
    path.write_text(SMALL.replace("default_quota: 2", "default_quota: lots"), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "services.moderator"],
        env=os.environ | {"POLICY_FILE": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("moderator: policy.yaml: default_quota: Expected `int | null`")
    assert len(ended.stderr.splitlines()) == 1
