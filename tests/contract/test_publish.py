"""Publishing a version: all that the rules ask for is there afterwards, or nothing was changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from services.contracts.events import CancellationRequested
from services.contracts.schema_files import read_schema, schemas_dir
from tests.contract.checker import HASHES, RULES
from tests.contract.examples import examples_of
from tests.contract.golden import read_golden
from tests.contract.publish import publish

EVENT = "cancellation_requested"


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """A copy of ``schemas/`` in which the event's current version has a new field, a heading and examples."""
    folder = Path(shutil.copytree(schemas_dir(), tmp_path / "schemas"))
    current = folder / "events" / EVENT / "current.avsc"
    schema = json.loads(current.read_text(encoding="utf-8"))
    schema["fields"].append({"name": "note", "type": ["null", "string"], "doc": "Why.", "default": None})
    current.write_text(json.dumps(schema), encoding="utf-8")
    with (folder / "events" / EVENT / "CHANGELOG.md").open("a", encoding="utf-8") as changelog:
        changelog.write("\n## 2\n\nA note.\n")
    second = Path(shutil.copytree(folder / "examples" / EVENT / "1", folder / "examples" / EVENT / "2"))
    for path in second.iterdir():
        example = json.loads(path.read_text(encoding="utf-8")) | {"note": "changed my mind"}
        path.write_text(json.dumps(example), encoding="utf-8")
    return folder


def test_a_published_version_keeps_every_rule_and_has_golden_bytes(schemas: Path, tmp_path: Path) -> None:
    """Number, hash and golden bytes are written together."""
    assert publish(EVENT, schemas, tmp_path / "golden") is None
    schema = read_schema(CancellationRequested, schemas / "events" / EVENT / "2.avsc")
    assert [complaint for rule in RULES for complaint in rule(schemas / "events")] == []
    records = {example.name: example.record() for example in examples_of(schema, schemas / "examples")}
    assert read_golden(schema, tmp_path / "golden") == records


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        ("events/cancellation_requested/CHANGELOG.md", "no heading for 2"),
        ("examples/cancellation_requested/2", "holds no example"),
        ("events/worker_reported/1.avsc", "was published and is gone"),
    ],
)
def test_nothing_is_published_while_something_is_missing(
    schemas: Path, tmp_path: Path, spoilt: str, complaint: str
) -> None:
    """A half-published version would break a rule until somebody noticed."""
    path = schemas / spoilt
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = (schemas / "events" / HASHES).read_text(encoding="utf-8")
    assert complaint in (publish(EVENT, schemas, tmp_path / "golden") or "")
    assert not (schemas / "events" / EVENT / "2.avsc").exists()
    assert (schemas / "events" / HASHES).read_text(encoding="utf-8") == before


def test_an_example_without_the_new_field_keeps_the_version_from_being_published(
    schemas: Path, tmp_path: Path
) -> None:
    """An example shows every field of its version."""
    path = schemas / "examples" / EVENT / "2" / "ordinary.json"
    shutil.copyfile(schemas / "examples" / EVENT / "1" / "ordinary.json", path)
    assert "Field note" in (publish(EVENT, schemas, tmp_path / "golden") or "")
    assert not (schemas / "events" / EVENT / "2.avsc").exists()


def test_an_unchanged_schema_is_not_published_again(schemas: Path, tmp_path: Path) -> None:
    """It is a version already."""
    assert "is version 1 already" in (publish("worker_reported", schemas, tmp_path / "golden") or "")


def test_an_unknown_event_is_answered_with_the_known_ones(schemas: Path, tmp_path: Path) -> None:
    """A mistyped name says what could have been meant."""
    assert "worker_reported" in (publish("worker_report", schemas, tmp_path / "golden") or "")
