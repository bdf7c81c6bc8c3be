"""The moderator's shell: a request in, its decision out, then the decision into the state."""

from __future__ import annotations

from datetime import UTC, datetime, time

from services.chassis import metrics as m
from services.chassis.clock import Clock
from services.chassis.outbox import Outbox
from services.chassis.records import Received
from services.contracts.events import GenerationRequested, RequestDelivered, RequestModerated
from services.moderator.decide import State, decide, evolve, first_day_kept, give_up
from services.moderator.policy import Policy


class Moderator:
    """Holds one state per owned partition."""

    def __init__(self, outbox: Outbox, metrics: m.Metrics, clock: Clock, policy: Policy) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._policy = policy
        self._states: dict[int, State] = {}

    async def handle(self, received: Received) -> None:
        """The agent's handler."""
        match received.event:
            case GenerationRequested() as request:
                state = self._state(received)
                await self._say(received, decide(request, state, self._policy, self._clock()))
            case RequestDelivered() as delivered:
                evolve(self._state(received), delivered)

    async def give_up(self, received: Received, error: Exception) -> None:
        """A request that cannot be decided or sent on ends with a sentence."""
        if isinstance(received.event, GenerationRequested):
            await self._say(received, give_up(received.event, self._clock()))

    def apply(self, received: Received) -> None:
        """Fold one record of ``moderated`` or ``delivered`` (see `ReadBack`)."""
        if isinstance(received.event, RequestModerated | RequestDelivered):
            evolve(self._state(received), received.event)

    def forget_partition(self, partition: int) -> None:
        """The partition went to another moderator."""
        self._states.pop(partition, None)

    def since(self) -> datetime:
        """No record from before this can still matter."""
        return datetime.combine(first_day_kept(self._clock()), time(), UTC)

    async def _say(self, received: Received, decision: RequestModerated) -> None:
        await self._outbox.send(decision, received.envelope)
        # Only now: had the send failed, the request would come again and has to be decided afresh.
        evolve(self._state(received), decision)
        code = decision.reasons[0].code if decision.reasons else "none"
        self._metrics.count(m.VERDICTS, decision.verdict.value.lower(), code)

    def _state(self, received: Received) -> State:
        return self._states.setdefault(received.record.partition, State())
