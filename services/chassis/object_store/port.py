"""The object store as a port: its Protocol, its values and its errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.contracts.errors import DistilleryError, PermanentError, RetryableError


class ObjectStoreError(DistilleryError):
    """An object store did not do what was asked; the message names the store and the key, never a credential."""


class ObjectNotFound(ObjectStoreError, PermanentError):
    """No object has that key."""


class ObjectStoreDenied(ObjectStoreError, PermanentError):
    """The store refuses: wrong or missing credentials, no permission, or no such bucket."""


class ObjectStoreUnreachable(ObjectStoreError, RetryableError):
    """The store does not answer, is overloaded or has no room: the same call can succeed later."""


class InvalidObjectKey(ObjectStoreError, PermanentError, ValueError):
    """A key that some file system or bucket would not keep as it is; see `keys.check_key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    key: str
    bytes: int
    content_type: str
    modified_at: datetime  #: aware UTC, by the store's clock; whole seconds in S3


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object and its content."""

    info: ObjectInfo
    data: bytes


class ObjectStore(Protocol):
    """Keeps immutable byte strings under keys.

    Every method may block for the network or the disk, may be called from any thread, and raises
    `ObjectStoreDenied` or `ObjectStoreUnreachable` where the store fails and `InvalidObjectKey` for a bad key.
    """

    def put(
        self, key: str, data: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Store ``data``; when it returns, every reader sees all of it.  Idempotent: the last put wins.

        Args:
            content_type: a folder does not keep it but derives it again from the key's extension and the
                first bytes, so the extension should agree with it.
            metadata: labels for people who look into a bucket (S3 ``x-amz-meta-*``: ASCII, under 2 KB in all).
                A store may drop them and no method returns them.
        """

    def get(self, key: str) -> StoredObject:
        """The whole object, in memory.

        Raises:
            ObjectNotFound: nothing has that key.
        """

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of the object, or none where there is none."""

    def exists(self, key: str) -> bool:
        """Whether an object has that key."""

    def url(self, key: str, expires_seconds: int) -> str | None:
        """A link that a user's browser can open for about ``expires_seconds`` (1 .. 604800), or none.

        It makes no call and does not check that the object exists.  None means that this store has no address
        that a user could reach; say so instead of linking.
        """

    def delete(self, key: str) -> None:
        """Remove the object; idempotent, so a missing one is no error."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that start with ``prefix`` (any string, not only whole names), in key order.

        Read page by page: objects that come or go meanwhile may or may not be seen.
        """
