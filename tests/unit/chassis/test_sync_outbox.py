"""Sending again until the broker has it, or the process leaves."""

from __future__ import annotations

import threading
import time

import pytest

from services.chassis.retry import SendFailed
from services.chassis.sync_outbox import until_acknowledged


class Broker:
    """Refuses as often as told, asking to wait ``after_seconds`` each time."""

    def __init__(self, failures: int, after_seconds: float = 0.0) -> None:
        self.tries = 0
        self.refused = threading.Event()
        self._failures = failures
        self._after = after_seconds

    def send(self) -> None:
        """As a send of the outbox."""
        self.tries += 1
        if self.tries <= self._failures:
            self.refused.set()
            raise SendFailed("away", after_seconds=self._after)


def test_a_send_is_repeated_until_it_is_acknowledged() -> None:
    """What is sent this way is said nowhere else."""
    broker = Broker(failures=2)
    assert until_acknowledged(broker.send, threading.Event(), what="it")
    assert broker.tries == 3


def test_a_process_that_leaves_waits_for_no_broker() -> None:
    """It is told at once that nothing was acknowledged, so that no offset moves."""
    broker, leaving, answers = Broker(failures=99, after_seconds=60.0), threading.Event(), list[bool]()
    sender = threading.Thread(
        target=lambda: answers.append(until_acknowledged(broker.send, leaving, what="it"))
    )
    sender.start()
    assert broker.refused.wait(10)
    started = time.monotonic()
    leaving.set()
    sender.join(10)
    assert answers == [False]
    assert time.monotonic() - started < 5


def test_a_process_that_leaves_still_tries_once() -> None:
    """The broker may well be there."""
    leaving = threading.Event()
    leaving.set()
    assert until_acknowledged(Broker(failures=0).send, leaving, what="it")
    assert not until_acknowledged(Broker(failures=1).send, leaving, what="it")


def test_what_can_never_be_sent_is_not_tried_again() -> None:
    """Only a broker that is away heals by itself."""

    def too_large() -> None:
        raise ValueError("too large")

    with pytest.raises(ValueError, match="too large"):
        until_acknowledged(too_large, threading.Event(), what="it")
