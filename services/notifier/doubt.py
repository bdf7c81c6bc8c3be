"""Whether a progress edit that Discord never answered may still land over an edit that was sent later.

A call that is given up is not taken back: its bytes may lie in a network that holds them, or with one of Discord's
front servers, and arrive after those of the final edit, which goes by another connection.  Nothing at Discord can
forbid it that: an edit takes no condition, and reading the message shows what has landed, not what will.  So it is
outlasted.
What bounds its life:

- its connection is reset, so this machine sends nothing of it again (`discord_webhook.open_socket`);
- what was on its way already arrives once the network passes things on again, within moments.  That it does so is known
  from the next edit that is answered, since that came the same way.

``settling`` seconds after that answer the doubt is over; an edit that was begun before has to be repeated then.
"""

from __future__ import annotations

import math
from collections.abc import Callable


class Doubt:
    """One message's; its edits come one at a time."""

    __slots__ = ("_over_at", "_settling", "_time")

    def __init__(self, time: Callable[[], float], settling: float) -> None:
        self._time = time
        self._settling = settling
        self._over_at = 0.0

    def unanswered(self) -> None:
        """An edit ended without an answer."""
        self._over_at = math.inf

    def answered(self) -> None:
        """An edit was answered: if another was not before, it lands now or never."""
        if self._over_at == math.inf:
            self._over_at = self._time() + self._settling

    def seconds_left(self) -> float:
        """For how long something may land; 0 = there is no doubt, infinity = nothing was answered since."""
        return max(0.0, self._over_at - self._time())
