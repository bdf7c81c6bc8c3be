"""Which requests are delivered: ids by partition and hour, so that old ones go whole."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

_HOUR = 3600


class DeliveredRequests:
    """The requests of the last days that need nothing more.

    Ids are kept as integers, which Discord's are: two days at one request a second take some 15 MB.
    """

    def __init__(self) -> None:
        self._hours: defaultdict[int, dict[int, set[int | str]]] = defaultdict(dict)

    def __len__(self) -> int:
        return sum(len(ids) for hours in self._hours.values() for ids in hours.values())

    def has(self, request_id: str, partition: int) -> bool:
        """Whether the request, of that partition, is delivered."""
        key = _compact(request_id)
        return any(key in ids for ids in self._hours[partition].values())

    def add(self, request_id: str, requested_at: datetime, partition: int) -> None:
        """Idempotent."""
        self._hours[partition].setdefault(_hour(requested_at), set()).add(_compact(request_id))

    def forget_partition(self, partition: int) -> None:
        """Drop what belongs to another process now."""
        self._hours.pop(partition, None)

    def forget_before(self, instant: datetime) -> None:
        """Drop whole hours of requests that were made before ``instant``."""
        first = _hour(instant)
        for partition, hours in self._hours.items():
            self._hours[partition] = {hour: ids for hour, ids in hours.items() if hour >= first}


def _hour(instant: datetime) -> int:
    return int(instant.timestamp()) // _HOUR


def _compact(request_id: str) -> int | str:
    # Only where it reads back as the same text: "007" and "7" are two ids.
    number = (
        int(request_id) if request_id.isascii() and request_id.isdecimal() and len(request_id) < 40 else -1
    )
    return number if str(number) == request_id else request_id
