"""The notifier's shell: events in, messages to Discord, then ``delivered``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.outbox import Outbox
from services.chassis.records import Received, Record
from services.chassis.retry import RetryLater
from services.contracts.envelope import CORRELATION_ID
from services.contracts.errors import ErrorCode
from services.contracts.events import (
    DeliveryMethod,
    GenerationRequested,
    JobProgressed,
    RequestDelivered,
    RequestModerated,
    Verdict,
)
from services.notifier import decide, wording
from services.notifier.conversation import Conversation, Shown, Timers
from services.notifier.decide import Final, Receipt
from services.notifier.delivered import DeliveredRequests
from services.notifier.delivery import Delivery
from services.notifier.policy import Policy
from services.notifier.ports import DiscordBusy, InteractionOver, Message, Messenger, MessengerError

log = get_logger()

#: The method label of finals that are older than the deliveries that are known.
STALE = "STALE"
_SWEEP_SECONDS = 60.0

#: Brings a request's message to its final state.
Tell = Callable[[Final], Awaitable[Receipt]]


def by_request(record: Record) -> object:
    """Records of one request are handled one after another; a rate limit on one message holds up no other.

    The envelope names the request, so nothing has to be decoded for it; a foreign record without one goes by user.
    """
    return record.headers.get(CORRELATION_ID) or record.key


class Notifier:
    """Keeps one conversation per open request, and the set of those that are over."""

    def __init__(
        self,
        outbox: Outbox,
        metrics: m.Metrics,
        clock: Clock,
        timers: Timers,
        messenger: Messenger,
        delivery: Delivery,
        policy: Policy,
        is_owner: Callable[[], bool],
    ) -> None:
        self._is_owner = is_owner
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._timers = timers
        self._messenger = messenger
        self._delivery = delivery
        self._policy = policy
        self._stopping = False
        self._delivered = DeliveredRequests()
        self._conversations: dict[str, Conversation] = {}
        self._notes: dict[str, tuple[int, datetime, tuple[str, ...]]] = {}

    async def handle(self, received: Received) -> None:
        """The agent's handler."""
        event = received.event
        if isinstance(event, JobProgressed):
            self._progressed(event, received.record)
        elif (drawn := decide.part_drawn(event)) is not None:
            self._progressed(drawn, received.record)
        elif (final := self._final_of(received)) is not None:
            await self._finish(final, received, self._delivery.deliver)
        else:
            self.apply(received)

    async def give_up(self, received: Received, error: Exception) -> None:
        """A final message that failed for good ends in one plain sentence, or at least in ``delivered``."""
        final = self._final_of(received)
        if final is not None:
            failure = decide.failure(final, ErrorCode.INTERNAL_ERROR)
            await self._finish(failure, received, self._tell_if_possible)

    def apply(self, received: Received) -> None:
        """Fold one record of ``delivered`` or an approval of ``moderated`` into the state; idempotent."""
        partition = received.record.partition
        match received.event:
            case RequestDelivered() as event:
                self._delivered.add(event.request_id, event.requested_at, partition)
                self._forget(event.request_id)
            case RequestModerated(verdict=Verdict.APPROVED) as event:
                self._keep_notes(event.request, partition)

    def forget_partition(self, partition: int) -> None:
        """The partition went to another notifier."""
        self._delivered.forget_partition(partition)
        self._notes = {key: kept for key, kept in self._notes.items() if kept[0] != partition}

    async def revoked(self) -> None:
        """Before partitions go to others, whose final edits must be the last, progress edits end."""
        await self._end_progress()
        # Most rebalances bring the same partitions back.
        self._conversations = {
            request_id: conversation.renewed()
            for request_id, conversation in self._conversations.items()
            if conversation.doubt.seconds_left() > 0.0
        }

    async def stop(self) -> None:
        """Begin no progress edit any more and wait for those under way; final messages go on."""
        self._stopping = True
        await self._end_progress()

    async def _end_progress(self) -> None:
        await asyncio.gather(*(conversation.close() for conversation in self._conversations.values()))

    def open_requests(self) -> int:
        """Of how many unfinished requests something is kept."""
        return len(self._conversations.keys() | self._notes.keys())

    def known_deliveries(self) -> int:
        """Of how many requests it is known that they were delivered."""
        return len(self._delivered)

    def known_since(self) -> datetime:
        """Requests from before this are not delivered, so their deliveries need not be known."""
        return self._clock() - timedelta(seconds=self._policy.window)

    def noted_since(self) -> datetime:
        """Approvals from before this have notes that nobody waits for."""
        return self._clock() - timedelta(seconds=self._policy.notes_window)

    async def sweep_forever(self) -> None:
        """Forget what is too old to matter, once a minute."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.sweep()

    def sweep(self) -> None:
        """Forget what is too old to matter."""
        now = self._clock()
        self._delivered.forget_before(self.known_since())
        self._notes = {key: kept for key, kept in self._notes.items() if kept[1] >= self.noted_since()}
        over = [key for key, conversation in self._conversations.items() if conversation.is_over(now)]
        for request_id in over:
            del self._conversations[request_id]

    def _progressed(self, event: JobProgressed, record: Record) -> None:
        now = self._clock()
        alive = decide.token_lives(event.reply_to, now, self._policy)
        if alive and not self._stopping and not self._delivered.has(event.request_id, record.partition):
            age = (now - record.appended_at).total_seconds()
            self._conversation(event.request_id, event.reply_to.token_expires_at).take(event, age)

    async def _show(self, event: JobProgressed) -> Shown:
        """Edit the message to show progress; a failure is counted and forgotten, since newer progress follows."""
        if not self._is_owner():
            return Shown()  # another process may have told the end already
        text = wording.progress(event, self._notes_of(event.request_id))
        message = Message(content=text, cancels=event.request_id)
        try:
            await self._messenger.edit_original(event.reply_to, message)
        except DiscordBusy as busy:
            return Shown(answered=not busy.may_land, pause=busy.after_seconds)
        except InteractionOver:
            return Shown(answered=True, pause=math.inf)
        except MessengerError:
            return Shown(answered=True)
        return Shown(answered=True)

    async def _tell_if_possible(self, final: Final) -> Receipt:
        """As `Delivery.deliver`, but what Discord refuses for good is a receipt that says so.

        Raises:
            RetryLater: Discord is away or busy, which passes: the user shall still hear.
        """
        try:
            return await self._delivery.deliver(final)
        except MessengerError as error:
            log.error("request_undeliverable", request_id=final.request_id, why=str(error))
            return Receipt(final=final, method=DeliveryMethod.UNDELIVERABLE)

    async def _finish(self, final: Final, received: Received, tell: Tell) -> None:
        conversation = self._conversation(final.request_id, final.reply_to.token_expires_at)
        async with conversation.turn:
            if self._delivered.has(final.request_id, received.record.partition):
                self._forget(final.request_id)
                return
            if decide.is_stale(final, self._clock(), self._policy):
                self._metrics.count(m.DELIVERIES, final.outcome.value, STALE)
                log.warning(
                    "delivery_skipped", request_id=final.request_id, why="older than known deliveries"
                )
                return
            await conversation.close()
            if conversation.receipt is None:
                conversation.repeats = conversation.doubt.seconds_left() > 0.0
                conversation.receipt = await tell(final)
                conversation.doubt.answered()
            if conversation.repeats:
                await self._repeat(conversation, conversation.receipt)
            await self._record(conversation.receipt, received)

    async def _repeat(self, conversation: Conversation, receipt: Receipt) -> None:
        """Give the message its last word again once no progress edit can land over it any more; see `doubt`."""
        left = conversation.doubt.seconds_left()
        if left > 0.0:
            why = "A progress edit was not answered; the final one is repeated once it can not land."
            raise RetryLater(why, left)
        await self._delivery.repeat(receipt)
        conversation.repeats = False

    async def _record(self, receipt: Receipt, received: Received) -> None:
        event = decide.delivered(receipt, self._clock())
        await self._outbox.send(event, received.envelope)
        # Only now: had the send failed, the request would come again and still has to be recorded.
        self._delivered.add(event.request_id, event.requested_at, received.record.partition)
        self._forget(event.request_id)
        self._metrics.count(m.DELIVERIES, event.outcome.value, event.method.value)
        seconds = max(0.0, (event.delivered_at - event.requested_at).total_seconds())
        self._metrics.observe(m.END_TO_END, seconds, event.outcome.value)
        log.info(
            "request_delivered",
            request_id=event.request_id,
            outcome=event.outcome.value,
            method=event.method.value,
            images=event.images,
            seconds=round(seconds, 3),
        )

    def _final_of(self, received: Received) -> Final | None:
        request_id = getattr(received.event, "request_id", "")
        return decide.final_of(received.event, self._notes_of(request_id))

    def _conversation(self, request_id: str, expires_at: datetime) -> Conversation:
        found = self._conversations.get(request_id)
        if found is None:
            found = Conversation(self._show, self._timers, self._policy, expires_at)
            self._conversations[request_id] = found
        return found

    def _keep_notes(self, request: GenerationRequested, partition: int) -> None:
        if request.notes:
            self._notes[request.request_id] = (partition, request.requested_at, tuple(request.notes))

    def _notes_of(self, request_id: str) -> tuple[str, ...]:
        kept = self._notes.get(request_id)
        return kept[2] if kept else ()

    def _forget(self, request_id: str) -> None:
        self._conversations.pop(request_id, None)
        self._notes.pop(request_id, None)
