"""What the notifier writes to users.  Pure.

Every text fits one Discord message: where it would not, the command string is cut, never the news.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from services.contracts.errors import ErrorCode
from services.contracts.events import JobProgressed, Phase, Reason
from services.notifier.policy import CONTENT_LIMIT

_BAR_CELLS = 10
_NOTES_LIMIT = 600  #: characters of all notes together
_COMMAND_LEAST = 150  #: characters that are left for the command string whatever else is said
_REASON_LIMIT = 500  #: characters of a moderator's sentence
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Discord shows a backslash and ASCII punctuation as that punctuation, whatever it would mean otherwise.  A colon
#: means something only before ``//`` (a link, which would be unfurled) or around an emoji's name.
_SPECIAL = re.compile(r"[\\*_~|`<>@#\[\]]|:(?=//|\w+:)")


def escape(text: str) -> str:
    """A user's text on one line, such that Discord shows it as typed: no markdown, mention, emoji or link."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def length(text: str) -> int:
    """In UTF-16 units, as clients count; what counts code points counts no more."""
    return len(text) + sum(letter > "\uffff" for letter in text)


def clip(text: str, limit: int) -> str:
    """The escaped form of ``text`` in at most ``limit`` characters, cut before it is escaped."""
    escaped = escape(text)
    if length(escaped) <= limit:
        return escaped
    kept = " ".join(text.split())[: max(0, limit - 1)]
    while kept and length(escape(kept)) > limit - 1:
        # An escaped letter takes two places, so never more than half of the surplus has to go.
        kept = kept[: -max(1, (length(escape(kept)) - limit + 1) // 2)]
    return escape(kept) + "…" if limit > 0 else ""


def framed(before: str, command: str, after: str) -> str:
    """``before``, the command string in bold, ``after``: at most one message long."""
    room = CONTENT_LIMIT - length(before) - length(after) - len("****")
    shown = clip(command, room)
    return f"{before}**{shown}**{after}" if shown else f"{before}{after}"[:CONTENT_LIMIT]


def noted(notes: Sequence[str], taken: int = 0) -> str:
    """The notes as small lines below a text, as far as they fit beside ``taken`` characters."""
    text, room = "", min(_NOTES_LIMIT, CONTENT_LIMIT - _COMMAND_LEAST - taken)
    for note in notes:
        line = "\n-# " + clip(note, 200)
        if length(text + line) > room:
            break
        text += line
    return text


def progress(event: JobProgressed, notes: Sequence[str] = ()) -> str:
    """How an unfinished request stands."""
    before, after = _stand(event)
    return framed(before, event.command_string, after + noted(notes))


def drawn(user_id: str, command: str, seconds: float, notes: Sequence[str] = (), further: str = "") -> str:
    """Over the finished images; ``further`` is a sentence of its own."""
    after = f" ({max(0.0, seconds):.1f} seconds)" + (f"\n{further}" if further else "")
    return framed(f"{mention(user_id)} ", command, after + noted(notes, length(after)))


def failed(user_id: str, command: str, code: str) -> str:
    """Why there are no images: the code's own sentence, whatever the failure said of itself."""
    return framed(f"{mention(user_id)} ", command, f"\n{sentence(code)} [{public_code(code)}]")


def cancelled(user_id: str, command: str) -> str:
    """That the user has taken the request back."""
    return framed(f"{mention(user_id)} ", command, f"\nCancelled. [{ErrorCode.CANCELLED.value}]")


def rejected(user_id: str, reasons: Sequence[Reason]) -> str:
    """Why a request was refused.  The prompt is not repeated: the message may stand in a public channel."""
    code = reasons[0].code if reasons else ErrorCode.PROMPT_REJECTED.value
    said = clip(reasons[0].message, _REASON_LIMIT) if reasons else ""
    return f"{mention(user_id)} {said or sentence(code)} [{public_code(code)}]"


def missing(count: int, total: int) -> str:
    """That some of the images are not there."""
    code = ErrorCode.STORAGE_UNAVAILABLE.value
    return f"{count} of {total} images could not be read from the image store. [{code}]"


def links(urls: Sequence[str | None], keys: Sequence[str]) -> str:
    """Where images are that are too large for Discord; as many links as a message takes."""
    lines = [f"\n<{url}>" for url in urls if url is not None]
    if not lines:
        return f"The images are too large for Discord; {_kept(keys)}"
    text = "The images are too large for Discord; they open here:"
    room = CONTENT_LIMIT - _COMMAND_LEAST - 50
    if length(whole := text + "".join(lines)) <= room:
        return whole
    rest = f"\nAll {len(urls)}: {_kept(keys)}"
    for line in lines:
        if length(text + line + rest) > room:
            break
        text += line
    return text + rest


def mention(user_id: str) -> str:
    """A user's name, linked; whether it rings is decided by the message's allowed mentions."""
    return f"<@{user_id}>"


def public_code(code: str) -> str:
    """A stable code as it is; anything else, such as a traceback, is an internal error's."""
    return code if _CODE.fullmatch(code) else ErrorCode.INTERNAL_ERROR.value


def sentence(code: str) -> str:
    """What the code means; a code of a newer version has the general sentence."""
    try:
        return ErrorCode(code).sentence
    except ValueError:
        return ErrorCode.INTERNAL_ERROR.sentence


def _kept(keys: Sequence[str]) -> str:
    # Each part of a split request has a folder of its own, in one that is the request's.
    levels = zip(*(key.split("/")[:-1] for key in keys), strict=False)
    folder = "/".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels))
    return f"they are kept in the image store under {escape(folder or 'its root')[:200]}."


def _stand(event: JobProgressed) -> tuple[str, str]:
    again = f" again (attempt {event.attempt})" if event.attempt > 1 else ""
    match event.phase:
        case Phase.QUEUED:
            start = "Back in the queue" if event.attempt > 0 else "In the queue"
            place = f", place {event.queue_place}" if event.queue_place else ""
            return f"{start}{place}{_eta(event.eta_seconds)}: ", noted([event.note] if event.note else [])
        case Phase.STARTING:
            return f"Starting{again}: ", ""
        case Phase.RUNNING:
            return f"Drawing{again}: ", f"\n{bar(event.percent)}{_eta(event.eta_seconds)}"
        case Phase.SAVING:
            return f"Saving{again}: ", f"\n{bar(100)}"
        case _:
            return "In progress: ", ""


def bar(percent: int) -> str:
    """Ten cells and the number."""
    bounded = min(100, max(0, percent))
    full = bounded * _BAR_CELLS // 100
    return f"{'█' * full}{'░' * (_BAR_CELLS - full)} {bounded} %"


def _eta(seconds: float | None) -> str:
    """An estimate, no finer than it deserves."""
    if seconds is None or seconds <= 0:
        return ""
    if seconds < 55:
        return f", about {max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    return f", about {minutes} min" if minutes < 90 else f", about {round(minutes / 60)} h"
