"""The notifier's shell: progress in passing, ends with care."""

from __future__ import annotations

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.outbox import Outbox
from services.chassis.records import Received
from services.contracts.events import DeliveryMethod, JobProgressed, RequestDelivered
from services.notifier import decide
from services.notifier.decide import Final
from services.notifier.delivery import Delivery
from services.notifier.policy import Policy
from services.notifier.progress import Progress

log = get_logger()


class Notifier:
    """Remembers by partition which requests have been answered."""

    def __init__(
        self,
        outbox: Outbox,
        metrics: m.Metrics,
        clock: Clock,
        delivery: Delivery,
        progress: Progress,
        policy: Policy,
    ) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._delivery = delivery
        self._progress = progress
        self._policy = policy
        self._answered: dict[int, set[int]] = {}

    async def handle(self, received: Received) -> None:
        """The agent's handler."""
        event, partition = received.event, received.record.partition
        if isinstance(event, JobProgressed):
            if not self._is_answered(event.request_id, partition):
                self._progress.offer(event)
            return
        final = decide.final_of(event)
        if final is None or self._is_answered(final.request_id, partition):
            return
        if decide.is_stale(final.requested_at, self._clock(), self._policy):
            log.warning("stale_end_skipped", request_id=final.request_id)
            return
        await self._progress.finish(final.request_id)
        final, method, message_id = await self._delivery.deliver(final)
        await self._say(received, final, method, message_id)

    async def give_up(self, received: Received, error: Exception) -> None:
        """An end that cannot be told is at least on the record."""
        final = decide.final_of(received.event)
        if final is not None:
            await self._say(received, final, DeliveryMethod.UNDELIVERABLE, None)

    def apply(self, received: Received) -> None:
        """Fold one record of ``delivered`` (see `ReadBack`)."""
        if isinstance(received.event, RequestDelivered):
            self._remember(received.event.request_id, received.record.partition)

    def forget_partition(self, partition: int) -> None:
        """The partition went to another notifier."""
        self._answered.pop(partition, None)

    async def _say(
        self, received: Received, final: Final, method: DeliveryMethod, message_id: str | None
    ) -> None:
        now = self._clock()
        await self._outbox.send(decide.delivered(final, method, message_id, now), received.envelope)
        self._remember(final.request_id, received.record.partition)
        self._metrics.count(m.DELIVERIES, final.outcome.value, method.value)
        seconds = (now - final.requested_at).total_seconds()
        self._metrics.observe(m.END_TO_END, max(0.0, seconds), final.outcome.value)

    def _is_answered(self, request_id: str, partition: int) -> bool:
        return _number(request_id) in self._answered.get(partition, ())

    def _remember(self, request_id: str, partition: int) -> None:
        self._answered.setdefault(partition, set()).add(_number(request_id))


def _number(request_id: str) -> int:
    # Snowflakes as numbers take a third of the memory; any other id is told apart well enough by its hash.
    return int(request_id) if request_id.isdecimal() else hash(request_id)
