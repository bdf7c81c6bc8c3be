"""The schemas keep their rules, and each rule trips when it is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.contracts.schema_files import avro_fingerprint, schemas_dir
from tests.contract import checker
from tests.contract.checker import HASHES, RULES, content_hash

EVENT = "cancellation_requested"

INSTANT = {"type": "long", "logicalType": "timestamp-millis"}
CLOSED_ENUM = {
    "type": "enum",
    "name": "Mood",
    "namespace": "distillery",
    "doc": "Planted.",
    "symbols": ["CALM"],
}

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A copy of ``schemas/events`` to break."""
    return Path(shutil.copytree(schemas_dir() / "events", tmp_path / "events"))


def edit(events: Path, edited: Edit, version: str = "current", event: str = EVENT) -> None:
    """Change one schema file."""
    path = events / event / f"{version}.avsc"
    schema = json.loads(path.read_text(encoding="utf-8"))
    edited(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def publish(events: Path, edited: Edit, event: str = EVENT) -> None:
    """Publish an edited schema as the next version, hash and changelog included, whatever the rules say."""
    folder = events / event
    number = len(list(folder.glob("*.avsc")))
    edit(events, edited, event=event)
    shutil.copyfile(folder / "current.avsc", folder / f"{number}.avsc")
    schema = json.loads((folder / f"{number}.avsc").read_text(encoding="utf-8"))
    with (events / HASHES).open("a", encoding="utf-8") as hashes:
        hashes.write(f"{content_hash(schema)}  {event}/{number}\n")
    with (folder / "CHANGELOG.md").open("a", encoding="utf-8") as changelog:
        changelog.write(f"\n## {number}\n\nPlanted.\n")


def add_field(name: str, kind: Any, **more: Any) -> Edit:
    """Add a field to a record."""
    return lambda schema: schema["fields"].append({"name": name, "type": kind, "doc": "Planted.", **more})


def remove_field(name: str) -> Edit:
    """Remove a field of a record."""

    def edited(schema: dict[str, Any]) -> None:
        schema["fields"] = [f for f in schema["fields"] if f["name"] != name]

    return edited


def set_in_field(field: str, **values: Any) -> Edit:
    """Change what a field says."""

    def edited(schema: dict[str, Any]) -> None:
        next(f for f in schema["fields"] if f["name"] == field).update(values)

    return edited


def both(first: Edit, second: Edit) -> Edit:
    """One edit after the other."""

    def edited(schema: dict[str, Any]) -> None:
        first(schema)
        second(schema)

    return edited


def complaints(events: Path) -> dict[str, list[str]]:
    """What every rule says, by the rule's name, for those that say something."""
    said = {rule.__name__: rule(events) for rule in RULES}
    return {name: found for name, found in said.items() if found}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_published_schemas_keep_every_rule(rule: Callable[[Path], list[str]]) -> None:
    """No rule has anything to say of the repository's own schemas."""
    assert rule(schemas_dir() / "events") == []


def test_an_optional_field_with_a_null_default_may_be_added_and_published(events: Path) -> None:
    """The one ordinary change trips no rule."""
    publish(events, add_field("note", ["null", "string"], default=None))
    assert complaints(events) == {}


def test_a_field_with_a_default_may_be_added_and_later_replaced(events: Path) -> None:
    """Both directions stay readable when the fields have defaults."""
    publish(events, add_field("note", "string", default=""))
    publish(events, both(remove_field("note"), add_field("remark", "string", default="")))
    assert complaints(events) == {}


def test_going_back_to_an_earlier_schema_is_refused(events: Path) -> None:
    """A record would not say which of the two versions it is."""
    publish(events, add_field("note", "string", default=""))
    edit(events, remove_field("note"))
    assert checker.shared_fingerprints(events) == [f"{EVENT}/current has the fingerprint of {EVENT}/1"]


def test_an_unpublished_change_of_docs_alone_is_allowed(events: Path) -> None:
    """Docs say nothing to a reader, so the current version may explain itself better."""
    edit(events, set_in_field("user_id", doc="Who asks."))
    assert complaints(events) == {}


def test_an_unpublished_compatible_change_is_allowed(events: Path) -> None:
    """The current version may be ahead of the newest published one."""
    edit(events, add_field("note", ["null", "string"], default=None))
    assert complaints(events) == {}


def test_a_new_enum_symbol_is_allowed(events: Path) -> None:
    """Old readers read it as UNKNOWN."""
    publish(events, lambda s: s["fields"][1]["type"]["symbols"].append("DEFERRED"), event="request_moderated")
    assert complaints(events) == {}


def test_formatting_a_published_file_is_not_an_edit(events: Path) -> None:
    """The hash is of what the schema says, not of its white space."""
    edit(events, lambda schema: None, version="1")
    assert complaints(events) == {}


@pytest.mark.parametrize(
    "edited",
    [
        set_in_field("user_id", doc="Another doc."),
        set_in_field("user_id", default=""),
        add_field("note", ["null", "string"], default=None),
        remove_field("user_id"),
    ],
    ids=["doc", "default", "added", "removed"],
)
def test_editing_a_published_version_is_refused(events: Path, edited: Edit) -> None:
    """Not even a doc of a published file may change."""
    edit(events, edited, version="1")
    assert checker.edited_after_publishing(events) == [
        f"{EVENT}/1 was edited after it was published; put it back and edit current.avsc"
    ]


def test_removing_a_published_version_is_refused(events: Path) -> None:
    """Its records are still on the topics."""
    (events / EVENT / "1.avsc").unlink()
    assert checker.edited_after_publishing(events) == [f"{EVENT}/1 was published and is gone"]
    assert any("without a gap" in c for c in checker.incomplete_folders(events))


def test_a_numbered_version_without_a_hash_is_refused(events: Path) -> None:
    """Else it could be edited later without anybody noticing."""
    shutil.copyfile(events / EVENT / "1.avsc", events / EVENT / "2.avsc")
    assert checker.edited_after_publishing(events) == [f"{EVENT}/2 is not in {HASHES}; publish it"]


@pytest.mark.parametrize(
    ("edited", "reason"),
    [
        (add_field("note", "string"), "without a default"),
        (remove_field("user_id"), "removed without a default"),
        (set_in_field("user_id", type="long"), "another type"),
        (set_in_field("user_id", name="asker"), "renamed"),
        (
            set_in_field("user_id", name="asker", aliases=["user_id"]),
            "renamed with an alias, which one direction ignores",
        ),
        (lambda schema: schema.update(name="CancelRequested"), "another record name"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_change_that_one_direction_cannot_read_is_refused(events: Path, edited: Edit, reason: str) -> None:
    """FULL_TRANSITIVE: both directions, as an unpublished change already."""
    edit(events, edited)
    found = checker.incompatible_versions(events)
    assert found, reason
    assert all(f"{EVENT}: version" in complaint for complaint in found)


def test_a_version_is_checked_against_all_earlier_ones_and_not_only_the_last(events: Path) -> None:
    """A field that goes and comes back with another type breaks only the version before the last."""
    publish(events, add_field("note", "string", default=""))
    publish(events, remove_field("note"))
    publish(events, add_field("note", "long", default=0))
    assert any(
        "version 4 cannot read what version 2 wrote" in c for c in checker.incompatible_versions(events)
    )


def test_a_removed_name_does_not_come_back(events: Path) -> None:
    """Even with the same type its old values would be taken for new ones."""
    publish(events, add_field("note", "string", default=""))
    publish(events, remove_field("note"))
    edit(events, add_field("note", "string", default=""))
    assert checker.reused_names(events) == [
        f"{EVENT}/current: CancellationRequested.note was removed earlier"
    ]


@pytest.mark.parametrize(
    ("event", "edited"),
    [
        ("generation_requested", set_in_field("plan", default="premium")),
        (EVENT, set_in_field("user_id", default="nobody")),
        (EVENT, set_in_field("requested_at", type={"type": "long", "logicalType": "timestamp-micros"})),
        (EVENT, set_in_field("requested_at", type="long")),
        ("worker_reported", set_in_field("lanes", type={"type": "array", "items": INSTANT})),
        ("request_moderated", lambda s: s["fields"][1]["type"].update(default="REJECTED")),
    ],
    ids=[
        "default",
        "default-added",
        "logical-type",
        "logical-type-removed",
        "logical-type-of-items",
        "enum-default",
    ],
)
def test_an_edit_that_the_fingerprint_does_not_show_is_refused(
    events: Path, event: str, edited: Edit
) -> None:
    """Avro's canonical form drops it, so no reader could tell the two versions apart."""
    folder = events / event
    edit(events, edited, event=event)
    before, after = (json.loads((folder / f"{v}.avsc").read_text(encoding="utf-8")) for v in ("1", "current"))
    assert avro_fingerprint(before) == avro_fingerprint(after)
    assert checker.incompatible_versions(events) == []
    assert any("which no reader can see" in complaint for complaint in checker.invisible_edits(events))


def test_an_invisible_edit_is_refused_beside_a_visible_one(events: Path) -> None:
    """A new fingerprint does not excuse that an old field's default changed."""
    edit(events, add_field("note", ["null", "string"], default=None), event="generation_requested")
    edit(events, set_in_field("plan", default="premium"), event="generation_requested")
    assert len(checker.invisible_edits(events)) == 1


def test_an_alias_is_refused(events: Path) -> None:
    """The fingerprint does not show it, and only readers of one direction honour it."""
    edit(events, set_in_field("user_id", aliases=["asker"]))
    assert checker.invisible_edits(events) == [
        f"{EVENT}/current: user_id has aliases, which only readers of one direction honour"
    ]


def test_publishing_the_same_schema_twice_is_refused(events: Path) -> None:
    """Two numbers with one fingerprint: a record would not say which it is."""
    publish(events, lambda schema: None)
    assert f"{EVENT}/2 has the fingerprint of {EVENT}/1" in checker.shared_fingerprints(events)


def test_two_events_with_one_fingerprint_are_refused(events: Path) -> None:
    """A fingerprint has to say which event a record is."""
    shutil.copyfile(events / EVENT / "1.avsc", events / "worker_reported" / "2.avsc")
    assert f"worker_reported/2 has the fingerprint of {EVENT}/1" in checker.shared_fingerprints(events)


@pytest.mark.parametrize(
    ("edited", "complaint"),
    [
        (add_field("note", ["string", "null"], default=""), "a union other than null"),
        (add_field("note", ["null", "string"]), "a union other than null"),
        (add_field("note", ["null", "string", "long"], default=None), "a union other than null"),
        (add_field("note", "bytes", default=""), "none of ours"),
        (add_field("note", "int", default=0), "none of ours"),
        (add_field("note", {"type": "long", "logicalType": "timestamp-micros"}, default=0), "none of ours"),
        (add_field("note", CLOSED_ENUM, default="CALM"), "does not start with UNKNOWN"),
        (set_in_field("user_id", doc=""), "has no doc"),
        (lambda schema: schema.pop("doc"), "has no doc"),
        (lambda schema: schema.pop("namespace"), "namespace"),
    ],
    ids="null-last no-default wide-union bytes int micros closed-enum field-doc record-doc namespace".split(),
)
def test_a_shape_that_is_none_of_ours_is_refused(events: Path, edited: Edit, complaint: str) -> None:
    """What the Python side has no type for, or a person no explanation."""
    edit(events, edited)
    assert any(complaint in found for found in checker.unfit_types(events))


def test_a_missing_current_version_is_refused(events: Path) -> None:
    """It is the one that the code writes."""
    (events / EVENT / "current.avsc").unlink()
    assert checker.incomplete_folders(events) == [f"{EVENT} has no current.avsc"]


def test_a_version_without_a_heading_in_the_changelog_is_refused(events: Path) -> None:
    """Whoever finds a version has to find what it changed."""
    (events / EVENT / "CHANGELOG.md").write_text("# CancellationRequested\n", encoding="utf-8")
    assert checker.incomplete_folders(events) == [f"{EVENT}/CHANGELOG.md has no heading for 1"]


def test_a_stray_file_among_the_versions_is_refused(events: Path) -> None:
    """A mistyped version would never be read."""
    (events / EVENT / "02.avsc.bak").write_text("{}", encoding="utf-8")
    assert checker.incomplete_folders(events) == [f"{EVENT}/02.avsc.bak is no version"]
