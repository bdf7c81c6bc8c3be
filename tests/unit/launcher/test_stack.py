"""The launcher's programs: waited for, started again, stopped in bounded time, and quoted when they fail."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.launcher import stack as module
from services.launcher.brokers.ports import reserve_port
from services.launcher.plan import Program
from services.launcher.stack import Stack, StackError
from tests.harness.waiting import eventually

#: Says its pid and a word of its environment, then waits; SIGTERM ends it.
WAITING = "import os, signal; print('up', os.getpid(), os.environ.get('WORD'), flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); " + WAITING
#: Upon SIGTERM, says whether another process is there.
LOOK_AROUND = "signal.sigwait({15}); os.kill(int(sys.argv[1]), 0); print('still there', flush=True)"
#: Serves 200 on the port that it is told.
SERVING = "import http.server, sys; http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), {handler}).serve_forever()"


@pytest.fixture
def said() -> list[str]:
    """What the stack told the person at the terminal."""
    return []


@pytest.fixture
def stack(tmp_path: Path, said: list[str]) -> Iterator[Stack]:
    """A stack; what it runs is ended after the test."""
    made = Stack(folder=tmp_path, say=said.append)
    yield made
    made.stop()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start again soon, and stop soon."""
    monkeypatch.setattr(module, "_RESTART_WAITS", (0.01,))
    monkeypatch.setattr(module, "STOP_SECONDS", 0.3)


def a_program(name: str, code: str, *args: str, ready_url: str = "", **env: str) -> Program:
    """A tiny Python program."""
    return Program(name=name, argv=(sys.executable, "-c", code, *args), env=env, ready_url=ready_url)


def words(stack: Stack, name: str) -> list[list[str]]:
    """What a program wrote, once it wrote something."""
    return eventually(lambda: [line.split() for line in stack.child(name).log_tail().splitlines()])


@contextmanager
def supervised(stack: Stack) -> Iterator[None]:
    """Supervise in a thread meanwhile."""
    stopping = threading.Event()
    thread = threading.Thread(target=stack.supervise, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(10)
        assert not thread.is_alive()


def test_programs_run_side_by_side_with_their_own_environment_and_log(stack: Stack, tmp_path: Path) -> None:
    """On top of the launcher's own; the logs lie where the demo says."""
    stack.start([a_program("one", WAITING, WORD="first"), a_program("two", WAITING, WORD="second")])
    assert words(stack, "one")[0][2] == "first"
    assert words(stack, "two")[0][2] == "second"
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["one.log", "two.log"]


def test_ready_means_that_the_address_answers_200(stack: Stack) -> None:
    """Not that the process runs."""
    port = reserve_port()
    url = f"http://127.0.0.1:{port.number}/"
    code = SERVING.format(handler="http.server.SimpleHTTPRequestHandler")
    stack.start([a_program("page", code, str(port.number), ready_url=url)])
    stack.wait_until_ready(20)
    assert module._answers(url)
    port.release()


def test_an_address_that_answers_otherwise_is_not_ready(stack: Stack) -> None:
    """A stage answers 503 until it consumes; the error names the program and gives its log's end."""
    port = reserve_port()
    code = "import sys; print('still waiting', flush=True); " + SERVING.format(
        handler="http.server.BaseHTTPRequestHandler"
    )
    url = f"http://127.0.0.1:{port.number}/"
    stack.start([a_program("page", code, str(port.number), ready_url=url)])
    words(stack, "page")
    with pytest.raises(
        StackError, match=r"(?s)^page was not ready in time\.  Its log ends with:\n.*still waiting"
    ):
        stack.wait_until_ready(0.3)
    port.release()


def test_a_program_that_ends_before_it_is_ready_is_named_with_its_last_words(stack: Stack) -> None:
    """Nobody waits for the deadline, and nobody has to look for the log."""
    code = "import sys; sys.exit('DISCORD_TOKEN: not a token')"
    stack.start([a_program("ingest_bot", code, ready_url="http://127.0.0.1:1/")])
    started = time.monotonic()
    with pytest.raises(
        StackError, match=r"(?s)^ingest_bot ended\.  Its log ends with:\nDISCORD_TOKEN: not a token"
    ):
        stack.wait_until_ready(60)
    assert time.monotonic() - started < 20


def test_waiting_ends_when_the_demo_is_told_to_stop(stack: Stack) -> None:
    """Ctrl-C is not put off until a program that hangs has used up its time."""
    stopping = threading.Event()
    stopping.set()
    stack.start([a_program("slow", WAITING, ready_url="http://127.0.0.1:1/")])
    started = time.monotonic()
    assert stack.wait_until_ready(60, stopping) is False
    assert time.monotonic() - started < 20


@pytest.mark.usefixtures("short_waits")
def test_a_program_that_dies_is_started_again_and_the_person_is_told(stack: Stack, said: list[str]) -> None:
    """With the signal or the code that ended it."""
    stack.start([a_program("notifier", WAITING)])
    first = int(words(stack, "notifier")[0][1])
    with supervised(stack):
        os.kill(first, signal.SIGKILL)
        eventually(lambda: len(words(stack, "notifier")) == 2)
    assert stack.child("notifier").pid == int(words(stack, "notifier")[1][1]) != first
    assert said == ["notifier ended (signal SIGKILL); starting it again in 0.01 s."]


def test_a_program_that_keeps_dying_is_started_again_ever_later(
    stack: Stack, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong setting must not burn a processor; the last wait is kept."""
    monkeypatch.setattr(module, "_RESTART_WAITS", (0.01, 0.02))
    stack.start([a_program("moderator", "raise SystemExit(3)")])
    with supervised(stack):
        eventually(lambda: len(said) >= 3, 20)
    waits = [line.split(" in ")[1] for line in said[:3]]
    assert waits == ["0.01 s.", "0.02 s.", "0.02 s."]
    assert said[0].startswith("moderator ended (exit code 3)")


@pytest.mark.usefixtures("short_waits")
def test_stop_ends_the_obedient_and_kills_the_stubborn_within_its_bound(stack: Stack) -> None:
    """Ctrl-C always ends the demo, whatever hangs."""
    stack.start([a_program("good", WAITING), a_program("bad", STUBBORN)])
    good, bad = (stack.child(name) for name in ("good", "bad"))
    for name in ("good", "bad"):
        words(stack, name)
    started = time.monotonic()
    stack.stop()
    assert time.monotonic() - started < 5
    assert (good.exit_code(), bad.exit_code()) == (-signal.SIGTERM, -signal.SIGKILL)


def test_what_was_started_first_ends_last(stack: Stack) -> None:
    """A stage that ends still needs the Discord and the ComfyUI that were there before it."""
    stack.start([a_program("world", WAITING)])
    world = stack.child("world")
    block = "import sys, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {15}); "
    code = block + WAITING.replace("signal.pause()", LOOK_AROUND)
    stack.start([a_program("stage", code, str(world.pid))])
    log = stack.child("stage").log
    for name in ("world", "stage"):
        words(stack, name)
    stack.stop()
    assert "still there" in log.read_text(encoding="utf-8")
    assert world.exit_code() == -signal.SIGTERM


def test_stop_after_everything_ended_does_nothing(stack: Stack) -> None:
    """Nothing is waited for, and a second stop is harmless."""
    stack.start([a_program("brief", "pass")])
    eventually(lambda: stack.child("brief").exit_code() == 0)
    stack.stop()
    stack.stop()
