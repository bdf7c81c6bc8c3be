"""A stage whose every record says what to do with it, so that tests can put the stage kit into any situation.

Run by ``StageProcess(module="tests.harness.probe_stage")``.  A request's prompt is one of `SCRIPTS`; what
happens is written into the journal, one line a step: ``<what> <topic>/<partition>/<offset>``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from services.chassis.records import Received
from services.chassis.settings import StageSettings
from services.chassis.stage import Stage, run_stage
from services.contracts.events import GenerationRequested, RequestModerated, Verdict
from services.contracts.topics import PROGRESS, REQUESTS

#: ``wait <file>`` handles the record once the file exists, ``send`` passes it on to ``moderated``.
SCRIPTS = ("do", "fail", "send", "wait", "wait-send")


class ProbeSettings(StageSettings, frozen=True, kw_only=True):
    """The probe's own settings."""

    probe_journal: Annotated[Path, Meta(description="File that tells what the probe did.")]
    probe_in_flight: Annotated[int, Meta(description="The edge's limit of records at a time.", ge=1)] = 1


@dataclass(slots=True)
class Probe:
    """Does what each record says."""

    stage: Stage
    journal: Path

    async def handle(self, received: Received) -> None:
        """One record, by its script."""
        self._note("began", received)
        event = received.event
        if isinstance(event, GenerationRequested):
            await self._play(event, received)
        self._note("done", received)

    async def _play(self, event: GenerationRequested, received: Received) -> None:
        script, _, file = event.prompt.partition(" ")
        assert script in SCRIPTS, f"{script} is none of {', '.join(SCRIPTS)}"
        if script == "fail":
            raise ValueError("the record asked for it")
        if file:
            await _appearance(Path(file))
        if script.endswith("send"):
            await self.stage.outbox.send(self._decision(event), received.envelope)

    def _decision(self, event: GenerationRequested) -> RequestModerated:
        return RequestModerated(
            request=event, verdict=Verdict.APPROVED, policy_version="probe", moderated_at=self.stage.clock()
        )

    def _note(self, what: str, received: Received) -> None:
        record = received.record
        with self.journal.open("a", encoding="utf-8") as out:
            out.write(f"{what} {record.topic}/{record.partition}/{record.offset}\n")


async def _appearance(file: Path) -> None:
    # A file is how a test in another process speaks to this one; looking for it takes microseconds.
    while not file.exists():  # noqa: ASYNC110, ASYNC240 - see above
        await asyncio.sleep(0.02)


def compose(stage: Stage, settings: ProbeSettings) -> None:
    """Wire the probe into its Faust app."""
    probe = Probe(stage, settings.probe_journal)
    stage.consume((REQUESTS, PROGRESS), probe.handle, max_in_flight=settings.probe_in_flight)


if __name__ == "__main__":
    run_stage("probe", ProbeSettings, compose)
