"""The embedded broker: librdkafka's mock cluster in a process of its own, nothing to install.

``python -m services.launcher.brokers.embedded`` runs it.  It answers one JSON line on stdout with its address,
then obeys JSON lines on stdin, answering each, until stdin closes; so it cannot outlive who started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import TextIO

from services.launcher.brokers.broker import BrokerDescription, BrokerError
from services.launcher.brokers.mock_cluster import MockCluster, MockClusterError

#: What the mock cluster does not do as Kafka does.
UNPROVEN = (
    "data kept over a broker's restart",
    "replay by time",
    "topic creation and settings (retention, compaction)",
    "transactions",
    "rebalance timing",
    "prompt fetches",
)


class EmbeddedBroker:
    """A Kafka in memory.  ``topics`` gives partitions by topic name; `create_topics` adds more later."""

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._topics = dict(topics or {})
        self._process: subprocess.Popen[str] | None = None
        self._hello: dict[str, str] = {}
        self._turn = threading.Lock()

    def start(self) -> str:
        """See `Broker.start`; takes about 0.1 s."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        try:
            self._hello = self._read()
            self.create_topics(self._topics)
        except BrokerError:
            self.stop()
            raise
        return self._hello["bootstrap"]

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Make these topics, since the mock cluster answers no admin call; known names are left alone.

        Raises:
            BrokerError: it does not run, or refuses.
        """
        self._ask({"do": "create", "topics": dict(topics)})

    def stop(self) -> None:
        """See `Broker.stop`; everything in it is gone."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def restart(self) -> None:
        """See `Broker.restart`: its port closes and opens again; what it holds is kept, unlike after `kill`."""
        self._ask({"do": "down"})
        self._ask({"do": "up"})

    def kill(self) -> None:
        """See `Broker.kill`: all is lost, and the next `start` has another address."""
        self.stop()

    def describe(self) -> BrokerDescription:
        """See `Broker.describe`."""
        return BrokerDescription(
            kind="embedded",
            version=f"librdkafka {self._hello['version']} mock cluster",
            bootstrap=self._hello["bootstrap"],
            keeps_data=False,
            unproven=UNPROVEN,
        )

    def _ask(self, command: dict[str, object]) -> None:
        if self._process is None or self._process.stdin is None:
            raise BrokerError("The embedded broker does not run; start it first.")
        with self._turn:
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise BrokerError("The embedded broker has ended.") from None
            answer = self._read()
        if "error" in answer:
            raise BrokerError(f"The embedded broker refused: {answer['error']}.")

    def _read(self) -> dict[str, str]:
        line = self._process.stdout.readline() if self._process and self._process.stdout else ""
        if not line:
            raise BrokerError("The embedded broker ended before it answered; its reason is on stderr.")
        answer: dict[str, str] = json.loads(line)
        return answer


def serve(commands: TextIO, answers: TextIO) -> None:
    """Run a mock cluster until ``commands`` ends."""
    cluster = MockCluster()
    made: set[str] = set()
    _say(answers, {"bootstrap": cluster.bootstrap, "version": cluster.version})
    for line in commands:
        try:
            _obey(cluster, json.loads(line), made)
        except MockClusterError as error:
            _say(answers, {"error": str(error)})
        else:
            _say(answers, {})


def _obey(cluster: MockCluster, command: dict[str, object], made: set[str]) -> None:
    match command:
        case {"do": "create", "topics": dict(topics)}:
            for name in topics.keys() - made:
                cluster.create_topic(name, topics[name])
                made.add(name)
        case {"do": "down"}:
            cluster.set_up(False)
        case {"do": "up"}:
            cluster.set_up(True)
        case _:
            raise MockClusterError(f"{command} is not a command")


def _say(answers: TextIO, answer: dict[str, str]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    try:
        serve(sys.stdin, sys.stdout)
    except MockClusterError as failure:
        sys.exit(str(failure))
