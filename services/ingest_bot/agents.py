"""A command from its arrival to its answer: decide, store its images, send, then say.

The request is sent before Discord is answered, so that what is answered is never lost.  Discord waits 3 s for an
answer: a send that takes longer than `HOLD_SECONDS`, or any attachment, is first answered by a holding message,
which the notifier then edits.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.object_store.port import ObjectStoreError
from services.chassis.retry import SendFailed
from services.contracts.errors import EventTooLarge
from services.contracts.events import GenerationRequested, InputImage
from services.ingest_bot import decide, wording
from services.ingest_bot.decide import Command, Draft
from services.ingest_bot.images import ImageFacts, inspect
from services.ingest_bot.in_hand import InHand
from services.ingest_bot.policy import Policy
from services.ingest_bot.ports import Attachment, Conversation, InputStore, RequestSink
from services.ingest_bot.recent import RecentRequests
from services.ingest_bot.refusals import CommandError, Refusal
from services.ingest_bot.templates.catalogue import Catalogue

log = get_logger()

HOLD_SECONDS = 2.0
#: Drawn seeds stay short enough to be typed again; the original's bound.
SEEDS = 2**31


class Intake:
    """Takes commands; used from one event loop by many interactions at once."""

    def __init__(
        self,
        catalogue: Catalogue,
        policy: Policy,
        send: RequestSink,
        store: InputStore,
        metrics: m.Metrics,
        clock: Clock,
        recent: RecentRequests,
        in_hand: InHand,
        *,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._catalogue = catalogue
        self._policy = policy
        self._send = send
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._recent = recent
        self._in_hand = in_hand
        self._hold_seconds = hold_seconds

    async def take(self, command: Command, talk: Conversation, attached: Sequence[Attachment] = ()) -> None:
        """Handle one command to its answer."""
        if self._in_hand.closing:
            await talk.tell(wording.RESTARTING)
            return
        outcome = "failed"
        with self._in_hand.one():
            try:
                outcome = await self._take(command, talk, attached)
            finally:
                self._metrics.count(m.COMMANDS, command.name, outcome)

    async def _take(self, command: Command, talk: Conversation, attached: Sequence[Attachment]) -> str:
        now = self._clock()
        seed = secrets.randbelow(SEEDS)
        # With what Discord says of the files: most refusals need no download.
        command = replace(command, images={file.parameter: file.declared_size for file in attached})
        try:
            ready = self._draft(command, seed)
            inputs: list[InputImage] = []
            if attached:
                await talk.hold(wording.holding(ready))
                sizes, inputs = await self._copy(attached)
                ready = self._draft(replace(command, images=sizes), seed)
            event = self._request(ready, talk, now, inputs)
            await self._send_in_time(event, ready, talk)
        except CommandError as error:
            await talk.tell(error.message)
            return "refused"
        except EventTooLarge:
            await talk.tell(wording.TOO_LONG)
            return "refused"
        except (SendFailed, ObjectStoreError) as error:
            log.error("command_failed", request_id=talk.request_id, why=str(error))
            await talk.tell(wording.NOT_QUEUED)
            return "failed"
        self._recent.add(event)
        await talk.acknowledge(wording.queued(event))
        return "requested"

    def _request(
        self, ready: Draft, talk: Conversation, now: datetime, inputs: list[InputImage]
    ) -> GenerationRequested:
        reply_to = talk.reply_to()
        plan = decide.plan_of(reply_to.user_id, talk.role_ids(), self._policy)
        return decide.request(
            ready,
            self._policy,
            request_id=talk.request_id,
            reply_to=reply_to,
            now=now,
            inputs=inputs,
            plan=plan,
        )

    def _draft(self, command: Command, seed: int) -> Draft:
        drafted = decide.draft(command, self._catalogue, self._policy, random_seed=seed)
        if isinstance(drafted, Refusal):
            raise CommandError(drafted.message, drafted.code)
        return drafted

    async def _copy(
        self, attached: Sequence[Attachment]
    ) -> tuple[dict[str, tuple[int, int]], list[InputImage]]:
        """Put the attachments into the object store; returns their sizes in pixels and the references."""
        sizes, inputs = {}, []
        for file in attached:
            data = await file.read(self._policy.input_bytes)
            # In a thread: a hostile header can keep the decoder busy.
            facts = await asyncio.to_thread(inspect, data, max_pixels=self._policy.input_pixels)
            sizes[file.parameter] = facts.size
            inputs.append(await self._keep(file.parameter, facts, data))
        return sizes, inputs

    async def _keep(self, parameter: str, facts: ImageFacts, data: bytes) -> InputImage:
        key = f"inputs/{self._clock().date().isoformat()}/{uuid.uuid4()}.{facts.extension}"
        await self._store(key, data, facts.content_type)
        return InputImage(
            parameter=parameter, object_key=key, content_type=facts.content_type, bytes=len(data)
        )

    async def _send_in_time(self, event: GenerationRequested, ready: Draft, talk: Conversation) -> None:
        """Send, and hold the user meanwhile where it takes long.  A send is never given up while it can succeed."""
        sending = asyncio.ensure_future(self._send(event))
        await asyncio.wait({sending}, timeout=self._hold_seconds)
        if not sending.done():
            await talk.hold(wording.holding(ready))
        await sending
