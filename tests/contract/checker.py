"""The rules of ``schemas/events``, each a function from a folder of schemas to the sentences that say what breaks it.

Pure but for reading files.  The rules are FULL_TRANSITIVE compatibility and what that does not see: Avro's
fingerprint leaves out defaults, logical types and aliases, so two schemas that differ only there are one to a reader.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from services.contracts.schema_files import CURRENT, avro_fingerprint

Schema = dict[str, Any]
HASHES = "PUBLISHED.sha256"
PRIMITIVES = frozenset({"string", "long", "double", "boolean"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFolder:
    """One event's folder: its published versions by number, and the one being edited."""

    name: str
    path: Path
    published: dict[int, Schema]
    current: Schema | None

    @classmethod
    def read(cls, path: Path) -> EventFolder:
        """Read every version."""
        found = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in path.glob("*.avsc")}
        current = found.pop(CURRENT, None)
        numbered = {int(stem): schema for stem, schema in found.items() if stem.isdecimal()}
        return cls(name=path.name, path=path, published=dict(sorted(numbered.items())), current=current)

    def versions(self) -> dict[str, Schema]:
        """All versions, oldest first, the current one last."""
        numbered = {str(number): schema for number, schema in self.published.items()}
        return numbered | ({CURRENT: self.current} if self.current is not None else {})

    def headings(self) -> set[int]:
        """The numbers that the changelog has a heading for."""
        changelog = self.path / "CHANGELOG.md"
        text = changelog.read_text(encoding="utf-8") if changelog.exists() else ""
        return {int(number) for number in re.findall(r"^## (\d+)$", text, flags=re.MULTILINE)}


def read_folders(events: Path) -> list[EventFolder]:
    """Every event's folder under ``schemas/events``."""
    return [EventFolder.read(path) for path in sorted(events.iterdir()) if path.is_dir()]


def canonical_json(schema: Schema) -> str:
    """The whole schema, defaults, logical types and docs included, without what formatting changes."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def content_hash(schema: Schema) -> str:
    """SHA-256 of `canonical_json`, in hexadecimal."""
    return hashlib.sha256(canonical_json(schema).encode()).hexdigest()


def incomplete_folders(events: Path) -> list[str]:
    """Versions are 1, 2, 3 … and a current one, each number has a heading in the changelog, nothing else lies there."""
    found = []
    for folder in read_folders(events):
        numbers = list(folder.published)
        if numbers != list(range(1, len(numbers) + 1)) or not numbers:
            found.append(
                f"{folder.name} has the versions {numbers}, where 1, 2, 3 … without a gap are expected"
            )
        if folder.current is None:
            found.append(f"{folder.name} has no {CURRENT}.avsc")
        known = {f"{v}.avsc" for v in (*numbers, CURRENT)} | {"CHANGELOG.md"}
        found += [
            f"{folder.name}/{p.name} is no version" for p in folder.path.iterdir() if p.name not in known
        ]
        found += [
            f"{folder.name}/CHANGELOG.md has no heading for {n}"
            for n in numbers
            if n not in folder.headings()
        ]
    return found


def edited_after_publishing(events: Path) -> list[str]:
    """Every published file has the hash that was noted when it was published, and none has gone."""
    noted = dict(_noted(events))
    there = {f"{f.name}/{n}": content_hash(s) for f in read_folders(events) for n, s in f.published.items()}
    found = [f"{name} was published and is gone" for name in noted.keys() - there.keys()]
    found += [f"{name} is not in {HASHES}; publish it" for name in there.keys() - noted.keys()]
    found += [
        f"{name} was edited after it was published; put it back and edit {CURRENT}.avsc"
        for name in there.keys() & noted.keys()
        if there[name] != noted[name]
    ]
    return sorted(found)


def incompatible_versions(events: Path) -> list[str]:
    """Each version reads every other version's records, in both directions."""
    found = []
    for folder in read_folders(events):
        for (reader, reads), (writer, wrote) in permutations(folder.versions().items(), 2):
            checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro is partly typed
            result = checker.get_compatibility(_parsed(reads), _parsed(wrote))
            if result.compatibility is not SchemaCompatibilityType.compatible:
                why = "; ".join(sorted(result.messages))
                found.append(
                    f"{folder.name}: version {reader} cannot read what version {writer} wrote: {why}"
                )
    return found


def invisible_edits(events: Path) -> list[str]:
    """What the fingerprint leaves out is the same in every version: defaults, logical types, and no aliases at all."""
    found = []
    for folder in read_folders(events):
        details = {version: dict(_invisible(schema)) for version, schema in folder.versions().items()}
        for (older, before), (newer, after) in combinations(details.items(), 2):
            found += [
                f"{folder.name}: {place} is {before[place]} in version {older} and {after[place]} in {newer}, which "
                "no reader can see; add a field of another name"
                for place in sorted(before.keys() & after.keys())
                if before[place] != after[place]
            ]
        found += [
            f"{folder.name}/{version}: {node['name']} has aliases, which only readers of one direction honour"
            for version, schema in folder.versions().items()
            for node in _nodes(schema)
            if "aliases" in node
        ]
    return found


def shared_fingerprints(events: Path) -> list[str]:
    """A fingerprint names one published version; the current one may share that of the newest, if only docs differ."""
    owners: dict[bytes, tuple[str, str]] = {}
    found = []
    for folder in read_folders(events):
        newest = str(max(folder.published, default=0))
        for version, schema in folder.versions().items():
            first = owners.setdefault(avro_fingerprint(schema), (folder.name, version))
            if first not in ((folder.name, version), (folder.name, newest)) or (
                first == (folder.name, newest) and version not in (newest, CURRENT)
            ):
                found.append(f"{folder.name}/{version} has the fingerprint of {first[0]}/{first[1]}")
    return found


def reused_names(events: Path) -> list[str]:
    """A field that was removed does not come back: its old values would be taken for new ones."""
    found = []
    for folder in read_folders(events):
        removed: set[str] = set()
        before: set[str] = set()
        for version, schema in folder.versions().items():
            now = {place for place, _ in _invisible(schema)}
            removed |= before - now
            found += [
                f"{folder.name}/{version}: {place} was removed earlier" for place in sorted(removed & now)
            ]
            before = now
    return found


def unfit_types(events: Path) -> list[str]:
    """The few shapes that every reader here knows, with a doc on each record, enum and field."""
    found = []
    for folder in read_folders(events):
        for version, schema in folder.versions().items():
            found += [f"{folder.name}/{version}: {complaint}" for complaint in _unfit(schema)]
    return found


RULES: tuple[Callable[[Path], list[str]], ...] = (
    incomplete_folders,
    edited_after_publishing,
    incompatible_versions,
    invisible_edits,
    shared_fingerprints,
    reused_names,
    unfit_types,
)


def _noted(events: Path) -> Iterator[tuple[str, str]]:
    """What `HASHES` says: ``<event>/<version>`` and its hash."""
    for line in (events / HASHES).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        yield name, digest


def _parsed(schema: Schema) -> Any:
    """The schema as the avro library has it."""
    return avro.schema.parse(json.dumps(schema))


def _nodes(schema: Any) -> Iterator[Schema]:
    """Every dict of a schema: types and fields, outermost first."""
    if isinstance(schema, dict):
        yield schema
        for key in ("type", "items", "values", "fields"):
            yield from _nodes(schema.get(key))
    elif isinstance(schema, list):
        for inner in schema:
            yield from _nodes(inner)


def _invisible(schema: Schema) -> Iterator[tuple[str, str]]:
    """Each field and enum with what the fingerprint does not show of it."""
    for node in _nodes(schema):
        if node.get("type") == "record":
            for field in node["fields"]:
                hidden = {
                    "default": field.get("default", "(none)"),
                    "logical types": list(_logical(field["type"])),
                }
                yield f"{node['name']}.{field['name']}", json.dumps(hidden, sort_keys=True)
        elif node.get("type") == "enum":
            yield node["name"], json.dumps({"default": node.get("default", "(none)")})


def _logical(field_type: Any) -> Iterator[str]:
    """The logical types of a field's own type; those of a nested record are that record's fields'."""
    if isinstance(field_type, list):
        for branch in field_type:
            yield from _logical(branch)
    elif isinstance(field_type, dict) and field_type.get("type") not in ("record", "enum"):
        yield str(field_type.get("logicalType", "-"))
        yield from _logical(field_type.get("items") or field_type.get("values"))


def _unfit(schema: Schema) -> Iterator[str]:
    """What is wrong with a schema's types and docs."""
    names = {node["name"] for node in _nodes(schema) if node.get("type") in ("record", "enum")}
    for node in _nodes(schema):
        if node.get("type") in ("record", "enum"):
            yield from _unfit_named(node)
        if node.get("type") == "record":
            for field in node["fields"]:
                yield from _unfit_field(node["name"], field, names)


def _unfit_named(node: Schema) -> Iterator[str]:
    """A record or an enum: documented, in our namespace, an enum open to symbols of later versions."""
    if not node.get("doc"):
        yield f"{node['name']} has no doc"
    if node.get("namespace") != "distillery":
        yield f"{node['name']} is not in the namespace distillery"
    if node["type"] == "enum" and (node.get("default"), node["symbols"][0]) != ("UNKNOWN", "UNKNOWN"):
        yield f"the enum {node['name']} does not start with UNKNOWN and default to it"


def _unfit_field(record: str, field: Schema, names: set[str]) -> Iterator[str]:
    """A field: documented, of a known shape, an optional one null first and by default."""
    place = f"{record}.{field['name']}"
    if not field.get("doc"):
        yield f"{place} has no doc"
    kind = field["type"]
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null" or field.get("default", "(none)") is not None:
            yield f"{place} is a union other than null and one type, null first, with the default null"
        kind = kind[-1]
    if not _is_known_shape(kind, names):
        yield f"{place} has the type {json.dumps(kind)}, which is none of ours"


def _is_known_shape(kind: Any, names: set[str]) -> bool:
    """Whether the Python side has a type for it."""
    if isinstance(kind, str):
        return kind in PRIMITIVES or kind.removeprefix("distillery.") in names
    match kind:
        case {"type": "record" | "enum"}:
            return True
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return True
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            return _is_known_shape(inner, names)
    return False
