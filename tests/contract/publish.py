"""Publishes an event's current schema: ``python -m tests.contract.publish request_moderated``.

Copies ``current.avsc`` to the next number, notes its hash, and notes the golden bytes of that version's examples.
Before it, put examples into ``schemas/examples/<event>/<next number>`` and a heading into the event's changelog.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from services.contracts.schema_files import (
    EVENT_TYPES,
    event_name,
    read_schema,
    schemas_dir,
)
from tests.contract.checker import HASHES, RULES, EventFolder, content_hash
from tests.contract.examples import examples_of
from tests.contract.golden import FOLDER, write_golden


def publish(name: str, schemas: Path, golden: Path) -> str | None:
    """Publish the event of that name; returns what keeps it from being published, if anything does."""
    event_type = next((t for t in EVENT_TYPES if event_name(t) == name), None)
    if event_type is None:
        return f"{name} is no event; they are {', '.join(map(event_name, EVENT_TYPES))}."
    events = schemas / "events"
    folder = EventFolder.read(events / name)
    number = max(folder.published, default=0) + 1
    if complaints := _complaints(folder, events, number):
        return "Nothing was published.\n" + "\n".join(complaints)
    current = folder.path / "current.avsc"
    schema = replace(read_schema(event_type, current), version=str(number))
    try:
        records = {example.name: example.record() for example in examples_of(schema, schemas / "examples")}
    except (ValueError, TypeError) as error:
        return f"Nothing was published.\nAn example in {name}/{number} does not fit its schema: {error}"
    shutil.copyfile(current, folder.path / f"{number}.avsc")
    with (events / HASHES).open("a", encoding="utf-8") as hashes:
        hashes.write(f"{content_hash(schema.raw)}  {name}/{number}\n")
    write_golden(schema, records, golden)
    return None


def _complaints(folder: EventFolder, events: Path, number: int) -> list[str]:
    """What keeps the current schema from becoming version ``number``."""
    first = f"{folder.name} has the versions []"  # what every rule must hold against an event that is new
    found = [c for rule in RULES for c in rule(events) if folder.published or not c.startswith(first)]
    if number > 1 and folder.current == folder.published[number - 1]:
        found.append(f"{folder.name}/current.avsc is version {number - 1} already")
    if number not in folder.headings():
        found.append(f"{folder.name}/CHANGELOG.md has no heading for {number}")
    if not any((events.parent / "examples" / folder.name / str(number)).glob("*.json")):
        found.append(f"schemas/examples/{folder.name}/{number} holds no example")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(publish(sys.argv[1], schemas_dir(), FOLDER))
