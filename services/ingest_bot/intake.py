"""A command from its arrival to its answer: decide, store, send, then say.

The request is sent before Discord is answered.  Discord waits 3 s, so a slow send is raced by a timer that
defers; what comes out of the send is then an edit.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from dataclasses import replace
from typing import Protocol

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.object_store.port import ObjectStoreError
from services.chassis.retry import SendFailed
from services.contracts.errors import EventTooLarge
from services.contracts.events import InputImage, ReplyTo
from services.ingest_bot import decide, images, wording
from services.ingest_bot.ports import InputStore, RequestSink
from services.ingest_bot.refusals import CommandError, Refusal
from services.ingest_bot.settings import IngestSettings
from services.ingest_bot.templates.catalogue import Catalogue

log = get_logger()
DEFER_SECONDS = 2.0
#: Drawn seeds stay short enough to be typed again; the original's bound.
SEEDS = 2**31
#: The one attachment that ``/serve`` takes, by the parameter that it is bound to.
IMAGE = "image"


class Conversation(Protocol):
    """One interaction, as intake needs it."""

    @property
    def request_id(self) -> str:
        """The interaction's id."""

    def reply_to(self) -> ReplyTo:
        """Where the answers go."""

    async def attachment(self, max_bytes: int) -> bytes:
        """The attached file's bytes.

        Raises:
            CommandError: it is too large or cannot be fetched.
        """

    async def say(self, text: str, *, private: bool = False) -> None:
        """Answer, or edit the answer where it was deferred."""

    async def acknowledge(self, text: str) -> None:
        """Answer that the request is queued, unless it was deferred.

        Then the notifier's edits have the message already, and ours could overwrite a finished one.
        """

    async def defer(self) -> None:
        """Tell Discord that an answer will come."""


class Intake:
    """Takes commands; used from one event loop by many interactions at once."""

    def __init__(
        self,
        catalogue: Catalogue,
        settings: IngestSettings,
        send: RequestSink,
        store: InputStore,
        metrics: m.Metrics,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._send = send
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False

    async def take(self, command: decide.Command, talk: Conversation, *, image: bool = False) -> None:
        """Handle one command to its answer; ``image`` says whether a file is attached."""
        if self._closing:
            await talk.say(wording.RESTARTING, private=True)
            return
        self._open += 1
        self._idle.clear()
        try:
            outcome = await self._take(command, talk, image)
        finally:
            self._open -= 1
            if self._open == 0:
                self._idle.set()
        self._metrics.count(m.COMMANDS, command.name, outcome)

    async def close(self) -> None:
        """Take no new command and wait for those in hand."""
        self._closing = True
        await self._idle.wait()

    async def _take(self, command: decide.Command, talk: Conversation, image: bool) -> str:
        now = self._clock()
        deferring = asyncio.create_task(self._defer_later(talk))
        try:
            kind, data = await self._image(talk) if image else (None, b"")
            sizes = {} if kind is None else {IMAGE: (kind.width, kind.height)}
            seed = secrets.randbelow(SEEDS)
            drafted = decide.draft(replace(command, images=sizes), self._catalogue, random_seed=seed)
            if isinstance(drafted, Refusal):
                raise CommandError(drafted.message, drafted.code)
            inputs = [] if kind is None else [await self._keep(kind, data)]
            event = decide.request(
                drafted, request_id=talk.request_id, reply_to=talk.reply_to(), now=now, inputs=inputs
            )
            await self._send(event)
            text, outcome = wording.queued(event), "requested"
        except CommandError as error:
            text, outcome = error.message, "refused"
        except EventTooLarge:
            text, outcome = wording.TOO_LONG, "refused"
        except (SendFailed, ObjectStoreError) as error:
            log.error("command_failed", request_id=talk.request_id, why=str(error))
            text, outcome = wording.NOT_QUEUED, "failed"
        await self._settle(deferring)
        if outcome == "requested":
            await talk.acknowledge(text)
        else:
            await talk.say(text, private=True)
        return outcome

    async def _image(self, talk: Conversation) -> tuple[images.ImageKind, bytes]:
        limit = self._settings.input_max_bytes
        data = await talk.attachment(limit)
        pixels = self._settings.input_max_pixels
        kind = await asyncio.to_thread(images.inspect, data, max_bytes=limit, max_pixels=pixels)
        return kind, data

    async def _keep(self, kind: images.ImageKind, data: bytes) -> InputImage:
        key = f"inputs/{self._clock().date().isoformat()}/{uuid.uuid4()}.{kind.extension}"
        await self._store(key, data, kind.content_type)
        return InputImage(parameter=IMAGE, object_key=key, content_type=kind.content_type, bytes=len(data))

    async def _defer_later(self, talk: Conversation) -> None:
        await asyncio.sleep(DEFER_SECONDS)
        await talk.defer()

    async def _settle(self, deferring: asyncio.Task[None]) -> None:
        """Cancel the timer, or let a defer that is under way finish: two first answers would collide."""
        if not deferring.done():
            deferring.cancel()
        await asyncio.wait({deferring})
