"""Progress edits: the latest wins, at most one in two seconds a message, and none after the final message."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import dataclass, field

from services.chassis.logs import get_logger
from services.contracts.events import JobProgressed
from services.notifier import wording
from services.notifier.decide import supersedes
from services.notifier.ports import DiscordError, Message, Messenger

log = get_logger()
#: Finished requests that are still known, so that their late progress is dropped.
REMEMBERED = 20_000


@dataclass(slots=True)
class _Shown:
    """One unfinished request's message."""

    latest: JobProgressed | None = None
    text: str = ""  #: what the message reads now
    writer: asyncio.Task[None] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Progress:
    """Edits messages behind the stream's back: `offer` never waits."""

    def __init__(self, messenger: Messenger, spacing: float) -> None:
        self._messenger = messenger
        self._spacing = spacing
        self._shown: dict[str, _Shown] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()

    def offer(self, event: JobProgressed) -> None:
        """Show ``event`` when its message may next be edited, unless something newer comes first."""
        if event.request_id in self._finished:
            return
        shown = self._shown.setdefault(event.request_id, _Shown())
        if not supersedes(event, shown.latest):
            return
        shown.latest = event
        shown.news.set()
        if shown.writer is None or shown.writer.done():
            shown.writer = asyncio.create_task(self._write(shown))

    async def finish(self, request_id: str) -> None:
        """The final message comes next: wait for an edit under way and begin no other."""
        self._finished[request_id] = None
        if len(self._finished) > REMEMBERED:
            self._finished.popitem(last=False)
        shown = self._shown.pop(request_id, None)
        if shown is None or shown.writer is None:
            return
        shown.latest = None
        shown.news.set()
        shown.writer.cancel("the final message comes next")
        with contextlib.suppress(asyncio.CancelledError):
            await shown.writer

    async def _write(self, shown: _Shown) -> None:
        while shown.news.is_set():
            shown.news.clear()
            if shown.latest is not None:
                # Shielded: an edit that has begun is awaited, since it could otherwise land after the final one.
                edit = asyncio.ensure_future(self._edit(shown, shown.latest))
                try:
                    await asyncio.shield(edit)
                except asyncio.CancelledError:
                    await edit
                    raise
            await asyncio.sleep(self._spacing)

    async def _edit(self, shown: _Shown, event: JobProgressed) -> None:
        text = wording.progress(event)
        if text == shown.text:
            return
        try:
            await self._messenger.edit_original(event.reply_to, Message(text=text))
            shown.text = text
        except DiscordError as error:  # the next edit, or the final one, says it all
            log.info("progress_dropped", request_id=event.request_id, why=type(error).__name__)
