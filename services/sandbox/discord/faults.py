"""Faults on demand: the failures of Discord's API that a bot must survive, armed over ``/sandbox/faults``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from services.sandbox.discord.refusal import Refusal

#: What Discord says with a status, where a fault does not.
_USUAL = {
    400: (50035, "Invalid Form Body"),
    401: (50027, "Invalid Webhook Token"),
    403: (50013, "Missing Permissions"),
    404: (10015, "Unknown Webhook"),
    413: (40005, "Request entity too large"),
    500: (0, "500: Internal Server Error"),
    502: (0, "502: Bad Gateway"),
    503: (0, "503: Service Unavailable"),
}


class Route(StrEnum):
    """A call of the REST API, by the name that counters and faults use."""

    ME = "me"  #: GET /users/@me
    APPLICATION = "application"  #: GET /oauth2/applications/@me and /applications/@me
    GATEWAY = "gateway"  #: GET /gateway and /gateway/bot
    COMMANDS = "commands"  #: PUT and GET the commands of the application or of one server
    CALLBACK = "callback"  #: POST /interactions/{id}/{token}/callback
    EDIT = "edit"  #: PATCH the original response or a follow-up
    ORIGINAL = "original"  #: GET the original response or a follow-up
    DELETE = "delete"  #: DELETE the original response or a follow-up
    FOLLOW_UP = "follow_up"  #: POST /webhooks/{app}/{token}
    POST = "post"  #: POST /channels/{id}/messages
    CHANNEL = "channel"  #: GET /channels/{id}, and reading, editing or deleting one of its messages
    FILE = "file"  #: GET an attachment
    UNKNOWN = "unknown"  #: Whatever the sandbox does not have.


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One armed fault, and which calls it strikes."""

    route: Annotated[Route | None, Meta(description="The call that it strikes; none = any.")] = None
    interaction_id: Annotated[str, Meta(description="Only calls about this interaction; empty = any.")] = ""
    times: Annotated[int, Meta(description="Strikes so often; 0 = until disarmed.", ge=0)] = 1
    status: Annotated[
        int, Meta(description="HTTP status instead of the call's own; 0 = its own.", ge=0, le=599)
    ] = 0
    code: Annotated[int | None, Meta(description="Discord's error code; none = the usual of the status.")] = (
        None
    )
    message: Annotated[str, Meta(description="Discord's sentence; empty = the usual of the status.")] = ""
    retry_after: Annotated[float, Meta(description="Seconds, for status 429.", ge=0)] = 0.5
    everywhere: Annotated[bool, Meta(description="A 429 for the whole bot instead of one bucket.")] = False
    delay: Annotated[float, Meta(description="Seconds before anything else happens.", ge=0)] = 0.0
    cut: Annotated[bool, Meta(description="Break the connection instead of doing anything.")] = False
    lose_answer: Annotated[
        bool,
        Meta(description="Do what was asked, then answer `status`, or with 0 break the connection."),
    ] = False

    def refusal(self) -> Refusal:
        """The failure that it stands for, where ``status`` is given."""
        code, message = _USUAL.get(self.status, (0, f"{self.status}: the sandbox was told to answer so"))
        return Refusal(self.status, code if self.code is None else self.code, self.message or message)


class Faults:
    """The armed faults, in the order in which they strike."""

    def __init__(self) -> None:
        self._armed: list[tuple[Fault, int]] = []  # with the strikes left

    def arm(self, fault: Fault) -> None:
        """Add a fault."""
        self._armed.append((fault, fault.times))

    def disarm(self) -> None:
        """Forget every fault."""
        self._armed.clear()

    def armed(self) -> list[Fault]:
        """What may still strike."""
        return [fault for fault, _ in self._armed]

    def take(self, route: Route, interaction_id: str = "") -> Fault | None:
        """The first armed fault that strikes this call, using up one strike."""
        for index, (fault, left) in enumerate(self._armed):
            if fault.route in (None, route) and fault.interaction_id in ("", interaction_id):
                if left == 1:
                    del self._armed[index]
                else:
                    self._armed[index] = (fault, max(0, left - 1))
                return fault
        return None
