"""What the bot says.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.contracts.events import GenerationRequested
from services.ingest_bot.templates.manifest import Choice, Float, Images, Int, Ratio, Workflow

RESTARTING = "I am restarting and queued nothing; please try again in a few seconds."
NOT_QUEUED = (
    "I could not queue this: our own systems do not answer.  Nothing was lost or charged; please try again."
)
TOO_LONG = "This command is too long to queue; please shorten the prompt."
LIMIT = 2000  #: characters of a Discord message


def queued(request: GenerationRequested) -> str:
    """The first answer to a command that was taken."""
    notes = "".join(f"\n-# {note}" for note in request.notes)
    text = f"Queued: **{escape(request.command_string)}**"
    return clipped(text, LIMIT - len(notes)) + notes


def escape(text: str) -> str:
    """A user's text, such that Discord shows it as typed."""
    return "".join("\\" + letter if letter in "\\*_~`|>#<[]" else letter for letter in text)


def clipped(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters; bold that was cut open is closed again."""
    return text if len(text) <= limit else text[: limit - 3].rstrip("\\") + "…**"


def help_text(workflows: Mapping[str, Workflow]) -> str:
    """All flags of all workflows, in at most one message."""
    lines = [
        "`/serve` draws images.  Write what they show, then flags, such as `a lighthouse at dusk --ar 16:9`."
    ]
    for workflow in workflows.values():
        lines.append(f"\n**{workflow.manifest.title}** - {workflow.manifest.description}")
        for name, parameter in workflow.manifest.parameters.items():
            if name != "prompt":
                lines.append(f"`--{name}` {parameter.help}{_range(parameter)}")
    seen: set[str] = set()
    unique = [line for line in lines if not (line in seen or seen.add(line))]  # type: ignore[func-returns-value]
    return clipped("\n".join(unique), LIMIT)


def _range(parameter: object) -> str:
    match parameter:
        case Float(min=low, max=high, default=value) | Int(min=low, max=high, default=value):
            return f" ({low:g} to {high:g}; {value:g})"
        case Choice(choices=choices):
            return f" ({', '.join(choices)})"
        case Ratio(sizes=sizes):
            return f" ({', '.join(list(sizes)[:6])} …)"
        case Images(max=most):
            return f" (1 to {most})"
        case _:
            return ""
