"""What Discord answers where it does not do what was asked."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An answer that is no success: HTTP status, Discord's error code, its sentence, the faulty fields."""

    def __init__(self, status: int, code: int, message: str, errors: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors

    def body(self) -> dict[str, Any]:
        """The JSON that goes with the status."""
        body: dict[str, Any] = {"message": str(self), "code": self.code}
        return body | {"errors": self.errors} if self.errors else body


def invalid_form(field: str, kind: str, sentence: str) -> Refusal:
    """400/50035: one field of the body is wrong; ``kind`` is such as ``BASE_TYPE_MAX_LENGTH``."""
    nested: dict[str, Any] = {"_errors": [{"code": kind, "message": sentence}]}
    for name in reversed(field.split(".")):
        nested = {name: nested}
    return Refusal(400, 50035, "Invalid Form Body", nested)


def unauthorized() -> Refusal:
    """The bot's own token is wrong."""
    return Refusal(401, 0, "401: Unauthorized")


def unknown_interaction() -> Refusal:
    """No such interaction, or more than 3 s old and never answered."""
    return Refusal(404, 10062, "Unknown interaction")


def already_acknowledged() -> Refusal:
    """The second first answer."""
    return Refusal(400, 40060, "Interaction has already been acknowledged.")


def unknown_webhook() -> Refusal:
    """No such token, or its interaction has not been answered yet."""
    return Refusal(404, 10015, "Unknown Webhook")


def invalid_webhook_token() -> Refusal:
    """The token's 15 minutes are over."""
    return Refusal(401, 50027, "Invalid Webhook Token")


def unknown_message() -> Refusal:
    """No such message, or deleted."""
    return Refusal(404, 10008, "Unknown Message")


def unknown_channel() -> Refusal:
    """No such channel."""
    return Refusal(404, 10003, "Unknown Channel")


def empty_message() -> Refusal:
    """Neither text nor file nor embed."""
    return Refusal(400, 50006, "Cannot send an empty message")


def too_large() -> Refusal:
    """A file over the limit."""
    return Refusal(413, 40005, "Request entity too large")


def not_sent(sentence: str) -> Refusal:
    """A command that a user of the sandbox cannot send; Discord's own client would not have let it through."""
    return Refusal(409, 0, sentence)
