"""The folder object store: what is its own, beside the suite that every store passes."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from services.chassis.object_store import ObjectStoreDenied, ObjectStoreError, ObjectStoreUnreachable
from services.chassis.object_store.folder import FolderObjectStore


def incoming(root: Path) -> list[str]:
    """What lies half-written."""
    return sorted(entry.name for entry in (root / ".incoming").iterdir())


@pytest.mark.parametrize("fsync", [False, True])
def test_an_object_is_a_file_that_people_can_find(tmp_path: Path, fsync: bool) -> None:
    """Its path is the folder and the key, and nothing else is left beside it."""
    store = FolderObjectStore(tmp_path, fsync=fsync)
    store.put("jobs/1/0.png", b"image", "image/png")
    assert (tmp_path / "jobs" / "1" / "0.png").read_bytes() == b"image"
    assert store.path_of("jobs/1/0.png") == tmp_path / "jobs/1/0.png"
    assert incoming(tmp_path) == []


def test_a_failed_put_leaves_nothing_behind(tmp_path: Path) -> None:
    """The target cannot be replaced, since it is a directory: the half-written file is removed again."""
    store = FolderObjectStore(tmp_path)
    store.put("jobs/1/0.png", b"image", "image/png")
    with pytest.raises(ObjectStoreError, match="could not store jobs/1"):
        store.put("jobs/1", b"other", "image/png")
    assert incoming(tmp_path) == []
    assert list(store.list()) == ["jobs/1/0.png"]


def test_a_key_below_another_object_is_refused(tmp_path: Path) -> None:
    """A file cannot be a directory too; the first object stays as it was."""
    store = FolderObjectStore(tmp_path)
    store.put("a.png", b"image", "image/png")
    with pytest.raises(ObjectStoreError, match=r"could not store a\.png/b"):
        store.put("a.png/b", b"other", "image/png")
    assert store.get("a.png").data == b"image"
    assert store.head("a.png/b") is None


def test_deleting_a_part_of_keys_deletes_no_object(tmp_path: Path) -> None:
    """A directory is only the part that some keys have in common."""
    store = FolderObjectStore(tmp_path)
    store.put("jobs/1/0.png", b"image", "image/png")
    store.delete("jobs/1")
    assert store.exists("jobs/1/0.png")


def test_what_crashed_writers_left_is_swept_out_at_the_next_start(tmp_path: Path) -> None:
    """Only what is older than an hour: another process may be writing the rest right now."""
    FolderObjectStore(tmp_path)
    for name, age in (("old", 7200), ("fresh", 60)):
        (tmp_path / ".incoming" / name).write_bytes(b"half")
        os.utime(tmp_path / ".incoming" / name, (time.time() - age,) * 2)
    FolderObjectStore(tmp_path)
    assert incoming(tmp_path) == ["fresh"]


def test_half_written_files_are_not_listed(tmp_path: Path) -> None:
    """A crash mid-write shows nobody a broken object."""
    store = FolderObjectStore(tmp_path)
    (tmp_path / ".incoming" / "half").write_bytes(b"half")
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("first_bytes", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPrest", "image/webp"),
        (b"GIF89arest", "image/gif"),
        (b"RIFF\0\0\0\0WAVErest", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_a_key_without_a_known_extension_has_the_type_of_its_content(
    tmp_path: Path, first_bytes: bytes, content_type: str
) -> None:
    """An attachment may have any name; its first bytes say what it is."""
    store = FolderObjectStore(tmp_path)
    store.put("input_7.bin", first_bytes, "application/x-whatever")
    info = store.head("input_7.bin")
    assert info is not None
    assert info.content_type == content_type
    assert store.get("input_7.bin").info.content_type == content_type


def test_a_folder_has_no_link_unless_it_is_served_somewhere(tmp_path: Path) -> None:
    """A path of this machine would mean nothing to a user, and tell them what it is called."""
    assert FolderObjectStore(tmp_path).url("a.png", 60) is None
    served = FolderObjectStore(tmp_path, public_base_url="https://images.example.org/")
    assert served.url("a/b.png", 60) == "https://images.example.org/a/b.png"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The sentence holds the path that was asked for."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectStoreError, match="file/objects could not be opened"):
        FolderObjectStore(tmp_path / "file" / "objects")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ObjectStoreUnreachable),
        (errno.EIO, ObjectStoreUnreachable),
        (errno.EACCES, ObjectStoreDenied),
        (errno.EROFS, ObjectStoreDenied),
        (errno.ELOOP, ObjectStoreError),
    ],
)
def test_the_system_s_errors_become_the_port_s(
    tmp_path: Path, number: int, kind: type[ObjectStoreError]
) -> None:
    """A full disk may empty and is worth another try; a missing permission is not."""
    store = FolderObjectStore(tmp_path)
    with pytest.raises(ObjectStoreError, match=r"could not store x: ") as caught, store._failures("store x"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
