"""Which fault strikes what, when and for how long: a pure function of the seed and of who takes part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Kind(StrEnum):
    """A kind of fault."""

    KILL = "kill"  #: SIGKILL, then a start as by a supervisor.
    TERMINATE = "terminate"  #: SIGTERM, then a start as in a rolling update.
    FREEZE = "freeze"  #: SIGSTOP past every timeout, then SIGCONT: a zombie.
    BROKER_RESTART = "broker_restart"  #: The broker stops in good order and starts.
    BROKER_KILL = "broker_kill"  #: The broker is killed and started.
    DELAY = "delay"  #: Everything over a link comes late.
    RESET = "reset"  #: A link's connections are reset, and refused for a while.
    BLACKHOLE = "blackhole"  #: A link passes nothing on, as when packets are dropped: timeouts.
    HALF_OPEN = "half_open"  #: The far end of a link's connections is gone, and the near end does not know.
    DISCORD_5XX = "discord_5xx"  #: Discord answers 500 to 503.
    DISCORD_429 = "discord_429"  #: Discord limits the rate.
    DISCORD_LOST = "discord_lost"  #: Discord does what it is asked, and its answer is lost.
    TOKEN_EXPIRED = (
        "token_expired"  #: Discord takes no edit for some open requests any more, before their 15 minutes.
    )
    COMFYUI_ERROR = "comfyui_error"  #: A ComfyUI fails, hangs or falls silent.
    POISON = "poison"  #: A record that nobody can decode.
    DUPLICATE = "duplicate"  #: A record once more.


LINK_KINDS = (Kind.DELAY, Kind.RESET, Kind.BLACKHOLE, Kind.HALF_OPEN)
DISCORD_KINDS = (Kind.DISCORD_5XX, Kind.DISCORD_429, Kind.DISCORD_LOST)
BROKER_KINDS = (Kind.BROKER_RESTART, Kind.BROKER_KILL)
#: What a ComfyUI does wrong: names of `services.sandbox.comfyui.faults.FaultKind`.
COMFYUI_ERRORS = (
    "node_exception", "out_of_memory", "hang", "hang_ignoring_interrupt", "drop_websocket", "silence",
    "refuse_prompt", "lose_answer", "slow_history", "exit",
)  # fmt: skip
#: Every topic whose readers bury what they cannot decode.
POISONED = (
    "requests", "moderated", "dispatched", "completed", "delivered", "progress", "workers", "cancellations",
)  # fmt: skip
DUPLICATED = ("requests", "moderated", "dispatched", "completed", "delivered")
#: How often each kind is drawn once each has had its turn.
_WEIGHTS = {
    Kind.KILL: 8, Kind.TERMINATE: 4, Kind.FREEZE: 3, Kind.BROKER_RESTART: 1, Kind.BROKER_KILL: 1, Kind.DELAY: 3,
    Kind.RESET: 3, Kind.BLACKHOLE: 3, Kind.HALF_OPEN: 2, Kind.DISCORD_5XX: 2, Kind.DISCORD_429: 2,
    Kind.DISCORD_LOST: 2, Kind.TOKEN_EXPIRED: 2, Kind.COMFYUI_ERROR: 4, Kind.POISON: 2, Kind.DUPLICATE: 2,
}  # fmt: skip
#: Seconds that each kind lasts; for a process that ends, how long it stays away.
_LASTS = {
    Kind.KILL: (0.3, 2.0), Kind.TERMINATE: (3.0, 6.0), Kind.FREEZE: (13.0, 18.0), Kind.BROKER_RESTART: (0.0, 1.0),
    Kind.BROKER_KILL: (0.0, 2.0), Kind.DELAY: (3.0, 8.0), Kind.RESET: (0.1, 3.0), Kind.BLACKHOLE: (3.0, 14.0),
    Kind.HALF_OPEN: (2.0, 8.0), Kind.DISCORD_5XX: (0.5, 4.0), Kind.DISCORD_429: (0.5, 4.0),
    Kind.DISCORD_LOST: (0.5, 4.0), Kind.TOKEN_EXPIRED: (0.0, 0.0),
    Kind.COMFYUI_ERROR: (4.0, 12.0), Kind.POISON: (0.0, 0.0), Kind.DUPLICATE: (0.0, 0.0),
}  # fmt: skip
#: Longer than a rebalance may take, which is the longest timeout of a Faust stage.
_LONG_FREEZE = (62.0, 70.0)
#: Seconds until what a fault does to its target is over, beyond the fault itself: a stage starts in this time, and a
#: broker on a busy machine.
_RECOVERY, _BROKER_RECOVERY = 4.0, 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of the schedule."""

    at: float  #: seconds after the load has begun
    kind: Kind
    target: str  #: a process, a link, ``broker``, ``discord`` or a topic
    seconds: float  #: how long it lasts
    detail: str = ""  #: which error, status or latency, where the kind has several

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who takes part."""

    stages: dict[str, tuple[str, ...]]  #: processes by stage
    grouped: tuple[str, ...]  #: stages whose processes share partitions, and so have a rebalance to miss
    comfyuis: tuple[str, ...]
    links: tuple[str, ...]  #: such as ``kafka:moderator-1``

    def processes(self) -> tuple[str, ...]:
        """Every process of a stage."""
        return tuple(name for names in self.stages.values() for name in names)


def schedule(seed: int, cast: Cast, *, seconds: float, spacing: float, thorough: bool) -> list[Fault]:
    """The faults of one run, in order of time; the same for the same arguments.

    Args:
        seconds: within these every fault ends.
        spacing: seconds between the begins of two faults, on average, where the turns of all leave so much time.
        thorough: every stage gets each fault of a process, and one is frozen past a rebalance's timeout; else every
            kind strikes at least once.
    """
    random = Random(seed)  # noqa: S311 - a schedule to be repeated, no secret
    turns = _turns(cast, random, thorough=thorough)
    for _ in range(int(seconds / spacing) - len(turns)):
        turns.append((random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0], ""))
    random.shuffle(turns)
    # Long ones early, so that they end in time.
    turns.sort(key=lambda turn: turn[1] == "long", reverse=True)
    step = seconds * 0.9 / len(turns)
    free_at: dict[str, float] = {}
    faults = [
        _fault(
            random, cast, kind, wish, at=(index + random.random() * 0.8) * step, end=seconds, free_at=free_at
        )
        for index, (kind, wish) in enumerate(turns)
    ]
    return sorted((fault for fault in faults if fault is not None), key=lambda fault: fault.at)


def _turns(cast: Cast, random: Random, *, thorough: bool) -> list[tuple[Kind, str]]:
    """What must strike at least once: a kind, and where it matters a stage or an error."""
    if not thorough:
        return [(kind, "") for kind in Kind] + [(Kind.KILL, stage) for stage in cast.stages]
    turns = [(kind, stage) for kind in (Kind.KILL, Kind.TERMINATE, Kind.FREEZE) for stage in cast.stages]
    turns += [(Kind.KILL, stage) for stage in cast.stages for _ in range(2)]
    turns += [(kind, "kafka") for kind in LINK_KINDS] + [(kind, "comfyui") for kind in LINK_KINDS]
    turns += [(kind, "discord") for kind in LINK_KINDS] + [(kind, "") for kind in BROKER_KINDS]
    turns += [(Kind.COMFYUI_ERROR, error) for error in COMFYUI_ERRORS]
    turns += [(Kind.POISON, topic) for topic in POISONED] + [(Kind.DUPLICATE, topic) for topic in DUPLICATED]
    turns += [(kind, "") for kind in (*DISCORD_KINDS, Kind.TOKEN_EXPIRED)]
    return [*turns, (Kind.FREEZE, "long")]


def _fault(
    random: Random, cast: Cast, kind: Kind, wish: str, *, at: float, end: float, free_at: dict[str, float]
) -> Fault | None:
    """One fault of this kind, on a target that no other strikes meanwhile; later where each is taken."""
    targets = _targets(cast, kind, wish)
    free = [target for target in targets if free_at.get(target, 0.0) <= at]
    target = random.choice(free or [min(targets, key=lambda target: free_at[target])])
    at = max(at, free_at.get(target, 0.0))
    if at > end:
        return None
    lasts = random.uniform(*(_LONG_FREEZE if wish == "long" else _LASTS[kind]))
    seconds = round(max(0.0, min(lasts, end - at)), 2)
    free_at[target] = at + seconds + (_BROKER_RECOVERY if kind in BROKER_KINDS else _RECOVERY)
    return Fault(
        at=round(at, 2), kind=kind, target=target, seconds=seconds, detail=_detail(random, kind, wish)
    )


def _targets(cast: Cast, kind: Kind, wish: str) -> tuple[str, ...]:
    match kind:
        case Kind.KILL:
            return cast.stages.get(wish, cast.processes() + cast.comfyuis)
        case Kind.FREEZE if wish == "long":
            return tuple(name for stage in cast.grouped for name in cast.stages[stage])
        case Kind.TERMINATE | Kind.FREEZE:
            return cast.stages.get(wish, cast.processes())
        case Kind.BROKER_RESTART | Kind.BROKER_KILL:
            return ("broker",)
        case Kind.DISCORD_5XX | Kind.DISCORD_429 | Kind.DISCORD_LOST | Kind.TOKEN_EXPIRED:
            return ("discord",)
        case Kind.COMFYUI_ERROR:
            return cast.comfyuis
        case Kind.POISON:
            return (wish,) if wish else POISONED
        case Kind.DUPLICATE:
            return (wish,) if wish else DUPLICATED
        case _:
            return tuple(link for link in cast.links if link.startswith(wish))


def _detail(random: Random, kind: Kind, wish: str) -> str:
    match kind:
        case Kind.COMFYUI_ERROR:
            return wish or random.choice(COMFYUI_ERRORS)
        case Kind.DISCORD_5XX:
            return random.choice(("500", "502", "503"))
        case Kind.DISCORD_429:
            return random.choice(("0.3", "1", "2.5"))  # seconds that Discord asks to wait
        case Kind.DELAY:
            return random.choice(("0.02", "0.1", "0.4"))  # seconds
        case _:
            return ""
