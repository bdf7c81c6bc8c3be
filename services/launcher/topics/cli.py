"""``distillery topics``: what the declared topics are, and making a cluster have them.

Exit codes: 0 the cluster is in order, 1 it is away or refuses or a person has to decide, 3 a dry run found work to do.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from services.chassis.settings import SettingsError, describe, load
from services.launcher.topics.apply import TopicSettings, carry_out, open_cluster, plan, wanted_topics
from services.launcher.topics.cluster import ClusterError
from services.launcher.topics.plan import changes, refusals

FAILED = 1
WORK_TO_DO = 3


@click.group(epilog="\b\nSettings (environment):\n" + describe(TopicSettings))
def topics() -> None:
    """Create, update and list the topics of schemas/topics on the cluster of KAFKA_BOOTSTRAP_SERVERS."""


@topics.command()
@click.option(
    "--dry-run", is_flag=True, help="Print the plan and change nothing; exit with 3 if there is work to do."
)
@click.option(
    "--allow-rehash", is_flag=True, help="Add partitions to topics whose keys then move to other partitions."
)
def apply(dry_run: bool, allow_rehash: bool) -> None:
    """Create missing topics and update the others; repeatable, and deletes nothing."""
    try:
        sys.exit(_apply(load(TopicSettings), dry_run=dry_run, allow_rehash=allow_rehash))
    except (ClusterError, SettingsError) as error:
        _fail(error)


@topics.command(name="list")
def list_topics() -> None:
    """Print every declared topic beside what the cluster has."""
    try:
        settings = load(TopicSettings)
        there = open_cluster(settings).topic_sizes(settings.topic_prefix)
    except (ClusterError, SettingsError) as error:
        _fail(error)
    for topic in wanted_topics(settings):
        found = there.get(topic.name)
        state = "missing" if found is None else f"{found} partitions"
        click.echo(
            f"{topic.name:<24} {state:<16} {topic.partitions} declared, {topic.config['cleanup.policy']}"
        )


def _apply(settings: TopicSettings, *, dry_run: bool, allow_rehash: bool) -> int:
    """Plan, print, and unless it is a dry run or refused, carry out; returns the exit code."""
    cluster = open_cluster(settings)
    steps = plan(settings, cluster, allow_rehash=allow_rehash)
    due, refused = changes(steps), refusals(steps)
    if not dry_run and not refused:
        carry_out(steps, cluster, click.echo)
        click.echo(f"Done: {len(due)} changes." if due else "Nothing to do: everything is as declared.")
        return 0
    for step in steps:
        click.echo(step)
    if refused:
        click.echo("Nothing was changed, because of what is refused above.", err=True)
        return FAILED
    click.echo(f"Dry run: {len(due)} changes to make." if due else "Dry run: everything is as declared.")
    return WORK_TO_DO if due else 0


def _fail(error: Exception) -> NoReturn:
    """End with the sentence that says why."""
    click.echo(str(error), err=True)
    sys.exit(FAILED)
