"""The notifier's thresholds as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the notifier decides by."""

    edit_spacing: float = 2.0  #: seconds between two progress edits of one message
    #: The bot answers Discord after it sent the request, so a quick result can overtake the answer.
    answer_wait: timedelta = timedelta(seconds=5)
    token_margin: timedelta = timedelta(
        seconds=10
    )  #: an edit is not begun so shortly before the token expires
    remembered: timedelta = timedelta(
        hours=48
    )  #: how far back ``delivered`` is read; older requests are not answered


DEFAULT = Policy()
