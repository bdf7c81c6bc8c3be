"""The one control under a message: which stage draws it does not matter to the one that obeys it.  Pure.

ingest_bot puts it under its first answer and hears when it is pressed, in whatever process has the shard; the
notifier draws it again with every progress edit, and its final edit takes it away.  So while it is there, the request
has not ended as far as its user was told.
"""

from __future__ import annotations

CANCEL_LABEL = "Cancel"
#: Of the button's ``custom_id``, which is all that Discord gives back of it, also after a restart.
CANCEL_PATTERN = r"cancel:(?P<request_id>[0-9]{1,20})"


def cancel_id(request_id: str) -> str:
    """The ``custom_id`` of the button that takes a request back."""
    return f"cancel:{request_id}"
