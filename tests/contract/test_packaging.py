"""The wheel carries the contract, and what is installed from it finds the same schemas and topics as a checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from services import __version__
from services.contracts.schema_files import load_event_schemas, schemas_dir
from services.contracts.topics import load_topics

ROOT = Path(__file__).parents[2]
REPORT = """
import json
from services.contracts.schema_files import load_event_schemas, schemas_dir
from services.contracts.topics import load_topics
prints = {t.__name__: [s.fingerprint.hex() for s in v] for t, v in load_event_schemas().items()}
topics = {name: topic.kafka_config() for name, topic in load_topics().items()}
print(json.dumps({"dir": str(schemas_dir()), "prints": prints, "topics": topics}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, unpacked as an installer does."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob(f"distillery-{__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_an_installed_package_has_the_schemas_and_topics_of_the_checkout(installed: Path) -> None:
    """Every version, so that old records stay readable wherever a stage runs."""
    python = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r})\n{REPORT}"]
    report = json.loads(subprocess.run(python, check=True, capture_output=True, text=True).stdout)
    assert Path(report["dir"]).is_relative_to(installed)
    here = {t.__name__: [s.fingerprint.hex() for s in v] for t, v in load_event_schemas().items()}
    assert report["prints"] == here
    assert report["topics"] == {name: topic.kafka_config() for name, topic in load_topics().items()}


def test_a_wheel_has_every_data_file_of_the_services(installed: Path) -> None:
    """Workflows, policies and pages are read from beside the code."""
    tracked = subprocess.run(
        ["git", "ls-files", "services"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    missing = [
        name
        for name in tracked.stdout.splitlines()
        if (ROOT / name).is_file() and not (installed / name).is_file()
    ]
    assert missing == []


def test_a_checkout_reads_the_schemas_at_its_root() -> None:
    """Not a copy that an edit would miss."""
    assert schemas_dir() == ROOT / "schemas"
