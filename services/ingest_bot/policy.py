"""What the bot takes, as values.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits of one request; a workflow's manifest may set narrower ones."""

    command_chars: int = 6000  #: the whole of what is typed; Discord's own limit of a text option
    prompt_chars: int = 2000
    images: int = 4  #: per request; one that asks for more gets so many
    lifetime: timedelta = timedelta(minutes=14)  #: past it a request is dropped rather than drawn
    #: Id of a user or of a role, and the plan that it gives; of several the first counts.
    plans: tuple[tuple[str, str], ...] = ()
    input_bytes: int = 10 * 1024 * 1024  #: of an attachment
    input_pixels: int = 40_000_000  #: of an attachment, unpacked
