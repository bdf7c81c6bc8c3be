"""Request bodies as Discord takes them: JSON, or a form with ``payload_json`` and ``files[n]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import BodyPartReader, web

from services.sandbox.discord.files import Upload
from services.sandbox.discord.refusal import Refusal, too_large

MOST_BYTES = 128 * 1024 * 1024  #: of one request, whatever the limits are: memory's sake
_FILE_FIELD = re.compile(r"files?\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Body:
    """A request's JSON, and its files by the index of their field, or by the field's name."""

    payload: Any = None
    uploads: dict[str, Upload] = field(default_factory=dict)

    def object(self) -> dict[str, Any]:
        """The JSON where it must be an object.

        Raises:
            Refusal: it is something else.
        """
        if self.payload is None:
            return {}
        if not isinstance(self.payload, dict):
            raise bad_json()
        return self.payload


async def read_body(request: web.Request) -> Body:
    """Read the whole body.

    Raises:
        Refusal: not JSON, or more than `MOST_BYTES`.
    """
    if request.content_length is not None and request.content_length > MOST_BYTES:
        raise too_large()
    if request.content_type.startswith("multipart/"):
        return await _read_form(request)
    try:
        return Body(decoded(await request.read()))
    except web.HTTPRequestEntityTooLarge:
        raise too_large() from None


def decoded(raw: bytes) -> Any:
    """JSON as Python values; none where there is nothing.

    Raises:
        Refusal: 400/50109, not JSON.
    """
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        raise bad_json() from None


def bad_json() -> Refusal:
    """The body is not the JSON that was expected."""
    return Refusal(400, 50109, "The request body contains invalid JSON.")


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON with exactly ``application/json``: discord.py takes any charset parameter for plain text."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json"
    )


async def _read_form(request: web.Request) -> Body:
    payload: Any = None
    uploads: dict[str, Upload] = {}
    left = MOST_BYTES
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise bad_json()
            data = await _read_part(part, left)
            left -= len(data)
            name = part.name or ""
            if name == "payload_json":
                payload = decoded(data)
            else:
                index = _FILE_FIELD.fullmatch(name)
                uploads[index[1] if index else name] = Upload(filename=part.filename or "file", body=data)
    except ValueError:  # what aiohttp raises for a broken form
        raise bad_json() from None
    return Body(payload, uploads)


async def _read_part(part: BodyPartReader, most: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(1 << 18):
        data += chunk
        if len(data) > most:
            raise too_large()
    return bytes(data)
