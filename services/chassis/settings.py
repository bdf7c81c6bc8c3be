"""Settings: frozen msgspec structs read once from the environment by a composition root.

A field ``health_port: Annotated[int, Meta(description=..., ge=0)] = 0`` is read from ``HEALTH_PORT``.
An empty variable counts as unset; ``list`` fields are comma-separated; a `Secret` may also be given as a
file, ``DISCORD_TOKEN_FILE``, which is how container platforms hand out secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it, what was expected and what to do."""


class Secret:
    """A credential that never prints itself; `reveal` is the only way to its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret's text, to be handed to a client library and nothing else."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(***)"


class StageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every stage can be told."""

    kafka_bootstrap_servers: Annotated[
        str, Meta(description="Kafka brokers, as host:port separated by commas.", min_length=3)
    ] = "127.0.0.1:9092"
    kafka_security_protocol: Annotated[
        str, Meta(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        str, Meta(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used with SASL_*.")
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str, Meta(description="User name for SASL_*.")] = ""
    kafka_sasl_password: Annotated[Secret, Meta(description="Password for SASL_*.")] = Secret("")
    kafka_ca_file: Annotated[str, Meta(description="CA bundle for SSL; empty = the system's.")] = ""
    kafka_session_timeout_seconds: Annotated[
        float, Meta(description="A Faust stage silent for so long loses its partitions.", ge=1, le=60)
    ] = 10.0
    kafka_fetch_wait_ms: Annotated[
        int,
        Meta(
            description="Longest that a broker may hold an empty fetch; the embedded broker always holds it "
            "for so long, a real one answers at once when a record arrives.",
            ge=1,
            le=10_000,
        ),
    ] = 500
    schema_registry_url: Annotated[
        str, Meta(description="Schema Registry; records then carry Confluent framing. Empty = none.")
    ] = ""
    topic_prefix: Annotated[
        str, Meta(description="Goes before every topic and group name.", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    ] = ""
    health_host: Annotated[str, Meta(description="Where /metrics, /healthz and /readyz listen.")] = (
        "127.0.0.1"
    )
    health_port: Annotated[
        int, Meta(description="Port of /metrics, /healthz and /readyz; 0 = any free one.", ge=0, le=65535)
    ] = 0
    log_level: Annotated[str, Meta(description="debug, info, warning or error.")] = "info"


def load(struct: type[S], env: Mapping[str, str] | None = None) -> S:
    """Read ``struct`` from ``env`` (the process's own by default).

    Raises:
        SettingsError: a value is missing or does not fit; secrets are not quoted.
    """
    env = os.environ if env is None else env
    raw: dict[str, object] = {}
    for name, hint in _fields(struct):
        if (text := _text_of(name, hint, env)) is not None:
            raw[name] = text.split(",") if get_origin(hint) in (list, tuple) else text
    try:
        return msgspec.convert(raw, struct, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        _refuse(error, raw, struct)


def describe(struct: type[msgspec.Struct]) -> str:
    """One line per setting with its default and meaning, for ``--help`` and the documentation."""
    hints = get_type_hints(struct, include_extras=True)
    defaults = {f.name: f.default for f in msgspec.structs.fields(struct)}
    lines = []
    for name in struct.__struct_fields__:
        meta = next((m for m in get_args(hints[name]) if isinstance(m, Meta)), Meta())
        default = defaults[name]
        shown = "required" if default is msgspec.NODEFAULT else f"default {_shown(default)}"
        lines.append(f"  {name.upper()} ({shown})\n      {meta.description or ''}")
    return "\n".join(lines)


def _shown(default: object) -> str:
    return "none" if isinstance(default, Secret) or default in ("", [], (), None) else str(default)


def _fields(struct: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(struct, include_extras=False).items():
        if name in struct.__struct_fields__:
            yield name, hint


def _text_of(name: str, hint: Any, env: Mapping[str, str]) -> str | None:
    if text := env.get(name.upper(), "").strip():
        return text
    path = env.get(f"{name.upper()}_FILE", "") if hint is Secret else ""
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name.upper()}_FILE: cannot read {path} ({error.strerror}).") from error


def _decode(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise NotImplementedError(kind)


def _refuse(error: msgspec.ValidationError, raw: Mapping[str, object], struct: type) -> NoReturn:
    text = str(error)
    reason, _, place = text.partition(" - at `$.")
    name = place.rstrip("`").split("[")[0].split("`")[0]
    if not name and "missing required field" in text:
        missing = text.split("`")[1]
        raise SettingsError(f"{missing.upper()} is not set and has no default; see --help.") from None
    hint = get_type_hints(struct).get(name)
    value = "its value (hidden)" if hint is Secret else repr(raw.get(name))
    raise SettingsError(f"{name.upper()}: {reason}, found {value}; see --help.") from None
