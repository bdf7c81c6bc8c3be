"""One chain for the whole tier: every promise is kept on the same running system, one after another."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.launcher.brokers.choose import OpenBroker
from tests.harness.chain import Chain
from tests.harness.kafka import KafkaCorner

#: Short enough for a test of a job that hangs, long enough for every other.
JOB_DEADLINE_SECONDS = 6


@pytest.fixture(scope="session")
def e2e_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where logs and images go."""
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="session")
def running_chain(broker: OpenBroker, e2e_folder: Path) -> Iterator[Chain]:
    """The five stages on the run's broker."""
    with KafkaCorner(broker, f"e2e{uuid.uuid4().hex[:8]}-") as kafka:
        kafka.create_registry_topics()
        chain = Chain(
            kafka,
            e2e_folder,
            env={"JOB_DEADLINE_SECONDS": str(JOB_DEADLINE_SECONDS)},
            comfyui_args=("--step-seconds", "0.005", "--image-seconds", "0", "--load-seconds", "0"),
        )
        try:
            yield chain.start()
        finally:
            chain.close()


@pytest.fixture
def chain(running_chain: Chain, broker: OpenBroker) -> Iterator[Chain]:
    """The running chain, without faults."""
    yield running_chain
    running_chain.discord.disarm()
    running_chain.comfyui.disarm()
