"""How an image was made, written into the PNG itself: without a word about who asked for it.

Pure, and at the level of PNG chunks (PNG specification, third edition, 5 and 11.3.3): pixels are never decoded or
recompressed.  ComfyUI embeds the whole posted graph, with the names of uploaded inputs; that is taken out.  Put in:

- ``parameters``: the text that AUTOMATIC1111's web UI writes, which the field's image viewers read;
- ``distillery``: JSON with workflow, workflow_version, parameters, seed and app_version.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping

from services import __version__
from services.contracts.errors import PermanentError
from services.contracts.events import JobSpec

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Chunks of text and of camera metadata: whatever a node may have written, it goes.
_DROPPED = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})

_NEGATIVE = ("negative_prompt", "negative", "neg")
#: Our parameter names -> the labels of the web UI, in its order.
_LABELS = {
    "steps": "Steps",
    "sampler": "Sampler",
    "sampler_name": "Sampler",
    "scheduler": "Schedule type",
    "cfg": "CFG scale",
    "denoise": "Denoising strength",
    "imagedenoise": "Denoising strength",
}


class ProvenanceError(PermanentError, ValueError):
    """The bytes are no whole PNG, so nothing was written into them and they must not be published."""


def stamp(png: bytes, spec: JobSpec, *, seed: int) -> bytes:
    """Replace every text in ``png`` by the provenance of ``spec``'s image with this ``seed``.

    Raises:
        ProvenanceError: ``png`` is not a whole PNG.
    """
    parts = [_SIGNATURE]
    for kind, raw in _chunks(png):
        if kind not in _DROPPED:
            parts.append(raw)
        if kind == b"IHDR":
            parts += [_text(keyword, text) for keyword, text in _texts(spec, seed).items()]
    return b"".join(parts)


def read_texts(png: bytes) -> dict[str, str]:
    """Every uncompressed text chunk by its keyword.

    Raises:
        ProvenanceError: ``png`` is not a whole PNG.
    """
    found = {}
    for kind, raw in _chunks(png):
        keyword, _, value = raw[8:-4].partition(b"\0")
        if kind == b"tEXt":
            found[keyword.decode("latin-1")] = value.decode("latin-1")
        elif kind == b"iTXt" and value[:1] == b"\0":
            found[keyword.decode("latin-1")] = value.split(b"\0", 4)[4].decode("utf-8", "replace")
    return found


def _texts(spec: JobSpec, seed: int) -> dict[str, str]:
    inputs = {entry.parameter for entry in spec.inputs}  # their values are names of a user's files
    parameters = {name: value for name, value in spec.parameters.items() if name not in inputs}
    facts = {
        "workflow": spec.workflow,
        "workflow_version": spec.workflow_version,
        "parameters": parameters,
        "seed": seed,
        "app_version": __version__,
    }
    return {
        "parameters": _webui_text(parameters, spec, seed),
        "distillery": json.dumps(facts, sort_keys=True),
    }


def _webui_text(parameters: Mapping[str, str], spec: JobSpec, seed: int) -> str:
    """Prompt, then ``Negative prompt:``, then one line of ``Label: value`` pairs."""
    rest = dict(parameters)
    lines = [rest.pop("prompt", "")]
    negative = [rest.pop(name) for name in _NEGATIVE if name in rest]
    if any(negative):
        lines.append(f"Negative prompt: {', '.join(filter(None, negative))}")
    pairs = {label: rest.pop(name) for name, label in _LABELS.items() if name in rest}
    rest.pop("seed", None)
    pairs["Seed"] = str(seed)
    if "width" in rest and "height" in rest:
        pairs["Size"] = f"{rest.pop('width')}x{rest.pop('height')}"
    if spec.checkpoints:
        rest.pop("model", None)  # a name of ours for the file, which viewers look up by its own
        pairs["Model"] = spec.checkpoints[0].rpartition("/")[2].rpartition(".")[0] or spec.checkpoints[0]
    pairs |= {name.replace("_", " ").capitalize(): value for name, value in sorted(rest.items())}
    pairs["Version"] = f"distillery {__version__}"
    lines.append(", ".join(f"{label}: {_quoted(value)}" for label, value in pairs.items()))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    """As the web UI does: what would end a pair early stands in quotes."""
    return json.dumps(value, ensure_ascii=False) if any(c in value for c in ",:\n") else value


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk's type and its whole bytes, checked; what follows the end is left out."""
    if not png.startswith(_SIGNATURE):
        raise ProvenanceError(
            "These bytes are not a PNG, and only a PNG can carry provenance; they are refused."
        )
    at, first = len(_SIGNATURE), True
    while True:
        length, kind = struct.unpack_from(">I4s", png, at) if at + 8 <= len(png) else (0, b"")
        end = at + 12 + length
        if not kind or end > len(png):
            raise ProvenanceError(f"The PNG is cut short in the chunk at byte {at}; it is refused.")
        (crc,) = struct.unpack_from(">I", png, end - 4)
        if zlib.crc32(memoryview(png)[at + 4 : end - 4]) != crc:
            raise ProvenanceError(f"The PNG's chunk at byte {at} fails its checksum; it is refused.")
        if first != (kind == b"IHDR"):
            raise ProvenanceError(f"The PNG has {kind!r} where its header must be; it is refused.")
        yield kind, png[at:end]
        if kind == b"IEND":
            return
        at, first = end, False


def _text(keyword: str, text: str) -> bytes:
    """A ``tEXt`` chunk where Latin-1 can say it, else ``iTXt`` in UTF-8; neither may hold NUL."""
    clean = text.replace("\0", "")
    try:
        kind, body = b"tEXt", keyword.encode("latin-1") + b"\0" + clean.encode("latin-1")
    except UnicodeEncodeError:
        head = keyword.encode("latin-1") + b"\0" + b"\0\0" + b"\0" + b"\0"
        kind, body = b"iTXt", head + clean.encode("utf-8", "replace")
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
