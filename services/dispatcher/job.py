"""One unfinished request, or one part of it, as the dispatcher sees it.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.contracts.events import JobRecorded, JobSpec, JobState
from services.contracts.keys import job_key
from services.dispatcher.backlog import Need

Kind = tuple[frozenset[str], frozenset[str]]
"""The checkpoints and the LoRAs that a job needs."""


@dataclass(slots=True, kw_only=True)
class Job:
    """Its last ledger record, and the partition that it and its user belong to."""

    record: JobRecorded
    partition: int
    absences: int = 0  #: reports of its worker in a row that did not name it
    abandoned: bool = False  #: its worker left, started anew, or drains without it
    key: str = field(init=False)
    spec: JobSpec = field(init=False)  #: what is to be drawn: of a part, that part
    need: Need = field(init=False)
    kind: Kind = field(init=False)

    def __post_init__(self) -> None:
        record = self.record
        self.key = job_key(record.request.request_id, record.part)
        self.spec = part_of(record.request.job, record.part, record.parts)
        self.need = frozenset(self.spec.checkpoints)
        self.kind = (self.need, frozenset(self.spec.loras))

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.record.request.request_id

    @property
    def user_id(self) -> str:
        """Whose turn it takes."""
        return self.record.request.reply_to.user_id

    @property
    def is_split(self) -> bool:
        """Whether its parts are what is dispatched."""
        return self.record.parts > 1 and self.record.part == 0


def part_of(spec: JobSpec, part: int, parts: int) -> JobSpec:
    """What a part draws: its share of the images, the first parts one more, with the seeds that follow each other."""
    if part == 0:
        return spec
    share, more = divmod(spec.images, parts)
    before = (part - 1) * share + min(part - 1, more)
    return replace(spec, images=share + (part <= more), seed=spec.seed + before)


def part_record(whole: JobRecorded, part: int) -> JobRecorded:
    """The record of a part that nobody has yet: what it is before it has one in the ledger."""
    return replace(whole, part=part, state=JobState.QUEUED, attempt=0)
