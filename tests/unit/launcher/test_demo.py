"""What a running demo leaves for others to find, and where its page and its images are."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from services.chassis.settings import load
from services.launcher import demo as module
from services.launcher.brokers.ports import reserve_port
from services.launcher.demo import RunningDemo, read_running
from services.launcher.plan import DemoSettings

DEMO = RunningDemo(
    pid=os.getpid(),
    page_url="http://127.0.0.1:8420/",
    bootstrap="127.0.0.1:9092",
    topic_prefix="",
    objects="objects",
    broker="a broker",
)


def leave(folder: Path, demo: RunningDemo) -> None:
    """Write what a running demo writes."""
    (folder / "run.json").write_text(json.dumps(asdict(demo)), encoding="utf-8")


def test_a_running_demo_is_found_in_its_folder(tmp_path: Path) -> None:
    """With all that ``distillery serve`` needs."""
    leave(tmp_path, DEMO)
    assert read_running(tmp_path) == DEMO


def test_a_demo_that_was_killed_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    """Its file stayed; its process is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave(tmp_path, replace(DEMO, pid=ended.pid))
    assert read_running(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"of": "another version"}'])
def test_a_file_that_is_not_ours_is_no_running_demo(tmp_path: Path, text: str) -> None:
    """Half a file, or one of another version: the person is told to start a demo."""
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    assert read_running(tmp_path) is None


def test_a_folder_without_a_demo_holds_none(tmp_path: Path) -> None:
    """Not even the folder need be there."""
    assert read_running(tmp_path / "nowhere") is None


def test_the_page_takes_the_port_asked_for_and_a_free_one_where_that_is_taken() -> None:
    """Another program on port 8420 must not keep the demo from starting."""
    wanted, spare = reserve_port(), reserve_port()
    settings = load(DemoSettings, {"DEMO_PORT": str(wanted.number)})
    assert module._page_port(settings, spare) == wanted.number
    with socket.create_server(("127.0.0.1", wanted.number)):
        assert module._page_port(settings, spare) == spare.number
    for port in (wanted, spare):
        port.release()


@pytest.mark.parametrize(
    ("env", "where"),
    [
        ({}, str(Path("demo").absolute() / "objects")),
        ({"OBJECT_STORE_DIR": "elsewhere"}, str(Path("elsewhere").absolute())),
        ({"OBJECT_STORE_DIR": "elsewhere", "S3_BUCKET": "images"}, "s3://images"),
    ],
)
def test_the_person_is_told_where_the_images_really_are(env: dict[str, str], where: str) -> None:
    """The same choice as the stages make."""
    assert module._objects(load(DemoSettings, env), Path("demo").absolute()) == where
