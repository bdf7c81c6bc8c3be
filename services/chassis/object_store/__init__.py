"""Where images lie: a folder by default, an S3 bucket when one is configured; events carry keys only.

`open_object_store` picks the implementation.  Every method blocks: asyncio callers use ``asyncio.to_thread``.
All implementations are safe to use from several threads and pass one suite, ``tests/ports/test_object_store.py``.
"""

from services.chassis.object_store.open import ObjectStoreSettings, open_object_store
from services.chassis.object_store.port import (
    InvalidObjectKey,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnreachable,
    StoredObject,
)

__all__ = [
    "InvalidObjectKey",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "ObjectStoreDenied",
    "ObjectStoreError",
    "ObjectStoreSettings",
    "ObjectStoreUnreachable",
    "StoredObject",
    "open_object_store",
]
