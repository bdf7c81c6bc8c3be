"""The users of a run: what they send and when, and what they are still waiting for."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from services.ingest_bot import wording
from services.sandbox.discord.client import SandboxDiscord, SandboxRefused
from services.sandbox.discord.places import GUILDS
from tests.harness.chain import is_final

#: Every so many commands one is rejected by the moderator, and one is refused by the bot for a flag it does not know.
_REJECTED_EVERY, _REFUSED_EVERY = 40, 60
#: Every so many commands one is taken back, after at most so many seconds.
_REGRETTED_EVERY, _REGRET_SECONDS = 25, 10.0
_TRY_AGAIN_SECONDS = 0.5
#: What the bot says for everybody to read where it held its answer back and then could not queue.
_REFUSALS = frozenset({wording.NOT_QUEUED, wording.BROKEN, wording.TOO_LONG})
#: A user waits for an answer for so long before the command counts as not taken.
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command to be sent."""

    at: float  #: seconds after the begin
    user_id: str
    guild_id: str
    prompt: str
    regret_after: float = 0.0  #: seconds after which its user presses Cancel; 0 = never


def orders(seed: int, *, requests: int, users: int, seconds: float) -> list[Order]:
    """Every command of a run, evenly over its time; the same for the same arguments."""
    random = Random(seed)  # noqa: S311 - a load to be repeated, no secret
    made = []
    for number in range(requests):
        user = random.randrange(users)
        made.append(
            Order(
                at=number * seconds / requests,
                user_id=str(200_000_000_000_000_000 + user),
                guild_id=GUILDS[user % len(GUILDS)],
                prompt=_prompt(number, random),
                regret_after=random.uniform(0.2, _REGRET_SECONDS) if number % _REGRETTED_EVERY == 0 else 0.0,
            )
        )
    return made


def _prompt(number: int, random: Random) -> str:
    if number % _REJECTED_EVERY == _REJECTED_EVERY - 1:
        return f"n u d e scene {number}"
    flag = "--sed" if number % _REFUSED_EVERY == _REFUSED_EVERY - 1 else "--seed"
    return f"scene {number} --images {random.choice((1, 1, 2))} --steps 1 {flag} {number}"


class Load:
    """Sends the orders from a thread, and takes some back; one is sent again where the bot is not connected."""

    def __init__(self, url: str, orders: list[Order], followed: Followed) -> None:
        self._discord = SandboxDiscord(url)
        self._followed = followed
        self._orders = deque(orders)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="load", daemon=True)
        self.began = 0.0  #: monotonic
        self.turned_away = 0  #: times that the bot was not connected
        self.taken_back = 0  #: presses of Cancel that reached the bot
        self._regrets: list[tuple[float, str, str]] = []  #: a heap of instants with request and user

    def start(self) -> None:
        """Begin."""
        self.began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()
        self._thread.join(30)

    def wait(self, deadline_seconds: float) -> bool:
        """Wait until everything is sent; false where the deadline passes first."""
        self._thread.join(deadline_seconds)
        return not self._thread.is_alive()

    def left(self) -> int:
        """Orders that are not sent yet."""
        return len(self._orders)

    def _send_all(self) -> None:
        while self._orders and not self._stopping.is_set():
            due = self.began + self._orders[0].at
            if self._regrets and self._regrets[0][0] < due:
                at, request, user_id = heapq.heappop(self._regrets)
                self._pause_until(at)
                self._take_back(request, user_id)
            else:
                self._pause_until(due)
                self._send(self._orders.popleft())

    def _send(self, order: Order) -> None:
        try:
            request = self._discord.submit(order.user_id, order.prompt, guild_id=order.guild_id)
        except SandboxRefused:
            self.turned_away += 1
            self._orders.append(order)
            # Only where everyone is turned away; else the next one's server has another shard.
            self._stopping.wait(_TRY_AGAIN_SECONDS / max(1, min(len(self._orders), 20)))
            return
        self._followed.sent(request)
        if order.regret_after:
            heapq.heappush(self._regrets, (time.monotonic() + order.regret_after, request, order.user_id))

    def _take_back(self, request: str, user_id: str) -> None:
        message = self._followed.message_of(request)
        if message is None:
            return
        try:
            self._discord.press(user_id, message)
        except SandboxRefused:
            return  # the bot is away, or the button has gone with the request's end
        self.taken_back += 1

    def _pause_until(self, at: float) -> None:
        self._stopping.wait(max(0.0, at - time.monotonic()))


class Followed:
    """What users are waiting for, from the loopback Discord's live feed, in a thread."""

    def __init__(self, url: str) -> None:
        self._waiting: dict[str, float] = {}  #: monotonic instants by request
        self._ended: set[str] = set()
        self._messages: dict[str, dict[str, Any]] = {}  #: of the requests that were answered and have no end
        self._changed = threading.Condition()
        self._changed_at = time.monotonic()
        self._stopping = False
        self._thread = threading.Thread(target=self._follow, args=(SandboxDiscord(url),), daemon=True)
        self._thread.start()

    def sent(self, request: str) -> None:
        """A command is on its way."""
        with self._changed:
            if request not in self._ended:
                self._waiting[request] = time.monotonic()

    def unended(self) -> list[str]:
        """The requests that have no end; a command that nobody answered in time is none."""
        with self._changed:
            return self._unended()

    def message_of(self, request: str) -> dict[str, Any] | None:
        """The message of a request without an end, as it stands."""
        with self._changed:
            return self._messages.get(request)

    def wait(self, quiet_seconds: float, tell: Callable[[int], None] = lambda left: None) -> int:
        """Wait until every request has its end, or none has come for a while; returns how many have none."""
        with self._changed:
            self._changed_at = time.monotonic()
            while self._unended() and time.monotonic() - self._changed_at < quiet_seconds:
                tell(len(self._unended()))
                self._changed.wait(1.0)
            return len(self._unended())

    def stop(self) -> None:
        """Let the thread end with the next message."""
        self._stopping = True

    def _unended(self) -> list[str]:
        late = time.monotonic() - _ANSWER_SECONDS
        return [r for r, at in self._waiting.items() if r in self._messages or at > late]

    def _follow(self, discord: SandboxDiscord) -> None:
        while not self._stopping:
            try:
                discord.wait_until(self._look, 600)
            except (
                AssertionError,
                OSError,
            ):  # nothing came for long, or the feed broke: from the start again
                continue

    def _look(self, messages: dict[str, dict[str, Any]]) -> bool:
        with self._changed:
            for message in messages.values():
                self._take(message)
            self._changed.notify_all()
        messages.clear()  # only news matter
        return self._stopping

    def _take(self, message: dict[str, Any]) -> None:
        request = message["interaction_id"] or message["nonce"]
        if request is None or request in self._ended:
            return
        if message["ephemeral"] or is_final(message) or message["content"] in _REFUSALS:
            self._ended.add(request)
            self._waiting.pop(request, None)
            self._messages.pop(request, None)
            self._changed_at = time.monotonic()
        else:
            self._messages[request] = message
