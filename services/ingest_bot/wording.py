"""What the bot says.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

from services.contracts.events import GenerationRequested
from services.ingest_bot.decide import Draft
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.manifest import PROMPT, ImageParameter, Parameter
from services.ingest_bot.templates.values import default_value, expected

RESTARTING = "I am restarting, so nothing was queued; please try again in a few seconds."
NOT_QUEUED = "I could not queue this: our own systems do not answer.  Nothing was queued; please try again in a minute."
TOO_LONG = "This command is too long to queue; please shorten it."
BROKEN = "Something went wrong on our side; if no images follow, please try again."
OUTDATED = "Your Discord still shows an older form of this command; reload it, then send the command again."

_IN_ANY_CASE = "  If it has ended by then, nothing changes; its message says how it ends."
CANCELLING = f"I have asked for this request to be stopped.{_IN_ANY_CASE}"
NOT_CANCELLED = (
    "I could not pass this on: our own systems do not answer.  Nothing was cancelled; please try again soon."
)
RESTARTING_CANCEL = "I am restarting, so nothing was cancelled; please try again in a few seconds."
NOTHING_TO_CANCEL = (
    "I know of no unfinished request of yours.  If one is open, press the Cancel button under its message."
)

LIMIT = 2000  #: characters of a Discord message
_MARKDOWN = frozenset("\\*_~`|>#<[]")


def queued(request: GenerationRequested) -> str:
    """The first answer to a command that was taken."""
    return _with_notes("Queued", request.command_string, request.notes)


def holding(draft: Draft) -> str:
    """The first answer to a command that takes longer to queue than Discord waits."""
    return _with_notes("Queueing", draft.command_string, draft.notes)


def cancelling(command_string: str) -> str:
    """The answer to ``/cancel``, which says what it took to be meant."""
    before, after = "I have asked for **", f"** to be stopped.{_IN_ANY_CASE}"
    return before + _clipped(escape(command_string), LIMIT - len(before) - len(after)) + after


def escape(text: str) -> str:
    """A user's text, such that Discord shows it as typed."""
    return "".join("\\" + letter if letter in _MARKDOWN else letter for letter in text)


def help_text(catalogue: Catalogue) -> str:
    """All workflows and flags, in at most one message."""
    lines = [
        "`/serve` draws images: write what to draw, then flags, such as `a lighthouse at dusk --ar 16:9`.",
        *(
            f"**{w.manifest.title}** (`--workflow {w.name}`): {w.manifest.help}"
            for w in catalogue.workflows.values()
        ),
    ]
    for name, definitions in catalogue.parameters().items():
        if name != PROMPT:
            lines.append(_flag_help(name, definitions[0]))
    return _clipped("\n".join(lines), LIMIT)


def _flag_help(name: str, parameter: Parameter) -> str:
    if isinstance(parameter, ImageParameter):
        return f"option `{name}`: {parameter.help}"
    default = default_value(parameter).text
    return f"`--{name}` {parameter.help}: {expected(parameter)}{f'; {default}' if default else ''}"


def _with_notes(what: str, command_string: str, notes: Iterable[str]) -> str:
    below = _clipped("".join(f"\n-# {note}" for note in notes), LIMIT // 2)
    room = LIMIT - len(below) - len(what) - len(": ****")
    return f"{what}: **{_clipped(escape(command_string), room)}**{below}"


def _clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip("\\") + "…"
