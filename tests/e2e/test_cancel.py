"""Requests that their users take back, end to end: waiting, running, over, and somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.contracts.events import Outcome
from services.sandbox.discord.client import SandboxRefused
from tests.harness.chain import Chain
from tests.harness.waiting import eventually

ENDLESS = "an endless corridor"


@pytest.fixture(autouse=True)
def endless_jobs(chain: Chain) -> Iterator[None]:
    """Jobs of that prompt draw until they are stopped, or the test ends."""
    chain.comfyui.arm("hang", text=ENDLESS, times=0)
    yield
    chain.comfyui.disarm()


def message_of(chain: Chain, request: str) -> dict[str, Any]:
    """The request's one message as it stands, once the bot has answered."""
    (message,) = eventually(lambda: chain.discord.interaction(request)["messages"])
    return dict(message)


def drawing(chain: Chain, user: int) -> dict[str, Any]:
    """The message of an endless request of that user, which ComfyUI is drawing."""
    request = chain.submit(user, ENDLESS)
    eventually(lambda: chain.runs_of(request), 20, failing=chain.log_tails)
    return message_of(chain, request)


def press(chain: Chain, message: dict[str, Any], user: str = "") -> str:
    """Press the message's button, by default as its own user; what the user reads in private."""
    interaction = chain.discord.press(user or message["user_id"], message)

    def answer() -> str:
        messages = chain.discord.interaction(interaction)["messages"]
        return str(messages[0]["content"]) if messages and messages[0]["ephemeral"] else ""

    return eventually(answer)


def outcome(chain: Chain, request: str) -> list[Outcome]:
    """What ``delivered`` says of it."""
    return [event.outcome for event in chain.events("delivered") if event.request_id == request]


def assert_cancelled(chain: Chain, request: str) -> None:
    """It ends so, once, without its button."""
    message = chain.wait_final([request], 30)[request]
    chain.assert_one_final_message_each([request])
    assert message["content"].endswith("\nCancelled. [cancelled]")
    assert (message["attachments"], message["components"]) == ([], [])
    assert eventually(lambda: outcome(chain, request)) == [Outcome.CANCELLED]


def test_a_running_request_is_stopped_and_the_next_one_runs(chain: Chain) -> None:
    """ComfyUI is interrupted; the user reads first that it was passed on, then that it is cancelled."""
    message = drawing(chain, 301)
    assert press(chain, message).startswith("I have asked for this request to be stopped.")
    assert_cancelled(chain, message["interaction_id"])
    assert len(chain.runs_of(message["interaction_id"])) == 1
    after = chain.submit(301, "a short corridor")
    assert len(chain.wait_final([after])[after]["attachments"]) == 4


def test_a_waiting_request_is_taken_back_without_gpu_work(chain: Chain) -> None:
    """Those before it go on; it costs no GPU a second."""
    running = drawing(chain, 310)
    held, waiting = chain.submit(311, ENDLESS), chain.submit(312, "a quiet pond")
    press(chain, message_of(chain, waiting))
    press(chain, message_of(chain, held))
    assert_cancelled(chain, waiting)
    assert_cancelled(chain, held)
    assert chain.runs_of(waiting) == chain.runs_of(held) == []
    chain.comfyui.disarm()
    request = running["interaction_id"]
    assert len(chain.wait_final([request])[request]["attachments"]) == 4


def test_the_command_takes_back_the_newest_request_that_has_not_ended(chain: Chain) -> None:
    """A later one has ended already."""
    message = drawing(chain, 320)
    refused = chain.submit(320, "n u d e woman")
    chain.wait_final([refused])
    command = chain.discord.submit(message["user_id"], command="cancel")
    (answer,) = eventually(lambda: chain.discord.interaction(command)["messages"])
    assert answer["ephemeral"]
    assert_cancelled(chain, message["interaction_id"])
    assert outcome(chain, refused) == [Outcome.REJECTED]


def test_a_request_that_is_over_cannot_be_taken_back(chain: Chain) -> None:
    """Its button is gone, and the command says that there is nothing."""
    done = chain.submit(330, "a lighthouse --images 1")
    message = chain.wait_final([done])[done]
    with pytest.raises(SandboxRefused, match="not there any more"):
        chain.discord.press(message["user_id"], message)
    command = chain.discord.submit(message["user_id"], command="cancel")
    eventually(lambda: "no unfinished request" in str(chain.discord.interaction(command)["messages"]))
    assert outcome(chain, done) == [Outcome.SUCCEEDED]


def test_nobody_stops_another_users_request(chain: Chain) -> None:
    """The one who presses is told so, and the request ends as it would have."""
    message = drawing(chain, 340)
    assert press(chain, message, "200000000000000999").startswith("Only the person who asked")
    chain.comfyui.disarm()
    request = message["interaction_id"]
    assert len(chain.wait_final([request])[request]["attachments"]) == 4
