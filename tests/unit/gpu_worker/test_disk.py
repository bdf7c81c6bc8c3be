"""ComfyUI's folders: what is deleted in them, what never is, and when there is too little room."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from services.chassis.health import Health
from services.gpu_worker import disk as module
from services.gpu_worker.availability import Availability, Obstacle
from services.gpu_worker.disk import Disk, DiskWatch
from services.gpu_worker.settings import WorkerSettings
from tests.harness.waiting import eventually

OLD = time.time() - 7200.0
TOO_MUCH = 1 << 62  #: bytes that no disk has free


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """ComfyUI's output and input folders."""
    made = [tmp_path / "output", tmp_path / "input"]
    for folder in made:
        (folder / "distillery").mkdir(parents=True)
    return made


def a_file(path: Path, at: float | None = None) -> Path:
    """A file, written now or then."""
    path.write_bytes(b"x")
    if at is not None:
        os.utime(path, (at, at))
    return path


def test_a_job_that_is_over_leaves_nothing_behind(folders: list[Path]) -> None:
    """Neither its images nor its uploads."""
    output, upload = folders
    a_file(output / "distillery" / "d1_00001_.png")
    a_file(output / "distillery" / "d1_00002_.png")
    a_file(upload / "distillery" / "d1-0.png")
    Disk(folders, 0).forget("d1")
    assert [path for folder in folders for path in folder.rglob("*") if path.is_file()] == []


def test_other_jobs_files_stay(folders: list[Path]) -> None:
    """Also those of one whose id begins alike, and whatever lies beside our folder."""
    kept = [
        a_file(folders[0] / "distillery" / "d10_00001_.png"),
        a_file(folders[0] / "d1_00001_.png"),
        a_file(folders[0] / "ComfyUI_00001_.png"),
    ]
    Disk(folders, 0).forget("d1")
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("prompt_id", ["", "../secret", "*", "."])
def test_no_id_reaches_out_of_our_folder(folders: list[Path], prompt_id: str) -> None:
    """It comes over the bus."""
    secret = a_file(folders[0] / "secret_1.png")
    ours = a_file(folders[0] / "distillery" / "d1_1.png")
    Disk(folders, 0).forget(prompt_id)
    assert secret.exists()
    assert ours.exists()


def test_leftovers_of_jobs_that_nobody_finished_are_swept(folders: list[Path]) -> None:
    """A killed worker's; those of running jobs are young."""
    old = a_file(folders[0] / "distillery" / "d1_1.png", at=OLD)
    young = a_file(folders[0] / "distillery" / "d2_1.png")
    beside = a_file(folders[0] / "ComfyUI_00001_.png", at=OLD)
    Disk(folders, 0).sweep()
    assert (old.exists(), young.exists(), beside.exists()) == (False, True, True)


def test_a_link_is_not_followed(folders: list[Path], tmp_path: Path) -> None:
    """Nothing but plain files is deleted."""
    precious = a_file(tmp_path / "precious.png", at=OLD)
    link, folder = folders[0] / "distillery" / "d1_1.png", folders[0] / "distillery" / "d1_2"
    link.symlink_to(precious)
    folder.mkdir()
    Disk(folders, 0).forget("d1")
    assert (precious.exists(), link.is_symlink(), folder.is_dir()) == (True, True, True)


def test_folders_in_which_no_job_ran_yet_are_no_error(tmp_path: Path) -> None:
    """ComfyUI makes ours at the first job."""
    disk = Disk([tmp_path], 0)
    disk.forget("d1")
    disk.sweep()
    assert disk.shortage() is None


def test_too_little_room_is_said_without_a_path(folders: list[Path]) -> None:
    """The sentence is for a dashboard."""
    why = Disk(folders, TOO_MUCH).shortage()
    assert why is not None
    assert "GiB free" in why
    assert str(folders[0]) not in why


def test_folders_on_another_machine_are_not_judged() -> None:
    """A ComfyUI that only its URL is known of."""
    assert Disk([], TOO_MUCH).shortage() is None


def test_a_disk_that_comfyui_found_full_is_full_for_a_while(folders: list[Path]) -> None:
    """A quota does not show in the free space; leftovers are swept at once."""
    old = a_file(folders[0] / "distillery" / "d1_1.png", at=OLD)
    disk = Disk(folders, 0)
    disk.struck()
    assert disk.shortage() == "ComfyUI has found its disk full"
    assert not old.exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that looks a hundred times a second, and a disk that is soon thought empty again."""
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(module, "STRUCK_SECONDS", 0.05)


def an_availability() -> Availability:
    """That of a worker whose ComfyUI is up."""
    availability = Availability(Health(), changed=lambda: None)
    availability.clear(Obstacle.COMFYUI)
    return availability


@pytest.mark.usefixtures("quick")
def test_a_worker_without_room_offers_nothing(folders: list[Path]) -> None:
    """Before a job fails of it."""
    availability = an_availability()
    watch = DiskWatch(Disk(folders, TOO_MUCH), availability)
    watch.start()
    eventually(lambda: "GiB free" in (availability.why_not() or ""))
    watch.stop()


@pytest.mark.usefixtures("quick")
def test_a_worker_whose_disk_was_full_works_again(folders: list[Path]) -> None:
    """Somebody made room, or the sweep did."""
    availability = an_availability()
    watch = DiskWatch(Disk(folders, 0), availability)
    watch.struck()
    assert availability.why_not() == "ComfyUI has found its disk full"
    watch.start()
    eventually(lambda: availability.why_not() is None)
    watch.stop()


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_not_there_does_not_end_the_watch(tmp_path: Path) -> None:
    """A mount that comes later is seen then."""
    folder, availability = tmp_path / "later", an_availability()
    watch = DiskWatch(Disk([folder], TOO_MUCH), availability)
    watch.start()
    folder.mkdir()
    eventually(lambda: availability.why_not() is not None)
    watch.stop()


@pytest.mark.parametrize(
    ("settings", "folders"),
    [
        (WorkerSettings(), []),
        (WorkerSettings(comfyui_dir="/c"), ["/c/output", "/c/input"]),
        (WorkerSettings(comfyui_dir="/c", comfyui_output_dir="/o"), ["/o", "/c/input"]),
        (WorkerSettings(comfyui_input_dir="/i"), ["/i"]),
    ],
)
def test_folders_are_those_of_the_settings(settings: WorkerSettings, folders: list[str]) -> None:
    """A ComfyUI of our own has them where it always does."""
    assert [str(folder) for folder in settings.comfyui_folders()] == folders
