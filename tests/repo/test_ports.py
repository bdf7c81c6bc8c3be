"""Every way to the outside world passes the same suite as its stand-in."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.repo import guards

#: The suite that holds every implementation of a port to one behaviour, by the port's name.
SUITES = {
    "Renderer": "tests/ports/test_renderer_port.py",
    "ObjectStore": "tests/ports/test_object_store.py",
    "Messenger": "tests/ports/test_notifier_messenger.py",
    "SchemaRegistry": "tests/ports/test_schema_registry.py",
    "Broker": "tests/integration/test_brokers.py",
}
#: Protocols that are no way to the outside: seams between two modules of one stage, or a library's side of one.
SEAMS = {
    "RequestSink": "the bot's own outbox",
    "CancellationSink": "the bot's own outbox",
    "OpenMessages": "one look at a message, held to the loopback Discord in tests/ports/test_ingest_cancel.py",
    "InputStore": "the object store, one call of it",
    "Attachment": "discord.py's attachment, held to the loopback Discord in tests/ports/test_ingest_discord.py",
    "Conversation": "discord.py's interaction, held to the loopback Discord in tests/ports/test_ingest_discord.py",
    "RecordLog": "held to a real Kafka in tests/integration",
    "RecordSender": "held to a real Kafka in tests/integration",
    "Handle": "asyncio's timer handle",
    "Timers": "asyncio's timers",
}


def protocols(sources: list[guards.Source]) -> Iterator[str]:
    """Names of the Protocols that stages declare."""
    for source in sources:
        if source.path.startswith("services/") and "/sandbox/" not in source.path:
            for node in ast.walk(source.tree()):
                if isinstance(node, ast.ClassDef) and any(ast.unparse(b) == "Protocol" for b in node.bases):
                    yield node.name


def implementations(text: str) -> int:
    """The largest number of worlds that one fixture of a suite is run in."""
    counts = [
        len(node.value.elts)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword)
        and node.arg == "params"
        and isinstance(node.value, ast.List | ast.Tuple)
    ]
    return max(counts, default=0)


def test_f13_every_port_has_a_suite_or_says_why_not() -> None:
    """The original's second GPU provider never worked, since nothing ever ran both through the same checks."""
    assert set(protocols(guards.python_files())) == set(SUITES) | set(SEAMS)


@pytest.mark.parametrize("suite", SUITES.values())
def test_f13_each_suite_runs_on_more_than_one_implementation(suite: str) -> None:
    """A suite on the fake alone proves nothing of the real thing."""
    assert implementations((guards.ROOT / suite).read_text(encoding="utf-8")) >= 2


def test_f13_a_suite_with_one_implementation_is_found() -> None:
    """The guard bites."""
    assert implementations("@pytest.fixture(params=['fake'])\ndef world(): ...\n") == 1
