"""Which object store an installation has: its settings, and the one place that opens it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from services.chassis.object_store.folder import FolderObjectStore
from services.chassis.object_store.port import ObjectStore
from services.chassis.object_store.s3 import S3Location, S3ObjectStore
from services.chassis.settings import SettingsError


class ObjectStoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where images go: the bucket when one is named, else the folder.

    S3 credentials are not among them: they come from boto3's own chain (``AWS_ACCESS_KEY_ID`` and so on, a
    profile, or the machine's role).
    """

    object_store_dir: Annotated[
        str,
        Meta(
            description="Folder for images when S3_BUCKET is empty; empty = distillery/objects in the user's data."
        ),
    ] = ""
    object_store_fsync: Annotated[
        bool,
        Meta(description="Whether the folder survives a loss of power and not only of processes; slower."),
    ] = False
    s3_bucket: Annotated[
        str,
        Meta(
            description="S3 bucket for images; it must exist. Empty = a folder.",
            pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$",
        ),
    ] = ""
    s3_endpoint_url: Annotated[
        str, Meta(description="http(s) address of a store that speaks S3; empty = Amazon's.")
    ] = ""
    s3_region: Annotated[
        str, Meta(description="Region of the bucket; empty = as AWS_REGION or the profile.")
    ] = ""
    s3_prefix: Annotated[str, Meta(description="Goes before every key in the bucket.")] = ""
    public_base_url: Annotated[
        str,
        Meta(
            description="Address under which users reach objects without a signature, for images that Discord "
            "refuses as too large; empty = signed links from S3, no links from a folder."
        ),
    ] = ""


def open_object_store(settings: ObjectStoreSettings) -> ObjectStore:
    """Open the configured store and make sure that it answers.  Blocks; call it before any event loop runs.

    Raises:
        SettingsError: an address is not http(s) or holds a password.
        ObjectStoreError: the store does not answer or refuses.
    """
    _check_address("PUBLIC_BASE_URL", settings.public_base_url)
    if not settings.s3_bucket:
        folder = (
            Path(settings.object_store_dir).expanduser() if settings.object_store_dir else default_folder()
        )
        return FolderObjectStore(
            folder.absolute(), fsync=settings.object_store_fsync, public_base_url=settings.public_base_url
        )
    _check_address("S3_ENDPOINT_URL", settings.s3_endpoint_url)
    return S3ObjectStore(
        S3Location(
            bucket=settings.s3_bucket,
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            prefix=settings.s3_prefix,
            public_base_url=settings.public_base_url,
        )
    )


def default_folder(env: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """``distillery/objects`` where this system keeps a user's data (XDG, ``%LOCALAPPDATA%``, Application Support)."""
    env = os.environ if env is None else env
    home = Path.home()
    if platform == "win32":
        base = Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "distillery" / "objects"


def _check_address(name: str, address: str) -> None:
    if not address:
        return
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise SettingsError(
            f"{name} holds a user name or password, which would end up in links and logs; remove it."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{name} is {address!r}; expected an address like https://images.example.org.")
