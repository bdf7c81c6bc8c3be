"""Which object keys are allowed.  Pure.

A key has to mean the same file in a bucket and in a folder on any operating system, and never one outside it.
So keys are a small portable subset: ``/``-separated names of ASCII letters, digits and ``_ - . =``.
"""

from __future__ import annotations

import re

from services.chassis.object_store.port import InvalidObjectKey

MAX_KEY = 512  #: characters; S3 takes 1,024 bytes, of which a configured prefix needs some
MAX_NAME = 200  #: characters of one name; file systems take 255 bytes, and temporary files add some
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*")
_PREFIX = re.compile(r"[A-Za-z0-9_./=-]*")
#: Windows opens a device for these names, whatever their extension and case.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)


def check_key(key: str) -> str:
    """Return ``key`` if it is allowed.

    Raises:
        InvalidObjectKey: it is empty, absolute, over-long, climbs (``..``), or holds a name that some system
            would refuse, hide or rewrite.
    """
    if not key or len(key) > MAX_KEY:
        raise InvalidObjectKey(f"An object key of {len(key)} characters; 1 to {MAX_KEY} are allowed.")
    for name in key.split("/"):
        if problem := _problem(name):
            raise InvalidObjectKey(f"The object key {key!r} has a name that {problem}; it was not used.")
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if a key could start with it; it may end inside a name.

    Raises:
        InvalidObjectKey: no key starts so.
    """
    climbs = any(name in (".", "..") for name in prefix.split("/"))
    if climbs or prefix.startswith("/") or "//" in prefix or not _PREFIX.fullmatch(prefix):
        raise InvalidObjectKey(f"No object key can start with {prefix!r}.")
    return prefix


def check_expiry(expires_seconds: int) -> int:
    """Return ``expires_seconds`` if S3 can sign a link for so long (a week at most)."""
    if not 1 <= expires_seconds <= 604_800:
        raise ValueError(f"A link of {expires_seconds} seconds; 1 to 604800 are allowed.")
    return expires_seconds


def _problem(name: str) -> str | None:
    if not name:
        return "is empty (a '/' at an end, or two in a row)"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if not _NAME.fullmatch(name):
        return "is not of ASCII letters, digits and '_-.=', or starts with one of '-.='"
    if name.endswith("."):
        return "ends in a dot, which Windows drops"
    if name.split(".")[0].lower() in _DEVICES:
        return "is a device on Windows"
    return None
