"""How long a job takes, learned from those that ended.  Pure, in memory; what was never seen has a prior."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.contracts.events import JobSpec

#: Seconds an image is thought to take before any was seen.
PRIOR_SECONDS = 10.0
#: The weight of the newest run: about the last ten count.
WEIGHT = 0.2
#: Canonical parameters that decide how much there is to compute.
SIZES = ("ar", "steps", "width", "height")

Kind = tuple[str, ...]


def kinds_of(job: JobSpec, gpu: str) -> list[Kind]:
    """What a run is like, from exact to rough: the first one that was seen speaks for the job."""
    size = tuple(f"{name}={job.parameters[name]}" for name in SIZES if name in job.parameters)
    return [(job.workflow, gpu, *size), (job.workflow, *size), (job.workflow, gpu), (job.workflow,), ()]


@dataclass(slots=True)
class RunTimes:
    """Seconds of GPU per image, by kind: an exponentially weighted mean."""

    _per_image: dict[Kind, float] = field(default_factory=dict)

    def learn(self, job: JobSpec, gpu: str, seconds: float) -> None:
        """A run of the job took so long."""
        per_image = seconds / max(1, job.images)
        for kind in kinds_of(job, gpu):
            old = self._per_image.get(kind, per_image)
            self._per_image[kind] = old + WEIGHT * (per_image - old)

    def expect(self, job: JobSpec, gpu: str = "") -> float:
        """Seconds that a run of the job should take."""
        seen = (self._per_image.get(kind) for kind in kinds_of(job, gpu))
        per_image = next((seconds for seconds in seen if seconds is not None), PRIOR_SECONDS)
        return per_image * max(1, job.images)

    def knows(self, job: JobSpec) -> bool:
        """Whether a run of its workflow was ever seen."""
        return (job.workflow,) in self._per_image
