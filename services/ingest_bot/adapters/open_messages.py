"""Whether a request's message still has its button, which the notifier's final edit takes away."""

from __future__ import annotations

import aiohttp
from discord.http import Route

from services.contracts.events import ReplyTo

LOOK_SECONDS = 2.0


class OriginalMessages:
    """Looks by the interaction's own token; no call is tried again."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LOOK_SECONDS))

    async def is_open(self, reply_to: ReplyTo) -> bool:
        """See `OpenMessages`."""
        route = Route(
            "GET",
            "/webhooks/{webhook_id}/{webhook_token}/messages/@original",
            webhook_id=reply_to.application_id,
            webhook_token=reply_to.interaction_token,
        )
        try:
            async with self._session.get(route.url) as answer:
                return answer.status != 200 or bool((await answer.json()).get("components"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return True

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
