"""Objects as files of a folder: the default, for one machine or a shared volume."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from services.chassis.object_store.content_types import SNIFFED, content_type_of
from services.chassis.object_store.keys import check_expiry, check_key, check_prefix
from services.chassis.object_store.port import (
    ObjectInfo,
    ObjectNotFound,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnreachable,
    StoredObject,
)

#: Where files are written before they get their name.  No key can start with a dot, so no key lies in it, and it
#: is on the same file system, so a rename out of it is atomic.
_INCOMING = ".incoming"
_LEFTOVER_SECONDS = 3600.0
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_BUSY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE})


class FolderObjectStore:
    """Keeps each object in a file named by its key.

    A crash leaves the old object, the new one or none, never half of one.  With ``fsync`` an object that was
    put also survives a loss of power; without, it survives the death of any process.
    """

    def __init__(self, root: Path, *, fsync: bool = False, public_base_url: str = "") -> None:
        """Open ``root``, made where it is missing, and sweep out what crashed writers left an hour ago."""
        self._root = root
        self._fsync = fsync
        self._public_base_url = public_base_url.rstrip("/")
        with self._failures("be opened"):
            (root / _INCOMING).mkdir(parents=True, exist_ok=True)
            self._sweep()

    def __repr__(self) -> str:
        return f"the folder {self._root}"

    def put(
        self, key: str, data: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write beside, then rename: readers see the old object or the whole new one."""
        target = self._path(key)
        temporary = self._root / _INCOMING / secrets.token_hex(16)
        with self._failures(f"store {key}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._write(temporary, data)
                temporary.replace(target)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise
            if self._fsync:
                _sync_directory(target.parent)

    def get(self, key: str) -> StoredObject:
        """Read the file."""
        with self._failures(f"read {key}"):
            try:
                with self._path(key).open("rb") as file:
                    data = file.read()
                    stat = os.fstat(file.fileno())
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectNotFound(f"{self!r} holds no object {key}.") from None
        return StoredObject(info=_info(key, stat, data[:SNIFFED]), data=data)

    def head(self, key: str) -> ObjectInfo | None:
        """Look at the file and its first bytes."""
        with self._failures(f"look at {key}"):
            return _head(key, self._path(key))

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return self.head(key) is not None

    def url(self, key: str, expires_seconds: int) -> str | None:
        """Under the configured public address, or none: a user cannot open a path of this machine."""
        check_expiry(expires_seconds)
        check_key(key)
        return f"{self._public_base_url}/{key}" if self._public_base_url else None

    def delete(self, key: str) -> None:
        """Remove the file; its directory stays, since another writer may be about to use it."""
        path = self._path(key)
        with self._failures(f"delete {key}"), suppress(FileNotFoundError, NotADirectoryError):
            if not path.is_dir():  # only a part of other keys, so not an object
                path.unlink()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Walk only the directories that the prefix leaves possible."""
        start = check_prefix(prefix).rpartition("/")[0]
        with self._failures("be listed"):
            yield from _walk(self._root / start, f"{start}/" if start else "", prefix)

    def path_of(self, key: str) -> Path:
        """Where the object lies on this machine, for a person at its keyboard."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("xb") as file:
            file.write(data)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())

    def _sweep(self) -> None:
        oldest = time.time() - _LEFTOVER_SECONDS
        for path in (self._root / _INCOMING).iterdir():
            with suppress(FileNotFoundError):  # another process sweeps the same folder
                if path.stat().st_mtime < oldest:
                    path.unlink()

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """Turn the operating system's errors into the port's."""
        try:
            yield
        except OSError as error:
            kind: type[ObjectStoreError] = ObjectStoreError
            if error.errno in _DENIED:
                kind = ObjectStoreDenied
            elif error.errno in _BUSY:
                kind = ObjectStoreUnreachable
            raise kind(f"{self!r} could not {what}: {error.strerror}.") from error


def _head(key: str, path: Path) -> ObjectInfo | None:
    try:
        with path.open("rb") as file:
            return _info(key, os.fstat(file.fileno()), file.read(SNIFFED))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _info(key: str, stat: os.stat_result, first_bytes: bytes) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        bytes=stat.st_size,
        content_type=content_type_of(key, first_bytes),
        modified_at=datetime.fromtimestamp(stat.st_mtime, UTC),
    )


def _walk(directory: Path, base: str, prefix: str) -> Iterator[str]:
    """Keys below ``directory`` that start with ``prefix``, in the order of whole keys.

    A directory sorts by its name with the slash, since ``a.b`` comes before ``a/b``.
    """
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        key = base + name
        if name.startswith(".") or not (key.startswith(prefix) or prefix.startswith(key)):
            continue
        if name.endswith("/"):
            yield from _walk(directory / name, key, prefix)
        elif key.startswith(prefix):
            yield key


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":  # Windows has no handle to sync a directory by
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
