"""The commands that the bot has registered, for all servers or for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.sandbox.discord.commands import check_registration
from services.sandbox.discord.places import APPLICATION_ID

EVERYWHERE = ""


class CommandRegistry:
    """Commands by scope and name: a scope is a server's id, or `EVERYWHERE`."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._scopes: dict[str, dict[str, dict[str, Any]]] = {}

    def overwrite(self, scope: str, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Replace all commands of a scope, as PUT does; a name that was there keeps its id.

        Raises:
            Refusal: Discord would not accept them; the scope stays as it was.
        """
        check_registration(commands)
        before = self._scopes.get(scope, {})
        self._scopes[scope] = {
            command["name"]: self._registered(scope, command, before.get(command["name"]))
            for command in commands
        }
        return self.of_scope(scope)

    def of_scope(self, scope: str) -> list[dict[str, Any]]:
        """What one scope has."""
        return list(self._scopes.get(scope, {}).values())

    def in_guild(self, guild_id: str) -> Mapping[str, dict[str, Any]]:
        """What a user of a server can send, by name; a server's own command hides the global one."""
        return {**self._scopes.get(EVERYWHERE, {}), **self._scopes.get(guild_id, {})}

    def _registered(
        self, scope: str, command: dict[str, Any], before: dict[str, Any] | None
    ) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "type": 1, "default_member_permissions": None, "nsfw": False, "name_localizations": None,
            "description_localizations": None, "options": [],
        }  # fmt: skip
        identity = {
            "id": before["id"] if before else self._new_id(),
            "application_id": APPLICATION_ID,
            "version": self._new_id(),
        }
        return {**defaults, **command, **identity, **({"guild_id": scope} if scope else {})}
