"""Requests that are taken back: by the button under their message, or the newest one by ``/cancel``.

As with requests, the broker has the cancellation before its user is answered.  What comes of it is not known here:
the answer says what was passed on, and the request's own message says how it ended.
"""

from __future__ import annotations

import asyncio

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.retry import SendFailed
from services.contracts.events import CancellationRequested
from services.ingest_bot import decide, wording
from services.ingest_bot.in_hand import InHand
from services.ingest_bot.policy import Policy
from services.ingest_bot.ports import CancellationSink, Conversation, OpenMessages
from services.ingest_bot.recent import Asked, RecentRequests
from services.ingest_bot.refusals import Refusal

log = get_logger()

#: Discord waits 3 s for an answer.
HOLD_SECONDS = 2.0
#: Messages that one ``/cancel`` looks at, side by side.
LOOKS = 10
CANCEL = "cancel"


class Recall:
    """Takes requests back; used from one event loop by many interactions at once."""

    def __init__(
        self,
        send: CancellationSink,
        messages: OpenMessages,
        recent: RecentRequests,
        in_hand: InHand,
        policy: Policy,
        metrics: m.Metrics,
        clock: Clock,
        *,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._send = send
        self._messages = messages
        self._recent = recent
        self._in_hand = in_hand
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._hold_seconds = hold_seconds

    async def pressed(self, request_id: str, asker_id: str | None, talk: Conversation) -> None:
        """The button under a message; ``asker_id`` is whose request Discord says it is, none where it does not say."""
        if self._in_hand.closing:
            await talk.tell(wording.RESTARTING_CANCEL)
            return
        with self._in_hand.one():
            user_id = talk.reply_to().user_id
            decided = decide.take_back(request_id, user_id, asker_id, self._clock(), self._policy)
            if isinstance(decided, Refusal):
                await self._answer(talk, decided.message, "refused")
            else:
                await self._pass_on(decided, talk, wording.CANCELLING)

    async def newest(self, talk: Conversation) -> None:
        """``/cancel``: the user's newest request whose message still has its button."""
        if self._in_hand.closing:
            await talk.tell(wording.RESTARTING_CANCEL)
            return
        with self._in_hand.one():
            user_id, now = talk.reply_to().user_id, self._clock()
            asked = self._recent.newest_first(user_id, now)[:LOOKS]
            if asked:
                await talk.think()
            found = await self._first_open(asked)
            if found is None:
                await self._answer(talk, wording.NOTHING_TO_CANCEL, "refused")
                return
            event = CancellationRequested(request_id=found.request_id, user_id=user_id, requested_at=now)
            await self._pass_on(event, talk, wording.cancelling(found.command_string))

    async def _first_open(self, asked: list[Asked]) -> Asked | None:
        still = await asyncio.gather(*(self._messages.is_open(one.reply_to) for one in asked))
        for one, is_open in zip(asked, still, strict=True):
            if not is_open:
                self._recent.forget(one.request_id)
        return next((one for one, is_open in zip(asked, still, strict=True) if is_open), None)

    async def _pass_on(self, event: CancellationRequested, talk: Conversation, text: str) -> None:
        """Send, and hold the user meanwhile where it takes long."""
        sending = asyncio.ensure_future(self._send(event))
        await asyncio.wait({sending}, timeout=self._hold_seconds)
        if not sending.done():
            await talk.think()
        try:
            await sending
        except SendFailed as error:
            log.error("cancellation_failed", request_id=event.request_id, why=str(error))
            await self._answer(talk, wording.NOT_CANCELLED, "failed")
            return
        self._recent.forget(event.request_id)
        log.info("cancellation_sent", request_id=event.request_id)
        await self._answer(talk, text, "requested")

    async def _answer(self, talk: Conversation, text: str, outcome: str) -> None:
        self._metrics.count(m.COMMANDS, CANCEL, outcome)
        await talk.tell(text)
