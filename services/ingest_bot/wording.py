"""What the bot says.  Pure."""

from __future__ import annotations

from services.contracts.events import GenerationRequested
from services.ingest_bot.templates.catalogue import Catalogue
from services.ingest_bot.templates.manifest import PROMPT, ImageParameter
from services.ingest_bot.templates.values import expected

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


def help_text(catalogue: Catalogue) -> str:
    """All flags of all workflows, in at most one message."""
    lines = [
        "`/serve` draws images: write what they show, then flags, such as `a lighthouse at dusk --ar 16:9`.",
        "",
    ]
    lines += [
        f"**{w.manifest.title}** (`--workflow {w.name}`): {w.manifest.help}"
        for w in catalogue.workflows.values()
    ]
    for name, definitions in catalogue.parameters().items():
        if name != PROMPT and not isinstance(definitions[0], ImageParameter):
            lines.append(f"`--{name}` {definitions[0].help} ({expected(definitions[0])})")
    return clipped("\n".join(lines), LIMIT)
