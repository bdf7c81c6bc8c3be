"""Fixtures and hooks of every tier: one real broker a run, a corner of it for each test, stages as processes.

A test's folder is its tier, and gives it the marker of the same name.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.chassis.settings import load
from services.contracts.topics import load_topics
from services.launcher.brokers.choose import BrokerSettings, OpenBroker, open_broker
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.kafka import KafkaCorner
from tests.harness.report import Report, fails_for_skips
from tests.harness.stage import StageProcess, StartStage

TIERS = ("unit", "contract", "ports", "integration", "e2e", "chaos", "bench", "repo")
_REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBroker]:
    """The run's broker: a real Kafka where one can be had (`open_broker` says how), else the embedded one."""
    counts = {name: topic.partitions for name, topic in load_topics().items()}
    opened = open_broker(load(BrokerSettings), data_dir=tmp_path_factory.mktemp("kafka"), topics=counts)
    yield opened
    opened.broker.stop()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[OpenBroker]:
    """An embedded broker, for tests of what holds on it too and for quick ones."""
    embedded = EmbeddedBroker()
    yield OpenBroker(broker=embedded, bootstrap=embedded.start(), reason="the test asks for it")
    embedded.stop()


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of this test's own for every topic and group name: the setting TOPIC_PREFIX."""
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture
def kafka(broker: OpenBroker, topic_prefix: str) -> Iterator[KafkaCorner]:
    """This test's corner of the run's broker, without topics yet."""
    with KafkaCorner(broker, topic_prefix) as corner:
        yield corner


@pytest.fixture
def chain_kafka(kafka: KafkaCorner) -> KafkaCorner:
    """This test's corner of the run's broker, with every topic of the registry."""
    kafka.create_registry_topics()
    return kafka


@pytest.fixture
def start_stage(request: pytest.FixtureRequest, kafka: KafkaCorner, tmp_path: Path) -> Iterator[StartStage]:
    """Start stages on this test's corner: ``start_stage("moderator", {"SETTING": "value"}, name="moderator-2")``.

    Returns the ready `StageProcess`; all are ended after the test, and the log tails of a failed one are shown.
    """
    started: list[StageProcess] = []

    def start(stage: str, env: Mapping[str, str] | None = None, *, name: str = "") -> StageProcess:
        process = StageProcess(stage, kafka.stage_env() | dict(env or {}), tmp_path / "logs", name=name)
        started.append(process)
        process.start()
        process.wait_ready()
        return process

    with ExitStack() as closing:
        yield start
        for process in started:
            closing.callback(process.close)
            if _failed(request.node):
                print(f"--- {process.name}, log's end\n{process.log_tail()}")  # noqa: T201 - pytest shows it


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known, so that a mistyped one is an error."""
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: the tests under tests/{tier}")
    config.stash[_REPORT] = Report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and run the quick tiers first."""
    for item in items:
        item.add_marker(_tier(item))
    items.sort(key=lambda item: TIERS.index(_tier(item)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep each phase's result on the test, and count it for the last page."""
    result: pytest.TestReport = yield  # type: ignore[assignment]  # a wrapper is sent the inner hook's result
    setattr(item, f"result_of_{result.when}", result)
    report = item.config.stash[_REPORT]
    if result.skipped and not hasattr(result, "wasxfail"):
        report.add_skip(item.nodeid, _skip_reason(result))
    elif result.when == "call":
        values = getattr(item, "funcargs", {}).values()
        report.add_run(_tier(item), [value for value in values if isinstance(value, OpenBroker)])
    return result  # type: ignore[return-value]  # and must hand it on


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a CI run that skipped a test without saying why."""
    if exitstatus == pytest.ExitCode.OK and fails_for_skips(session.config.stash[_REPORT]):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print which broker ran, what ran on it, and every skip with its reason."""
    terminalreporter.section("what ran where")
    for line in config.stash[_REPORT].lines():
        terminalreporter.write_line(line)


def _tier(item: pytest.Item) -> str:
    parts = item.path.relative_to(Path(__file__).parent).parts
    if parts[0] not in TIERS:
        raise pytest.UsageError(f"{item.path} is in no tier's folder; the tiers are {', '.join(TIERS)}.")
    return parts[0]


def _skip_reason(result: pytest.TestReport) -> str:
    # pytest gives a skip as (file, line, reason).
    return str(result.longrepr[2]) if isinstance(result.longrepr, tuple) else ""


def _failed(node: pytest.Item) -> bool:
    result = getattr(node, "result_of_call", None)
    return result is not None and bool(result.failed)
