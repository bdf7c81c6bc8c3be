"""One run from the first process to the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import observe
from tests.chaos.cast import CAST
from tests.chaos.checker import Violation, check
from tests.chaos.cluster import PREFIX, Cluster
from tests.chaos.faults import Faults
from tests.chaos.history import History
from tests.chaos.load import Followed, Load, Order, orders
from tests.chaos.report import Figures, figures
from tests.chaos.schedule import schedule
from tests.chaos.settings import ChaosSettings
from tests.chaos.stalls import stalls
from tests.harness.waiting import eventually

_RECOVERY_SECONDS = 120.0  #: for every stage to be ready once nothing is broken any more
_LAG_SECONDS = 45.0  #: for every group to reach the ends once every user has an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run has shown."""

    figures: Figures
    violations: list[Violation]
    history: History


def prove(settings: ChaosSettings, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run the chain under faults, let it recover, and check what it left behind.

    Raises:
        BrokerError: no Kafka can be had on this machine.
        AssertionError: a stage was not ready in time, before the faults or after them.
    """
    cluster = Cluster(settings, folder, say)
    try:
        say("starting a broker, the loopback worlds and the stages")
        cluster.start()
        return _run(settings, cluster, say)
    finally:
        cluster.close()


def _run(settings: ChaosSettings, cluster: Cluster, say: Callable[[str], None]) -> Outcome:
    began = time.monotonic()
    plan = schedule(
        settings.seed,
        CAST,
        seconds=settings.seconds,
        spacing=settings.fault_spacing_seconds,
        thorough=settings.thorough,
    )
    followed = Followed(cluster.discord.url)
    load = Load(cluster.discord.url, _orders(settings), followed)
    faults = Faults(cluster, plan, settings.seed, followed.unended, say)
    commits = observe.Commits(cluster.kafka.bootstrap, PREFIX)
    for part in (load, faults, commits):
        part.start()
    faults.wait(settings.seconds + 120)
    cluster.proxy.heal()
    say("every fault is over")
    cluster.wait_ready(_RECOVERY_SECONDS)
    if not load.wait(settings.seconds):
        say(f"{load.left()} commands could not be sent, since no bot was connected")
        load.stop()
    left = followed.wait(settings.quiet_seconds, _teller(say))
    if left:
        say(f"giving up: {left} requests have had no end for {settings.quiet_seconds:g} s")
    history = _observed(settings, cluster, faults, commits, say)
    violations = check(history)
    counted = figures(
        settings,
        history,
        violations,
        stalls(history),
        seconds=time.monotonic() - began,
        restarts=cluster.restarts,
    )
    return Outcome(figures=counted, violations=violations, history=history)


def _orders(settings: ChaosSettings) -> list[Order]:
    return orders(settings.seed, requests=settings.requests, users=settings.users, seconds=settings.seconds)


def _observed(
    settings: ChaosSettings,
    cluster: Cluster,
    faults: Faults,
    commits: observe.Commits,
    say: Callable[[str], None],
) -> History:
    topics = observe.Topics(cluster.kafka.bootstrap, PREFIX)
    ends = topics.ends()

    def passed() -> bool:
        return all(lag.committed >= lag.place.offset for lag in observe.lags(commits.now(), ends))

    try:
        eventually(passed, _LAG_SECONDS)
    except AssertionError:
        say(f"a group has not reached its topic's end in {_LAG_SECONDS:g} s")
    commits.stop()
    say("reading every topic")
    found = topics.read().into(
        History(
            injected=frozenset(faults.injected),
            copies=frozenset(faults.copies),
            told=observe.told(cluster.discord),
            expired=frozenset(faults.expired),
            runs=observe.runs({name: cluster.journal(name) for name in cluster.comfyuis}),
            stored=observe.stored(cluster.objects),
            commits=tuple(commits.samples),
            lags=observe.lags(commits.now(), ends),
            incidents=tuple(faults.incidents),
            quota=settings.quota,
            readers=observe.buriers(),
        )
    )
    commits.close()
    return found


def _teller(say: Callable[[str], None]) -> Callable[[int], None]:
    """Says how many are left, when that has halved."""
    said = [1 << 30]

    def tell(left: int) -> None:
        if left <= said[0] // 2:
            said[0] = left
            say(f"{left} requests are still without an end")

    return tell
