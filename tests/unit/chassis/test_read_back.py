"""State read back: what is folded, what is skipped, and what is forgotten.  Reading is proven on a broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from services.chassis.faust_app import create_app
from services.chassis.read_back import ReadBack
from services.chassis.records import Received, Record
from services.chassis.settings import StageSettings
from services.contracts.codec import Codec, encode
from services.contracts.events import CancellationRequested, Event
from services.contracts.topics import CANCELLATIONS

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EVENT = CancellationRequested(request_id="1", user_id="2", requested_at=NOW)


@dataclass
class Fold:
    """Writes down what it is given and told."""

    events: list[Event | None] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)

    def apply(self, received: Received) -> None:
        """Take one record."""
        self.events.append(received.event)


@pytest.fixture
def fold() -> Fold:
    """An empty fold."""
    return Fold()


@pytest.fixture
def back(fold: Fold) -> ReadBack:
    """A read-back that can reach no broker."""
    app = create_app("probe", StageSettings(kafka_bootstrap_servers="127.0.0.1:1"))
    return ReadBack(app, Codec(), CANCELLATIONS, prefix="", apply=fold.apply, forget=fold.forgotten.append)


def a_record(value: bytes | None, *, partition: int = 0, offset: int = 0) -> Record:
    """A record of the topic."""
    return Record(
        topic=CANCELLATIONS,
        partition=partition,
        offset=offset,
        key=b"2",
        value=value,
        headers={},
        appended_at=NOW,
    )


async def test_a_record_is_folded_and_a_tombstone_too(back: ReadBack, fold: Fold) -> None:
    """A tombstone says that its key is gone, so the fold must see it."""
    back._take(a_record(encode(EVENT)))
    back._take(a_record(None, offset=1))
    assert fold.events == [EVENT, None]


async def test_a_record_without_meaning_is_passed_over(back: ReadBack, fold: Fold) -> None:
    """The topic's consumer buries it; a stage that could not start because of it would help nobody."""
    back._take(a_record(b"no event"))
    back._take(a_record(encode(EVENT), offset=1))
    assert fold.events == [EVENT]


async def test_a_partition_that_went_to_another_process_is_forgotten_once(back: ReadBack, fold: Fold) -> None:
    """Its state would grow old here; when it comes back, it is read from its beginning."""
    back._take(a_record(encode(EVENT), partition=3, offset=9))
    back._take(a_record(encode(EVENT), partition=4, offset=9))
    await back.catch_up(())
    await back.catch_up(())
    assert sorted(fold.forgotten) == [3, 4]


async def test_a_process_without_partitions_asks_the_brokers_nothing(back: ReadBack, fold: Fold) -> None:
    """A spare replica is ready at once."""
    await back.catch_up(())
    assert fold == Fold()
