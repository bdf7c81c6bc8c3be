"""Settings: read once, described, refused with one clear sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from services.chassis.settings import Secret, SettingsError, StageSettings, describe, load


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One field of every kind."""

    port: Annotated[int, Meta(description="A port.", ge=1, le=65535)] = 80
    name: Annotated[str, Meta(description="A name.")]
    tags: Annotated[list[str], Meta(description="Words.")] = []
    verbose: Annotated[bool, Meta(description="More words.")] = False
    api_key: Annotated[Secret, Meta(description="A credential.")] = Secret("")


def test_values_come_from_upper_case_variables() -> None:
    """Text becomes the field's type."""
    probe = load(Probe, {"PORT": "8080", "NAME": "x", "TAGS": "a,b", "VERBOSE": "true", "API_KEY": "s3cret"})
    assert (probe.port, probe.name, probe.tags, probe.verbose) == (8080, "x", ["a", "b"], True)
    assert probe.api_key.reveal() == "s3cret"


def test_an_empty_variable_counts_as_unset() -> None:
    """Compose files hand out empty strings for what is not set."""
    assert load(Probe, {"NAME": "x", "PORT": ""}).port == 80


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({}, "NAME is not set"),
        ({"NAME": "x", "PORT": "http"}, "PORT: Expected `int`"),
        ({"NAME": "x", "PORT": "0"}, "PORT: Expected `int` >= 1, found '0'"),
        ({"NAME": "x", "VERBOSE": "perhaps"}, "VERBOSE: Expected `bool`"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(env: dict[str, str], sentence: str) -> None:
    """An operator mends it without reading code."""
    with pytest.raises(SettingsError) as refused:
        load(Probe, env)
    assert sentence in str(refused.value)


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """As container platforms mount them; the newline at the end is not part of it."""
    (tmp_path / "key").write_text("s3cret\n")
    assert load(Probe, {"NAME": "x", "API_KEY_FILE": str(tmp_path / "key")}).api_key.reveal() == "s3cret"


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(SettingsError, match="API_KEY_FILE: cannot read"):
        load(Probe, {"NAME": "x", "API_KEY_FILE": str(tmp_path / "none")})


def test_a_secret_never_prints_itself() -> None:
    """Not alone, not in its settings, not in a format string."""
    probe = load(Probe, {"NAME": "x", "API_KEY": "s3cret"})
    for text in (repr(probe), str(probe), f"{probe.api_key}", repr(probe.api_key), describe(Probe)):
        assert "s3cret" not in text


def test_help_names_every_setting_with_its_default() -> None:
    """``--help`` teaches."""
    text = describe(Probe)
    assert "PORT (default 80)" in text
    assert "NAME (required)" in text
    assert "A credential." in text


@pytest.mark.parametrize("prefix", ["a b", "ü", "x" * 65])
def test_a_prefix_that_kafka_would_refuse_is_refused_first(prefix: str) -> None:
    """Topic names take letters, digits, dot, dash and underscore."""
    with pytest.raises(SettingsError, match="TOPIC_PREFIX"):
        load(StageSettings, {"TOPIC_PREFIX": prefix})


def test_everything_binds_to_loopback_by_default() -> None:
    """Nobody else reaches a stage unless told so."""
    assert load(StageSettings, {}).health_host == "127.0.0.1"
