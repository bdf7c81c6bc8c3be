"""The files of the loopback ComfyUI: input, output and temp folders, kept in memory up to a limit."""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from typing import NamedTuple

from services.sandbox.comfyui.values import NodeError

#: The made-up home of this server: error messages name it as a real one's name theirs, so leaks can be tested.
HOME = "/opt/ComfyUI"
FOLDERS = ("input", "output", "temp")


class FileKey(NamedTuple):
    """Where a file lies."""

    folder: str  #: one of `FOLDERS`
    subfolder: str  #: may be empty
    name: str


class Files:
    """An in-memory file tree; past ``kept_bytes`` the oldest files are forgotten."""

    def __init__(self, kept_bytes: int) -> None:
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._files: OrderedDict[FileKey, bytes] = OrderedDict()
        self._counters: dict[tuple[str, str, str], int] = {}
        self.input_version = 0  #: grows whenever the list of input files may have changed

    def get(self, key: FileKey) -> bytes | None:
        """The file's bytes, or None."""
        return self._files.get(key)

    def put(self, key: FileKey, data: bytes) -> None:
        """Write or replace a file."""
        self._bytes += len(data) - len(self._files.pop(key, b""))
        self._files[key] = data
        self.input_version += key.folder == "input"
        while self._bytes > self._kept_bytes and len(self._files) > 1:
            oldest, gone = self._files.popitem(last=False)
            self._bytes -= len(gone)
            self.input_version += oldest.folder == "input"
            self._forget_counter(oldest)

    def _forget_counter(self, gone: FileKey) -> None:
        """With a prefix's newest file its counter goes, or prefixes would be kept for ever."""
        prefix = gone.name.removesuffix("_.png").rpartition("_")[0]
        counted = (gone.folder, gone.subfolder, prefix)
        if counted in self._counters and gone.name == _numbered(prefix, self._counters[counted]):
            del self._counters[counted]

    def save(self, folder: str, prefix: str, data: bytes) -> FileKey:
        """Write ``data`` under the next free name for ``prefix``, as ComfyUI numbers its outputs.

        Raises:
            NodeError: the prefix leads out of the folder.
        """
        path = posixpath.normpath(posixpath.join(folder, prefix))
        subfolder, name = posixpath.split(posixpath.relpath(path, folder))
        if path.startswith(("..", "/")) or subfolder.startswith(".."):
            _refuse(folder, prefix)
        counter = self._counters.get((folder, subfolder, name), 0) + 1
        self._counters[folder, subfolder, name] = counter
        key = FileKey(folder, subfolder, _numbered(name, counter))
        self.put(key, data)
        return key

    def inputs(self) -> list[str]:
        """The input images as LoadImage names them: ``subfolder/name``."""
        return [posixpath.join(k.subfolder, k.name) for k in self._files if k.folder == "input"]


def _numbered(prefix: str, number: int) -> str:
    return f"{prefix}_{number:05}_.png"


def _refuse(folder: str, prefix: str) -> None:
    full = posixpath.dirname(posixpath.normpath(posixpath.join(HOME, folder, prefix)))
    message = (
        "**** ERROR: Saving image outside the output folder is not allowed.\n"
        f" full_output_folder: {full}\n         output_dir: {HOME}/{folder}\n"
        f"         commonpath: {posixpath.commonpath([full, HOME])}\n"
    )
    raise NodeError("Exception", message)
