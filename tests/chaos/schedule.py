"""Which fault strikes what, when and for how long: a pure function of the seed."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """A kind of fault."""

    KILL = "kill"  #: SIGKILL, then a start as by a supervisor.
    TERMINATE = "terminate"  #: SIGTERM, then a start as in a rolling update.
    FREEZE = "freeze"  #: SIGSTOP past every timeout, then SIGCONT: a zombie.
    BROKER_RESTART = "broker_restart"  #: The broker stops in good order and starts.
    BROKER_KILL = "broker_kill"  #: The broker is killed and started.
    DELAY = "delay"  #: Everything over a link comes late.
    RESET = "reset"  #: A link's connections are reset, and refused for a while.
    BLACKHOLE = "blackhole"  #: A link takes connections and bytes, and passes nothing on: timeouts.
    HALF_OPEN = "half_open"  #: A link passes requests on, and loses the answers.
    DISCORD_5XX = "discord_5xx"  #: Discord answers 500 to 503.
    DISCORD_429 = "discord_429"  #: Discord limits the rate.
    COMFYUI_ERROR = "comfyui_error"  #: A ComfyUI fails, hangs or falls silent.
    POISON = "poison"  #: A record that nobody can decode.
    DUPLICATE = "duplicate"  #: A record once more.
