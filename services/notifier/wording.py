"""What the notifier says.  Pure."""

from __future__ import annotations

from services.contracts.events import ErrorInfo, JobCompleted, JobProgressed, Outcome, Phase, RequestModerated

LIMIT = 2000  #: characters of a Discord message
_SPECIAL = frozenset("\\*_~`|>#<[]")


def progress(event: JobProgressed) -> str:
    """Where an unfinished request is."""
    command = bold(event.command_string, LIMIT - 100)
    match event.phase:
        case Phase.QUEUED:
            place = f", place {event.queue_place}" if event.queue_place else ""
            eta = f", about {event.eta_seconds:.0f} s" if event.eta_seconds is not None else ""
            return f"In the queue{place}{eta}: {command}"
        case Phase.STARTING:
            return f"Starting: {command}"
        case Phase.SAVING:
            return f"Saving, 100 %: {command}"
        case _:
            return f"Drawing, {event.percent} %: {command}"


def finished(event: JobCompleted) -> str:
    """The final message of a request that went to a worker."""
    who, command = f"<@{event.reply_to.user_id}>", bold(event.command_string, LIMIT - 400)
    seconds = (event.completed_at - event.requested_at).total_seconds()
    if event.outcome is Outcome.SUCCEEDED:
        return f"{who} {command} ({seconds:.1f} s)"
    return f"{who} {command}\n{failure(event.error, event.outcome)}"


def failure(error: ErrorInfo | None, outcome: Outcome) -> str:
    """One plain sentence and the stable code."""
    if error is None:
        return f"This request ended without images. [{outcome.value.lower()}]"
    return f"{escape(error.message)[:300]} [{error.code}]"


def rejected(event: RequestModerated) -> str:
    """The final message of a request that the moderator refused."""
    request = event.request
    who, command = f"<@{request.reply_to.user_id}>", bold(request.command_string, LIMIT - 600)
    reasons = "\n".join(f"{escape(reason.message)[:250]} [{reason.code}]" for reason in event.reasons[:2])
    return f"{who} {command}\n{reasons or 'This request was rejected. [rejected]'}"


def links(text: str, urls: list[str]) -> str:
    """The final message where Discord takes no files of this size."""
    if not urls:
        return f"{text}\n-# The images are too large for Discord here; they are kept, and an operator can find them."
    listed = "\n".join(f"[image {number}]({url})" for number, url in enumerate(urls, 1))
    return f"{text}\n{listed}"[:LIMIT]


def bold(text: str, limit: int) -> str:
    """A user's text, escaped and cut to ``limit`` characters, in bold."""
    safe = escape(text)
    return f"**{safe if len(safe) <= limit else safe[:limit].rstrip(chr(92)) + '…'}**"


def escape(text: str) -> str:
    """A user's text, such that Discord shows it as typed and mentions nobody."""
    return "".join("\\" + letter if letter in _SPECIAL else letter for letter in text).replace("@", "@\u200b")
