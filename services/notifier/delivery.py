"""The final message: by an edit while the interaction lives, else into the channel; smaller, or as links, if too large."""

from __future__ import annotations

import asyncio
from datetime import datetime

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.object_store import ObjectNotFound, ObjectStore, ObjectStoreError
from services.chassis.retry import RetryLater
from services.contracts.events import DeliveryMethod
from services.notifier import shrink, wording
from services.notifier.decide import Final, token_is_gone, without_images
from services.notifier.policy import Policy
from services.notifier.ports import (
    Away,
    File,
    Message,
    Messenger,
    NotAnsweredYet,
    Refused,
    TokenExpired,
    TooLarge,
)

log = get_logger()
LINK_SECONDS = 7 * 24 * 3600
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 0.5


class Delivery:
    """Tells one user one end; safe to repeat."""

    def __init__(self, messenger: Messenger, store: ObjectStore, clock: Clock, policy: Policy) -> None:
        self._messenger = messenger
        self._store = store
        self._clock = clock
        self._policy = policy

    async def deliver(self, final: Final) -> tuple[Final, DeliveryMethod, str | None]:
        """Deliver ``final``; returns what was delivered, how, and the message's id.

        Raises:
            RetryLater: Discord or the object store is away; nothing was lost.
        """
        try:
            files = await asyncio.to_thread(self._load, final)
        except ObjectNotFound:
            log.error("images_vanished", request_id=final.request_id)
            final, files = without_images(final), ()
        except ObjectStoreError as error:
            raise RetryLater(f"The object store is away: {error}", after_seconds=2.0) from error
        try:
            method, message_id = await self._say(final, files)
        except Away as error:
            raise RetryLater(f"Discord is away: {error}", after_seconds=error.after_seconds) from error
        except Refused as error:
            log.error("message_refused", request_id=final.request_id, why=str(error))
            return final, DeliveryMethod.UNDELIVERABLE, None
        return final, method, message_id

    async def _say(self, final: Final, files: tuple[File, ...]) -> tuple[DeliveryMethod, str | None]:
        limit = final.reply_to.filesize_limit
        message = Message(text=final.text, files=files)
        if not shrink.fits(files, limit):
            message = await self._smaller(final, files, limit)
        for _ in range(3):
            try:
                return await self._edit_or_post(final, message)
            except TooLarge:  # Discord's own idea of the limit is smaller than what it told us
                limit //= 2
                message = await self._smaller(final, files, limit)
        return await self._edit_or_post(final, self._linked(final))

    async def _edit_or_post(self, final: Final, message: Message) -> tuple[DeliveryMethod, str | None]:
        if not token_is_gone(final, self._clock(), self._policy):
            try:
                return DeliveryMethod.EDIT, await self._edit(final, message)
            except (TokenExpired, NotAnsweredYet) as error:
                log.info("edit_impossible", request_id=final.request_id, why=type(error).__name__)
        if not self._messenger.can_post:
            raise Refused("The interaction has expired, and without DISCORD_TOKEN there is no other way.")
        message_id = await self._messenger.post(final.reply_to, message, nonce=final.request_id[-25:])
        return DeliveryMethod.CHANNEL_MESSAGE, message_id

    async def _edit(self, final: Final, message: Message) -> str:
        """Edit the original; while the bot's own answer may still be on its way, try again shortly."""
        wait = _FIRST_WAIT
        while True:
            try:
                return await self._messenger.edit_original(final.reply_to, message)
            except NotAnsweredYet:
                if self._age(final.requested_at) > self._policy.answer_wait.total_seconds():
                    raise
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)

    async def _smaller(self, final: Final, files: tuple[File, ...], limit: int) -> Message:
        fitted = await asyncio.to_thread(shrink.fitted, files, limit)
        return Message(text=final.text, files=fitted) if fitted is not None else self._linked(final)

    def _linked(self, final: Final) -> Message:
        urls = [self._store.url(image.object_key, LINK_SECONDS) for image in final.images]
        return Message(text=wording.links(final.text, [url for url in urls if url]))

    def _load(self, final: Final) -> tuple[File, ...]:
        return tuple(
            File(name=f"{number}-{image.seed}.png", data=self._store.get(image.object_key).data)
            for number, image in enumerate(final.images, 1)
        )

    def _age(self, since: datetime) -> float:
        return (self._clock() - since).total_seconds()
