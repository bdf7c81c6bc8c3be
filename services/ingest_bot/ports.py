"""What the bot needs beside Discord: somewhere to put requests, and input images."""

from __future__ import annotations

from typing import Protocol

from services.contracts.events import GenerationRequested


class RequestSink(Protocol):
    """Takes requests."""

    async def __call__(self, request: GenerationRequested) -> None:
        """Return when the broker has it.

        Raises:
            SendFailed: the broker did not acknowledge.
        """


class InputStore(Protocol):
    """Keeps attachments, since Discord's links expire."""

    async def __call__(self, key: str, data: bytes, content_type: str) -> None:
        """Return when it is stored.

        Raises:
            ObjectStoreError: it is not.
        """
