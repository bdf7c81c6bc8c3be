"""Golden bytes: what each example was as a record on the day its version was published, one line an example."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from pathlib import Path

from services.contracts.schema_files import EventSchema, event_name

FOLDER = Path(__file__).parent / "golden"


def read_golden(schema: EventSchema, folder: Path = FOLDER) -> dict[str, bytes]:
    """The record of every example of one version, by the example's name."""
    lines = _path(schema, folder).read_text(encoding="ascii").splitlines()
    pairs = (line.split(" ", 1) for line in lines)
    return {name: zlib.decompress(b64decode(text)) for name, text in pairs}


def write_golden(schema: EventSchema, records: dict[str, bytes], folder: Path = FOLDER) -> None:
    """Note the records of a version that is being published."""
    lines = (
        f"{name} {b64encode(zlib.compress(record, 9)).decode()}\n" for name, record in sorted(records.items())
    )
    path = _path(schema, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="ascii")


def _path(schema: EventSchema, folder: Path) -> Path:
    return folder / event_name(schema.event_type) / f"{schema.version}.txt"
