"""An object store in memory, for tests of what uses one; it passes the same suite as the real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.chassis.clock import system_clock
from services.chassis.object_store.keys import check_expiry, check_key, check_prefix
from services.chassis.object_store.port import ObjectInfo, ObjectNotFound, ObjectStoreError, StoredObject


class FakeObjectStore:
    """Keeps objects in a dict.  ``fail_next`` queues errors that the next calls raise instead of working."""

    def __init__(self, public_base_url: str = "") -> None:
        self.objects: dict[str, StoredObject] = {}
        self.fail_next: list[ObjectStoreError] = []
        self._public_base_url = public_base_url

    def put(
        self, key: str, data: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep a copy of ``data``."""
        self._maybe_fail()
        info = ObjectInfo(
            key=check_key(key), bytes=len(data), content_type=content_type, modified_at=system_clock()
        )
        self.objects[key] = StoredObject(info=info, data=bytes(data))

    def get(self, key: str) -> StoredObject:
        """The kept object."""
        self._maybe_fail()
        if check_key(key) not in self.objects:
            raise ObjectNotFound(f"The fake store holds no object {key}.")
        return self.objects[key]

    def head(self, key: str) -> ObjectInfo | None:
        """The kept object's description."""
        self._maybe_fail()
        stored = self.objects.get(check_key(key))
        return stored.info if stored else None

    def exists(self, key: str) -> bool:
        """Whether it is kept."""
        return self.head(key) is not None

    def url(self, key: str, expires_seconds: int) -> str | None:
        """Under the given public address, or none."""
        check_expiry(expires_seconds)
        check_key(key)
        return f"{self._public_base_url}/{key}" if self._public_base_url else None

    def delete(self, key: str) -> None:
        """Forget it."""
        self._maybe_fail()
        self.objects.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[str]:
        """The kept keys, in order."""
        self._maybe_fail()
        check_prefix(prefix)
        yield from sorted(key for key in self.objects if key.startswith(prefix))

    def _maybe_fail(self) -> None:
        if self.fail_next:
            raise self.fail_next.pop(0)
