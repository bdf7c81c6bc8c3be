"""The REST API, version 10, as far as a slash-command bot uses it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from services.sandbox.discord import views
from services.sandbox.discord.bodies import bad_json, json_answer, read_body
from services.sandbox.discord.calls import Call, Calls
from services.sandbox.discord.faults import Route
from services.sandbox.discord.gateway import Gateway
from services.sandbox.discord.messages import Message
from services.sandbox.discord.places import APPLICATION_ID, BOT_NAME, bot_user, channel, guild_of
from services.sandbox.discord.refusal import Refusal, unknown_channel
from services.sandbox.discord.registry import EVERYWHERE
from services.sandbox.discord.world import World

API = "/api/v10"


class Rest:
    """The routes under ``/api/v10``."""

    def __init__(self, world: World, gateway: Gateway) -> None:
        self._world = world
        self._gateway = gateway

    def routes(self) -> list[web.RouteDef]:
        """All of them; whatever is left over is 404."""
        route = Calls(self._world).route
        return [
            route("GET", f"{API}/users/@me", Route.ME, self._me),
            route("GET", f"{API}/oauth2/applications/@me", Route.APPLICATION, self._application),
            route("GET", f"{API}/applications/@me", Route.APPLICATION, self._application),
            route("GET", f"{API}/gateway/bot", Route.GATEWAY, self._gateway_bot),
            route("GET", f"{API}/gateway", Route.GATEWAY, self._gateway_url, for_bot=False),
            *self._command_routes(),
            *self._webhook_routes(),
            *self._channel_routes(),
            route("*", f"{API}/{{rest:.*}}", Route.UNKNOWN, self._unknown, for_bot=False),
        ]

    def _command_routes(self) -> list[web.RouteDef]:
        route = Calls(self._world).route
        application = f"{API}/applications/{APPLICATION_ID}"
        paths = (f"{application}/commands", f"{application}/guilds/{{guild}}/commands")
        return [
            *(route("PUT", path, Route.COMMANDS, self._put_commands) for path in paths),
            *(route("GET", path, Route.COMMANDS, self._get_commands) for path in paths),
        ]

    def _webhook_routes(self) -> list[web.RouteDef]:
        """What an interaction's token opens; none of it takes the bot's own token."""
        route = Calls(self._world).route
        webhook = f"{API}/webhooks/{APPLICATION_ID}/{{token}}"
        message = f"{webhook}/messages/{{message}}"
        callback = f"{API}/interactions/{{interaction}}/{{token}}/callback"
        return [
            route("POST", callback, Route.CALLBACK, self._callback, for_bot=False),
            route("POST", webhook, Route.FOLLOW_UP, self._follow_up, for_bot=False),
            route("PATCH", message, Route.EDIT, self._edit, for_bot=False),
            route("GET", message, Route.ORIGINAL, self._original, for_bot=False),
            route("DELETE", message, Route.DELETE, self._delete, for_bot=False),
        ]

    def _channel_routes(self) -> list[web.RouteDef]:
        route = Calls(self._world).route
        messages = f"{API}/channels/{{channel}}/messages"
        return [
            route("GET", f"{API}/channels/{{channel}}", Route.CHANNEL, self._get_channel),
            route("POST", messages, Route.POST, self._post),
            route("GET", f"{messages}/{{message}}", Route.CHANNEL, self._get_message),
            route("PATCH", f"{messages}/{{message}}", Route.CHANNEL, self._edit_message),
            route("DELETE", f"{messages}/{{message}}", Route.CHANNEL, self._delete_message),
        ]

    async def _me(self, call: Call) -> web.Response:
        return json_answer(bot_user())

    async def _application(self, call: Call) -> web.Response:
        application: dict[str, Any] = {
            "id": APPLICATION_ID, "name": BOT_NAME, "description": "", "icon": None, "bot_public": True,
            "bot_require_code_grant": False, "verify_key": "0" * 64, "flags": 0, "owner": bot_user(),
            "team": None, "rpc_origins": [],
        }  # fmt: skip
        return json_answer(application)

    async def _gateway_bot(self, call: Call) -> web.Response:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 16}
        shards = self._world.settings.shards
        return json_answer({"url": self._gateway.url, "shards": shards, "session_start_limit": limit})

    async def _gateway_url(self, call: Call) -> web.Response:
        return json_answer({"url": self._gateway.url})

    async def _put_commands(self, call: Call) -> web.Response:
        commands = (await read_body(call.request)).payload
        if not isinstance(commands, list) or not all(isinstance(command, dict) for command in commands):
            raise bad_json()
        registered = self._world.commands.overwrite(_scope(call), commands)
        self._world.feed.tell({"kind": "commands"})
        return json_answer(registered)

    async def _get_commands(self, call: Call) -> web.Response:
        return json_answer(self._world.commands.of_scope(_scope(call)))

    async def _callback(self, call: Call) -> web.Response:
        body = await read_body(call.request)
        payload = body.object()
        kind = payload.get("type")
        if not isinstance(kind, int):
            raise bad_json()
        data = payload.get("data") or {}
        interaction_id, token = call.part("interaction"), call.part("token")
        message = self._world.answer(interaction_id, token, kind, data, body.uploads, call.at)
        if call.request.query.get("with_response", "").lower() not in ("1", "true"):
            return web.Response(status=204)
        asked = self._world.interaction_behind(message)
        return json_answer(views.api_callback(message, self._world.interactions[interaction_id], kind, asked))

    async def _follow_up(self, call: Call) -> web.Response:
        self._world.interaction_of(call.part("token"))  # before a large body is read for nothing
        body = await read_body(call.request)
        message = self._world.follow_up(call.part("token"), body.object(), body.uploads, call.at)
        return self._message(message)

    async def _edit(self, call: Call) -> web.Response:
        self._webhook_message(call)
        body = await read_body(call.request)
        message = self._webhook_message(call)  # it may have been deleted meanwhile
        return self._message(self._world.edit(message, body.object(), body.uploads, "edit", call.at))

    async def _original(self, call: Call) -> web.Response:
        return self._message(self._webhook_message(call))

    async def _delete(self, call: Call) -> web.Response:
        self._world.delete(self._webhook_message(call))
        return web.Response(status=204)

    async def _get_channel(self, call: Call) -> web.Response:
        guild_id = guild_of(call.part("channel"))
        if guild_id is None:
            raise unknown_channel()
        return json_answer(channel(guild_id))

    async def _post(self, call: Call) -> web.Response:
        body = await read_body(call.request)
        return self._message(self._world.post(call.part("channel"), body.object(), body.uploads, call.at))

    async def _get_message(self, call: Call) -> web.Response:
        return self._message(self._channel_message(call))

    async def _edit_message(self, call: Call) -> web.Response:
        body = await read_body(call.request)
        message = self._channel_message(call)
        return self._message(self._world.edit(message, body.object(), body.uploads, "channel", call.at))

    async def _delete_message(self, call: Call) -> web.Response:
        self._world.delete(self._channel_message(call))
        return web.Response(status=204)

    async def _unknown(self, call: Call) -> web.Response:
        raise Refusal(404, 0, "404: Not Found")

    def _webhook_message(self, call: Call) -> Message:
        return self._world.webhook_message(call.part("token"), call.part("message"))

    def _channel_message(self, call: Call) -> Message:
        return self._world.channel_message(call.part("channel"), call.part("message"))

    def _message(self, message: Message) -> web.Response:
        return json_answer(views.api_message(message, self._world.interaction_behind(message)))


def _scope(call: Call) -> str:
    return call.request.match_info.get("guild", EVERYWHERE)
