"""`FlakyCodec`: a codec whose schema registry is away as often as told."""

from __future__ import annotations

from typing import Any

from services.contracts.codec import Codec
from services.contracts.errors import SchemaRegistryError


class FlakyCodec:
    """Decodes as `Codec` does, after ``failures`` calls that fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self._codec = Codec()

    def decode(self, data: bytes, expect: type[Any] | None = None) -> Any:
        """As `Codec.decode`."""
        if self.failures:
            self.failures -= 1
            raise SchemaRegistryError("The schema registry did not answer.")
        return self._codec.decode(data, expect)
