"""How a request that several workers draw is shown as one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.contracts.events import JobProgressed, Outcome, Phase
from services.notifier import decide, wording
from tests.harness.waiting import eventually_async
from tests.unit.notifier.world import NOON, REQUEST, World, completed, progressed

TOKEN = f"token-{REQUEST}"


def part(number: int, phase: Phase, percent: int = 0, *, second: int = 0, **other: Any) -> JobProgressed:
    """News of one of three parts."""
    at = NOON + timedelta(seconds=second)
    return progressed(phase, percent, part=number, parts=3, progressed_at=at, **other)


def whole(*news: JobProgressed) -> JobProgressed:
    """What the latest of these say together."""
    return decide.whole({each.part: each for each in news})


def test_a_request_that_is_not_split_is_shown_as_it_is() -> None:
    """Nothing is added to it."""
    news = progressed(Phase.RUNNING, 34)
    assert whole(news) == news


@pytest.mark.parametrize(
    ("parts", "phase", "percent"),
    [
        ([part(1, Phase.RUNNING, 60)], Phase.RUNNING, 20),
        ([part(1, Phase.RUNNING, 60), part(2, Phase.RUNNING, 30)], Phase.RUNNING, 30),
        ([part(1, Phase.SAVING, 100), part(2, Phase.RUNNING, 50), part(3, Phase.QUEUED)], Phase.RUNNING, 50),
        ([part(1, Phase.SAVING, 100), part(2, Phase.SAVING, 100)], Phase.RUNNING, 66),
        ([part(n, Phase.SAVING, 100) for n in (1, 2, 3)], Phase.SAVING, 100),
        ([part(1, Phase.QUEUED), part(2, Phase.STARTING)], Phase.STARTING, 0),
        ([part(1, Phase.QUEUED)], Phase.QUEUED, 0),
    ],
)
def test_the_percent_is_of_all_parts_and_the_phase_of_the_farthest(
    parts: list[JobProgressed], phase: Phase, percent: int
) -> None:
    """Whatever has sent nothing yet counts as nothing; images are saved once all parts are."""
    shown = whole(progressed(Phase.QUEUED), *parts)
    assert (shown.part, shown.phase, shown.percent) == (0, phase, percent)


def test_parts_in_the_queue_say_the_first_place_and_the_last_end() -> None:
    """The user waits for all of them."""
    shown = whole(
        part(1, Phase.QUEUED, queue_place=2, eta_seconds=40.0),
        part(2, Phase.QUEUED, queue_place=5, eta_seconds=120.0),
    )
    assert wording.progress(shown).startswith("In the queue, place 2, about 2 min: ")


def test_one_part_that_is_tried_again_does_not_begin_the_request_anew() -> None:
    """Its second attempt is its own."""
    assert whole(part(1, Phase.RUNNING, 10, attempt=2), part(2, Phase.RUNNING, 10)).attempt == 1


def test_a_part_that_is_tried_again_takes_nothing_off_the_bar() -> None:
    """The percent of a split request never falls: the other parts go on meanwhile."""
    before = whole(part(1, Phase.RUNNING, 90), part(2, Phase.RUNNING, 30))
    again = {1: part(1, Phase.STARTING, attempt=2), 2: part(2, Phase.RUNNING, 60)}
    assert (before.percent, decide.whole(again, before).percent) == (40, 40)
    assert decide.whole({**again, 2: part(2, Phase.SAVING)}, progressed(Phase.RUNNING, 99)).percent == 33


async def test_a_part_that_was_drawn_counts_as_whole_though_it_told_of_no_progress(world: World) -> None:
    """A short one is over before its first news; a part that failed is none."""
    await world.handle(completed(final=False, part=1, parts=2, outcome=Outcome.FAILED))
    await world.handle(completed(final=False, part=2, parts=2))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.edits)
    assert "50 %" in world.discord.originals[TOKEN].content


async def test_the_parts_of_a_request_are_shown_in_one_message(world: World) -> None:
    """In whatever order they come; the end of a part is no end, and that of the request replaces all."""
    await world.handle(part(2, Phase.RUNNING, 90))
    await world.handle(part(1, Phase.RUNNING, 30, second=1))
    await world.handle(part(2, Phase.RUNNING, 60))
    world.timers.advance(1.0)
    await eventually_async(lambda: world.discord.edits)
    assert "40 %" in world.discord.originals[TOKEN].content
    await world.handle(completed(final=False, part=1, parts=3))
    assert world.outbox.sent == []
    await world.handle(completed())
    assert len(world.discord.originals[TOKEN].files) == 4
    assert len(world.outbox.sent) == 1
