"""A loopback Discord for the demo and the tests: REST, gateway, and a page that looks like a channel.

The real discord.py connects to it.  What real Discord answers is followed where it is known: codes, limits, token life,
shards, sessions.  ``/sandbox/…`` is the sandbox's own: send commands as a user, read messages, arm faults.

Run it with ``python -m services.sandbox.discord --help``, or in process as `DiscordSandbox`; a process of its own is
steered with `SandboxDiscord` of ``client``.
"""

from services.sandbox.discord.faults import Fault, Route
from services.sandbox.discord.files import Upload
from services.sandbox.discord.gateway import Disturbance
from services.sandbox.discord.refusal import Refusal
from services.sandbox.discord.server import DiscordSandbox
from services.sandbox.discord.settings import Limits, SandboxSettings

__all__ = [
    "DiscordSandbox",
    "Disturbance",
    "Fault",
    "Limits",
    "Refusal",
    "Route",
    "SandboxSettings",
    "Upload",
]
