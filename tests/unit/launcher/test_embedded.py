"""The embedded broker's own ways: its commands, its errors, its end."""

from __future__ import annotations

import _ctypes
import io
import json
import subprocess
import sys

import confluent_kafka.cimpl
import pytest
from confluent_kafka import Producer

from services.launcher.brokers import embedded
from services.launcher.brokers.broker import BrokerError, client_config
from services.launcher.brokers.embedded import EmbeddedBroker
from services.launcher.brokers.mock_cluster import MockCluster, MockClusterError
from tests.harness.waiting import eventually


def test_a_command_is_answered_and_an_unknown_one_refused() -> None:
    """Each line on stdin gets one on stdout, so that the two ends never lose step."""
    commands = [
        {"do": "create", "topics": {"a": 3}},
        {"do": "create", "topics": {"a": 3, "b": 1}},
        {"do": "dance"},
    ]
    said = io.StringIO()
    embedded.serve(io.StringIO("".join(json.dumps(command) + "\n" for command in commands)), said)
    hello, first, second, third = (json.loads(line) for line in said.getvalue().splitlines())
    assert hello["bootstrap"].startswith("127.0.0.1:")
    assert (first, second) == ({}, {})
    assert third == {"error": "{'do': 'dance'} is not a command"}


def test_a_refused_topic_is_an_error_that_names_it() -> None:
    """A topic that a client was first to name has 4 partitions for ever; who needs another count must know."""
    broker = EmbeddedBroker()
    client = Producer(client_config(broker.start()))
    client.list_topics("lanes", timeout=10)
    with pytest.raises(BrokerError, match="topic lanes with 12 partitions was not made"):
        broker.create_topics({"lanes": 12})
    broker.stop()


def test_a_broker_that_does_not_run_says_so() -> None:
    """A topic cannot be made before the start, nor after the end."""
    with pytest.raises(BrokerError, match="does not run; start it first"):
        EmbeddedBroker().create_topics({"requests": 1})


def test_it_ends_with_whoever_started_it() -> None:
    """Its stdin closes however its parent ends, and with it the broker."""
    process = subprocess.Popen(
        [sys.executable, "-m", embedded.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert "bootstrap" in process.stdout.readline()
    process.stdin.close()
    assert eventually(lambda: process.poll() is not None)
    assert process.returncode == 0
    process.stdout.close()


def test_a_library_without_a_mock_cluster_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A confluent-kafka built on a system's librdkafka may lack it."""
    monkeypatch.setattr(confluent_kafka.cimpl, "__file__", _ctypes.__file__)
    with pytest.raises(
        MockClusterError, match=r"rd_kafka_\w+ is not in the librdkafka behind .*BROKER=local"
    ):
        MockCluster()
