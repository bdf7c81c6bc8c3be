"""``distillery demo`` and ``distillery serve`` as a person runs them: two commands, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.launcher.plan import STAGES
from services.launcher.serve import USER
from services.sandbox.discord.client import SandboxDiscord
from tests.harness.waiting import eventually

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from services.cli import main; main()"]
READY = "Ctrl-C stops everything."
#: Markup of a page, of a terminal and of Discord.
HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m @everyone **bold** --images 1"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="processes are found by Linux's /proc"
)


class Demo:
    """A demo that runs in a folder of its own, with an embedded broker and no waits."""

    def __init__(self, folder: Path, *, step_seconds: float = 0.0) -> None:
        self.folder = folder
        self._step_seconds = step_seconds
        self._out = folder.with_suffix(".out")
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [*COMMAND, "demo"], env=self._env(), stdout=out, stderr=subprocess.STDOUT, process_group=0
            )

    def output(self) -> str:
        """What it has printed so far."""
        return self._out.read_text(encoding="utf-8")

    def wait_ready(self) -> Demo:
        """Wait until it has said where its page is."""

        def is_ready() -> bool:
            assert self.process.poll() is None, self.output()
            return READY in self.output()

        eventually(is_ready, 60, failing=self.output)
        return self

    def page(self) -> str:
        """The address of its page; it prints exactly one address."""
        (url,) = re.findall(r"http://\S+", self.output())
        return str(url)

    def serve(self, prompt: str) -> subprocess.CompletedProcess[str]:
        """``distillery serve`` from another terminal."""
        command = [*COMMAND, "serve", "--timeout", "60", "--", prompt]
        return subprocess.run(
            command, env=self._env(), capture_output=True, text=True, timeout=90, check=False
        )

    def processes(self) -> list[int]:
        """Every process that belongs to it: each has the folder in its environment."""
        marker = f"DEMO_DIR={self.folder}".encode()
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if marker in _environment_of(path)]

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code, which must come within 10 s."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)

    def close(self) -> None:
        """End it, in good order if it can."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
        own = {"DEMO_DIR": str(self.folder), "DEMO_PORT": "0", "DEMO_STEP_SECONDS": str(self._step_seconds)}
        return {**kept, **own, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One running demo for the tests that only use it."""
    running = Demo(tmp_path_factory.mktemp("demo"))
    try:
        yield running.wait_ready()
    finally:
        running.close()


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo of the test's own, to end; it is only being started."""
    running = Demo(tmp_path / "demo")
    yield running
    running.close()


def test_the_demo_prints_one_address_and_the_page_is_there(demo: Demo) -> None:
    """And nothing else that looks like one, so that nobody opens the wrong one."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", demo.page())
    assert SandboxDiscord(demo.page()).connected()


def test_serve_tells_the_journey_of_a_request_to_its_images(demo: Demo) -> None:
    """Stage by stage, in order, until it is delivered; the images that it names are there."""
    done = demo.serve("a boat --images 1")
    assert done.returncode == 0, done.stdout + done.stderr
    topics = re.findall(r"^ *[\d.]+ s  (\S+)", done.stdout, re.MULTILINE)
    landmarks = [topics.index(topic) for topic in ("requests", "moderated", "dispatched", "completed")]
    assert landmarks == sorted(landmarks)
    # The dispatcher closes its ledger beside the delivery.
    assert [topic for topic in topics if topic != "jobs"][-1] == "delivered"
    images = [Path(path) for path in re.findall(r"^ +image +(\S+)$", done.stdout, re.MULTILINE)]
    assert len(images) == 1
    assert images[0].is_relative_to(demo.folder)
    assert images[0].read_bytes().startswith(b"\x89PNG")


def test_a_hostile_prompt_is_plain_text_all_the_way(demo: Demo) -> None:
    """The terminal shows it without obeying it, and the message in Discord rings for no one."""
    done = demo.serve(HOSTILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<script>alert(1)</script>" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())
    request = done.stdout.split()[1]
    (message,) = SandboxDiscord(demo.page()).interaction(request)["messages"]
    assert message["content"].isprintable()
    assert r"\<script\>alert(1)\</script\>" in message["content"]
    assert r"\*\*bold\*\*" in message["content"]
    assert (message["pinged"], message["allowed_mentions"]) == ([], {"parse": []})


def test_a_request_that_is_refused_ends_with_another_exit_code(demo: Demo) -> None:
    """A script can tell images from none."""
    done = demo.serve("n4k3d m4n --images 1")
    assert done.returncode == 1
    assert "rejected" in done.stdout


def test_ctrl_c_ends_everything_within_ten_seconds(own_demo: Demo) -> None:
    """Exit code 0, no process left, and the folder no longer claims that a demo runs."""
    own_demo.wait_ready()
    assert len(own_demo.processes()) > 8  # the launcher, five stages, two worlds, a broker
    assert own_demo.interrupt() == 0, own_demo.output()
    eventually(lambda: own_demo.processes() == [], 5)
    assert own_demo.output().endswith("Stopped; nothing is left running.\n")
    refused = own_demo.serve("a boat")
    assert refused.returncode == 1
    assert f"No demo is running in {own_demo.folder}" in refused.stderr


def test_ctrl_c_in_the_middle_of_a_job_ends_every_stage_in_good_order(tmp_path: Path) -> None:
    """The worker gives the job back and says so, instead of being killed with it."""
    demo = Demo(tmp_path / "demo", step_seconds=5.0)
    try:
        discord = SandboxDiscord(demo.wait_ready().page())
        request = discord.submit(USER, "a boat --images 1")
        eventually(lambda: "Drawing" in str(discord.interaction(request)["messages"]), 20)
        assert demo.interrupt() == 0, demo.output()
    finally:
        demo.close()
    for stage in STAGES:
        last = (demo.folder / "logs" / f"{stage}.log").read_text(encoding="utf-8").splitlines()[-1]
        assert json.loads(last)["event"] == "stage_stopped", last
    assert "jobs_given_back" in (demo.folder / "logs" / "gpu_worker.log").read_text(encoding="utf-8")


def test_ctrl_c_ends_a_demo_that_is_still_starting(own_demo: Demo) -> None:
    """It does not have to come up first."""
    eventually(lambda: (own_demo.folder / "logs" / "notifier.log").exists(), 30, failing=own_demo.output)
    assert own_demo.interrupt() == 0, own_demo.output()
    assert READY not in own_demo.output()
    eventually(lambda: own_demo.processes() == [], 5)


def test_a_demo_that_is_killed_leaves_no_process(own_demo: Demo) -> None:
    """Each child's leash and the broker's pipe end with the launcher, however it dies."""
    own_demo.wait_ready()
    own_demo.process.kill()
    own_demo.process.wait()
    eventually(lambda: own_demo.processes() == [], 10)


def _environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # it ended meanwhile, or is another user's
        return b""
