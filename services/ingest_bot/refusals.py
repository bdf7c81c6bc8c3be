"""Why a command is not taken, as a value: a stable code and one plain sentence for its user.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.contracts.errors import ErrorCode, PermanentError

#: Longest piece of a user's own text that a refusal quotes back.
_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A command that becomes no request."""

    code: ErrorCode
    message: str  #: one sentence: what was wrong, what was expected


class CommandError(PermanentError, ValueError):
    """A command that cannot be taken as it stands; ``decide`` turns it into a `Refusal`."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INVALID_COMMAND) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def refusal(self) -> Refusal:
        """The error as the value that decisions return."""
        return Refusal(code=self.code, message=self.message)


def shown(text: str) -> str:
    """A user's text inside a sentence: short, and unable to end the code span that holds it."""
    short = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return "`" + short.replace("`", "'") + "`"
