"""``distillery audit``: one request's journey, what is on a topic, and sending records again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from services.audit import render, replay, tail
from services.audit.adapters.kafka_log import KafkaLog
from services.audit.adapters.kafka_sender import KafkaSender
from services.audit.describe import as_json, as_line
from services.audit.moments import snowflake_instant
from services.audit.observation import Observation
from services.audit.parameters import Duration, Since, TopicName
from services.audit.ports import AuditError, Span
from services.audit.progress import ProgressLine
from services.audit.search import EARLY, Search, UnknownRequest, window_of
from services.audit.selection import Selection, SelectionError
from services.audit.timeline import build
from services.chassis.clock import system_clock
from services.chassis.schema_registry import HttpSchemaRegistry
from services.chassis.settings import SettingsError, StageSettings, load
from services.contracts.codec import Codec
from services.contracts.errors import SchemaRegistryError

FAILED, NOTHING_FOUND, NOT_ALL_SENT = 1, 3, 4
DEFAULT_LAST = 10

_CONNECTION = """
Connects as the stages do: KAFKA_BOOTSTRAP_SERVERS (default 127.0.0.1:9092), KAFKA_SECURITY_PROTOCOL,
KAFKA_SASL_*, KAFKA_CA_FILE, TOPIC_PREFIX, SCHEMA_REGISTRY_URL.
"""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every command works with."""

    settings: StageSettings
    log: KafkaLog
    codec: Codec


@click.group(epilog=_CONNECTION)
def audit() -> None:
    """Read, follow and replay what went over the topics.

    Reading joins no consumer group and commits nothing: no stage notices.  Interaction tokens are never shown.

    \b
    Exit codes of all commands:
      0  done
      1  the broker, the topic or a setting is not as it should be; one sentence says what
      2  the command line is wrong
      3  nothing was found
      4  replay: some records were refused, or not acknowledged
    """


@audit.command(epilog=_CONNECTION)
@click.argument("request_id")
@click.option("--user", help="The user's id, if it is known: the search then reads less.")
@click.option(
    "--within",
    type=Duration(),
    default="1d",
    show_default=True,
    help="How long after the interaction to look for records.",
)
@click.option("--full", is_flag=True, help="Read all that the topics keep, whatever the id says of its time.")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object with every record.")
def timeline(request_id: str, user: str | None, within: Any, full: bool, as_json_: bool) -> None:
    """Show every record of one request, in order, and how it ended.

    REQUEST_ID is the interaction's id, as every event and log line has it.  Its time is part of it, so the search
    begins there; its first record tells the user, so that the rest is read from that user's partition alone.

    \b
    Examples:
      distillery audit timeline 1313131313131313131
      distillery audit timeline 1313131313131313131 --json | jq .anomalies
      distillery audit timeline 1313131313131313131 --within 7d

    \b
    at       since the interaction, by the brokers' clock
    wait     since the record that caused this one
    stages   how long each part of the way took
    !        what is not as it should be: no delivered record, dead letters, attempts that never ended, copies
    """
    with _telling_errors(), _progress() as line:
        tools = _tools()
        window = window_of(request_id, within, full=full)
        if window.since is None and not full:
            click.echo(f"{request_id} is not a Discord id, so all that is kept is read.", err=True)
        search = Search(
            log=tools.log,
            codec=tools.codec,
            request_id=request_id,
            window=window,
            say=line.say,
            progress=line.count,
        )
        journey = build(request_id, search.run(user), system_clock())
    if as_json_:
        _echo_json(render.timeline_json(journey), indent=2)
    else:
        click.echo("\n".join(render.timeline_lines(journey)))


@audit.command(name="tail", epilog=_CONNECTION)
@click.argument("topic", type=TopicName())
@click.option("--from-beginning", is_flag=True, help="Every record that the topic keeps.")
@click.option(
    "--last", type=click.IntRange(min=1), help=f"The last so many; {DEFAULT_LAST} if nothing is said."
)
@click.option("--since", type=Since(), help="Records appended since then: 10m, 2h, 2026-03-01T12:00Z.")
@click.option("--follow", "-f", is_flag=True, help="Then go on with new records until Ctrl-C.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.")
@click.option("--request", "request_id", help="Only records about this request.")
@click.option("--user", "user_id", help="Only records about this user.")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object a line.")
def tail_command(
    topic: str,
    from_beginning: bool,
    last: int | None,
    since: datetime | None,
    follow: bool,
    partition: int | None,
    request_id: str | None,
    user_id: str | None,
    as_json_: bool,
) -> None:
    """Show the records of TOPIC, decoded, one a line, oldest first.

    A record that cannot be decoded is shown with the reason, its first bytes and its headers; a dead letter with
    where it came from and why.

    \b
    Examples:
      distillery audit tail requests
      distillery audit tail dead-letters --since 1h
      distillery audit tail completed --follow --user 42
      distillery audit tail moderated --from-beginning --json | jq 'select(.title == "rejected")'

    With --request and none of --from-beginning, --last and --since, it begins when the request was made.
    """
    if sum((from_beginning, last is not None, since is not None)) > 1:
        raise click.UsageError("Only one of --from-beginning, --last and --since can be given.")
    if request_id is not None and not from_beginning and last is None and since is None:
        made_at = snowflake_instant(request_id)
        since, from_beginning = (made_at - EARLY, False) if made_at is not None else (None, True)
    count = None if from_beginning or since is not None else last or DEFAULT_LAST
    choice = tail.Choice(topic=topic, partition=partition, request_id=request_id, user_id=user_id)
    with _telling_errors():
        shown = _show_tail(_tools(), choice, since, count, follow=follow, as_json_=as_json_)
    if not shown:
        click.echo(f"Nothing that was asked for is on {topic}.", err=True)
        sys.exit(NOTHING_FOUND)


@audit.command(name="replay", epilog=_CONNECTION)
@click.argument("topic", type=TopicName())
@click.option("--request", "request_id", help="The records about this request.")
@click.option(
    "--partition", type=click.IntRange(min=0), help="With --offset: the records of this partition ..."
)
@click.option("--offset", type=click.IntRange(min=0), help="... at this offset ...")
@click.option("--to", "to_offset", type=click.IntRange(min=0), help="... up to and with this one.")
@click.option(
    "--dead-letters", is_flag=True, help="The dead letters that came from TOPIC (dead-letters: from any)."
)
@click.option(
    "--error-class", help="With --dead-letters: only those with this error, such as UndecodableRecord."
)
@click.option("--since", type=Since(), help="Only records appended since then: 10m, 2h, 2026-03-01T12:00Z.")
@click.option("--to-topic", help="Send to this topic; by default where each came from.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Send at most so many."
)
@click.option(
    "--force", is_flag=True, help="Send also what cannot be decoded, does not fit, or is old state."
)
@click.option("--execute", is_flag=True, help="Send; without it nothing is sent.")
@click.option("--json", "as_json_", is_flag=True, help="One JSON object.")
def replay_command(
    topic: str,
    to_topic: str | None,
    limit: int,
    force: bool,
    execute: bool,
    as_json_: bool,
    **selection: Any,
) -> None:
    """Send records of TOPIC again.  A dry run that prints the plan, unless --execute is given.

    Bytes, key and headers are kept, and the header replay-of says which record was sent again; a replay of a replay
    names the replay, so that they form a chain.  The key decides the partition, but on dispatched and jobs, where a
    record keeps its own.  A dead letter goes back to the topic it came from, without its dlq-* headers.  Of several
    records of one event only the last is sent.

    \b
    Examples:
      distillery audit replay requests --request 1313131313131313131
      distillery audit replay completed --partition 3 --offset 120 --to 140 --execute
      distillery audit replay moderated --dead-letters --error-class StorageError --execute
      distillery audit replay dead-letters --dead-letters --since 2h

    \b
    Exit codes:
      0  the plan was printed, or every record was sent
      1  the broker, the topic or a setting is not as it should be; one sentence says what
      2  the command line is wrong
      3  nothing matched, or nothing of it may be sent
      4  some records were refused, or not acknowledged; the others were sent
    """
    wanted = Selection(topic=topic, **selection)
    with _telling_errors():
        wanted.check()
        tools = _tools()
        with _progress() as line:
            line.say(f"reading {wanted.source}")
            found = wanted.find(tools.log, tools.codec, line.count)
            plan = replay.plan(found, to_topic=to_topic, limit=limit, force=force)
            _check_targets(tools, plan)
        results = _carry_out(tools, plan) if execute and plan.replays else None
    _report(plan, results, as_json_=as_json_)
    sys.exit(_exit_code(plan, results))


def _show_tail(
    tools: Tools,
    choice: tail.Choice,
    since: datetime | None,
    count: int | None,
    *,
    follow: bool,
    as_json_: bool,
) -> bool:
    """Print the records; returns whether there was one, or would have been one with more patience."""
    pick = tail.picker(choice, tools.codec)
    spans = tail.spans_of(tools.log, choice, since)
    shown = follow
    with _progress() as line:
        line.say(f"reading {choice.topic}")
        seen = (
            tail.all_of(tools.log, spans, pick, line.count)
            if count is None
            else tail.last_of(tools.log, spans, count, pick, line.count)
        )
        for one in seen:
            line.done()
            _echo_record(one, as_json_=as_json_)
            shown = True
    if follow:
        _follow(tools, spans, pick, as_json_=as_json_)
    return shown


def _follow(tools: Tools, spans: Sequence[Span], pick: tail.Pick, *, as_json_: bool) -> None:
    try:
        for raw in tools.log.follow(spans):
            if (seen := pick(raw)) is not None:
                _echo_record(seen, as_json_=as_json_)
    except KeyboardInterrupt:
        return  # how following ends


def _check_targets(tools: Tools, plan: replay.Plan) -> None:
    """Refuse a plan with a topic that the broker does not have, before anything is sent."""
    for name in sorted({r.sending.topic for r in plan.replays}):
        tools.log.partitions(name)


def _carry_out(tools: Tools, plan: replay.Plan) -> list[str | None]:
    return KafkaSender(tools.settings).send([r.sending for r in plan.replays])


def _report(plan: replay.Plan, results: list[str | None] | None, *, as_json_: bool) -> None:
    if as_json_:
        _echo_json(render.plan_json(plan, results), indent=2)
        return
    for text in (*render.plan_lines(plan, results), render.counts_line(plan, results)):
        click.echo(text)
    if results is None and plan.replays:
        click.echo("This was a dry run and nothing was sent; --execute sends it.")


def _exit_code(plan: replay.Plan, results: list[str | None] | None) -> int:
    if not plan.replays:
        return NOTHING_FOUND
    failed = results is not None and any(result is not None for result in results)
    return NOT_ALL_SENT if failed or (results is not None and plan.refusals) else 0


def _tools() -> Tools:
    settings = load(StageSettings)
    url = settings.schema_registry_url
    # Not open_codec: that registers schemas, and an audit changes nothing.
    codec = Codec(HttpSchemaRegistry(url, prefix=settings.topic_prefix)) if url else Codec()
    return Tools(settings=settings, log=KafkaLog(settings), codec=codec)


def _echo_record(seen: Observation, *, as_json_: bool) -> None:
    if as_json_:
        _echo_json(as_json(seen))
    else:
        click.echo(as_line(seen))


def _echo_json(value: Any, indent: int | None = None) -> None:
    # ASCII only: what users typed must not reach a terminal as a control sequence.
    click.echo(json.dumps(value, indent=indent, ensure_ascii=True))


@contextmanager
def _progress() -> Iterator[ProgressLine]:
    line = ProgressLine(sys.stderr.isatty())
    try:
        yield line
    finally:
        line.done()


@contextmanager
def _telling_errors() -> Iterator[None]:
    """Turn what is expected to go wrong into one sentence and an exit code."""
    try:
        yield
    except SelectionError as error:
        raise click.UsageError(str(error)) from error
    except (AuditError, SettingsError, SchemaRegistryError) as error:
        failure = click.ClickException(str(error))
        failure.exit_code = NOTHING_FOUND if isinstance(error, UnknownRequest) else FAILED
        raise failure from error
