"""Final messages: images read from the object store, made to fit, sent by the way that is open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.object_store import (
    InvalidObjectKey,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreUnreachable,
)
from services.chassis.retry import RetryLater
from services.contracts.events import DeliveryMethod, ImageRef
from services.notifier import decide
from services.notifier.budget import ByteBudget
from services.notifier.decide import Final, Receipt
from services.notifier.pictures import NotAPicture, extension_of, reencode
from services.notifier.policy import Encoding, Policy
from services.notifier.ports import (
    ChannelClosed,
    DiscordBusy,
    File,
    FilesTooLarge,
    InteractionOver,
    Message,
    Messenger,
    MessengerError,
    OriginalUnknown,
)

log = get_logger()


class Delivery:
    """Brings a request's message to its final state.  Repeatable: the same final gives the same state."""

    def __init__(
        self, messenger: Messenger, store: ObjectStore, clock: Clock, policy: Policy, memory_bytes: int
    ) -> None:
        self._messenger = messenger
        self._store = store
        self._clock = clock
        self._policy = policy
        self._memory = ByteBudget(memory_bytes)
        self._shrinking = asyncio.Lock()  # one picture at a time is decoded, for the memory's sake

    async def deliver(self, final: Final) -> Receipt:
        """Tell the user.

        Raises:
            RetryLater: Discord or the object store is away or busy.
            MessageRefused: Discord finds fault with the message.
        """
        try:
            if not final.images:
                return await self._send(final, ())
            async with self._memory.hold(decide.bytes_held(final)):
                return await self._with_images(final)
        except DiscordBusy as busy:
            raise RetryLater(str(busy), busy.after_seconds) from busy

    async def repeat(self, receipt: Receipt) -> None:
        """Give a message that was edited to its end its final text once more; its files are there.

        Raises:
            RetryLater: Discord is away or busy.
        """
        if receipt.method is not DeliveryMethod.EDIT:
            return
        message = Message(content=receipt.final.text, ends=True)
        try:
            await self._messenger.edit_original(receipt.final.reply_to, message)
        except DiscordBusy as busy:
            raise RetryLater(str(busy), busy.after_seconds) from busy
        except MessengerError as error:  # then neither can anything else edit it any more
            log.info("edit_not_repeated", request_id=receipt.final.request_id, why=str(error))

    async def _with_images(self, final: Final) -> Receipt:
        found = await self._found(final)
        final = decide.with_found(final, [image for image, _ in found])
        if not final.images:
            return await self._send(final, ())
        return await self._attached(final, found)

    async def _found(self, final: Final) -> list[tuple[ImageRef, bytes]]:
        """The images that the store has, read side by side."""
        reads = (self._read(final, image) for image in final.images)
        # Every read ends before this does, so that none goes on in memory that was given back.
        results = await asyncio.gather(*reads, return_exceptions=True)
        found = []
        for image, result in zip(final.images, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result:
                found.append((image, result))
        return found

    async def _attached(self, final: Final, found: list[tuple[ImageRef, bytes]]) -> Receipt:
        room = decide.room(final.reply_to, self._policy)
        for encoding in (None, *self._policy.encodings):
            files = await self._files(found, encoding)
            sizes = [len(file.data) for file in files]
            if not sizes or not decide.fits(sizes, final.reply_to, room):
                continue
            try:
                return await self._send(final, files)
            except FilesTooLarge as error:
                log.warning("files_refused", request_id=final.request_id, bytes=sum(sizes), why=str(error))
                room = int(sum(sizes) * self._policy.shrink_after_refusal)
        return await self._linked(final)

    async def _linked(self, final: Final) -> Receipt:
        urls = [self._store.url(image.object_key, self._policy.link_life) for image in final.images]
        log.warning("images_linked", request_id=final.request_id, links=sum(url is not None for url in urls))
        receipt = await self._send(decide.with_links(final, urls), ())
        return replace(receipt, images=len(final.images))

    async def _files(
        self, found: list[tuple[ImageRef, bytes]], encoding: Encoding | None
    ) -> tuple[File, ...]:
        """The images as files; none where one does not take the encoding."""
        if encoding is None:
            return tuple(_named(found))
        try:
            async with self._shrinking:
                return await asyncio.to_thread(_reencoded, found, encoding)
        except NotAPicture as error:
            log.warning("image_not_shrunk", encoding=encoding.format, why=str(error))
            return ()

    async def _read(self, final: Final, image: ImageRef) -> bytes | None:
        """The image, or none where the store has no picture under that key."""
        try:
            stored = await asyncio.to_thread(self._store.get, image.object_key)
        except (ObjectNotFound, InvalidObjectKey) as error:
            log.error("image_missing", request_id=final.request_id, why=type(error).__name__)
            return None
        except ObjectStoreUnreachable as error:
            raise RetryLater(str(error), self._policy.unreachable_wait) from error
        except ObjectStoreDenied as error:
            # Credentials are mended by people, so worth waiting for while the user still sees "saving".
            if decide.token_lives(final.reply_to, self._clock(), self._policy):
                raise RetryLater(str(error), self._policy.denied_wait) from error
            log.error("image_denied", request_id=final.request_id, why=str(error))
            return None
        if extension_of(stored.data) is None:
            log.error("image_is_none", request_id=final.request_id, bytes=len(stored.data))
            return None
        return stored.data

    async def _send(self, final: Final, files: tuple[File, ...]) -> Receipt:
        """By an edit while the interaction can be answered, else by a channel message."""
        message = Message(content=final.text, files=files)
        receipt = Receipt(final=final, method=DeliveryMethod.EDIT, images=len(files))
        if decide.token_lives(final.reply_to, self._clock(), self._policy):
            try:
                return replace(receipt, message_id=await self._edit(final, message))
            except (OriginalUnknown, InteractionOver) as error:
                log.info("edit_not_possible", request_id=final.request_id, why=str(error))
        try:
            nonce = decide.nonce(final.request_id)
            message_id = await self._messenger.post_to_channel(final.reply_to, message, nonce)
        except ChannelClosed as error:
            log.error("request_undeliverable", request_id=final.request_id, why=str(error))
            return replace(receipt, method=DeliveryMethod.UNDELIVERABLE, images=0)
        return replace(receipt, method=DeliveryMethod.CHANNEL_MESSAGE, message_id=message_id)

    async def _edit(self, final: Final, message: Message) -> str:
        tries = 0
        while True:
            tries += 1
            try:
                return await self._messenger.edit_original(final.reply_to, message)
            except OriginalUnknown:
                wait = decide.wait_for_answer(final, self._clock(), tries, self._policy)
                if wait is None:
                    raise
                await asyncio.sleep(wait)


def _named(found: list[tuple[ImageRef, bytes]]) -> Iterator[File]:
    """Each image under a name that says its seed and nothing of its user."""
    for number, (image, data) in enumerate(found, 1):
        yield File(name=f"distillery-{number}-seed-{image.seed}.{extension_of(data)}", data=data)


def _reencoded(found: list[tuple[ImageRef, bytes]], encoding: Encoding) -> tuple[File, ...]:
    return tuple(_named([(image, reencode(data, encoding)) for image, data in found]))
