"""The promises of the chain, kept end to end with the real discord.py and the real broker."""

from __future__ import annotations

import io
import urllib.request

import pytest
from PIL import Image

from services.contracts.topics import TOPIC_NAMES
from services.gpu_worker.provenance import read_texts
from tests.harness.chain import Chain
from tests.harness.waiting import eventually


def test_a_request_becomes_four_images(chain: Chain) -> None:
    """From ``/serve`` to a message with four PNGs, the ratio snapped and said so on the way."""
    request = chain.submit(1, "a lighthouse at dusk --ar 27:18")
    message = chain.wait_final([request])[request]
    chain.assert_one_final_message_each([request])
    assert len(message["attachments"]) == 4
    assert "became 3:2" in message["history"][0]["content"]
    for attachment in message["attachments"]:
        with urllib.request.urlopen(attachment["url"], timeout=10) as answer:
            assert Image.open(io.BytesIO(answer.read())).size == (624, 416)


def test_f12_a_delivered_image_tells_how_it_was_made_and_not_by_whom(chain: Chain) -> None:
    """Workflow, parameters and seed; no user, no request, no token."""
    request = chain.submit(2, "a quiet harbour --seed 77")
    message = chain.wait_final([request])[request]
    with urllib.request.urlopen(message["attachments"][0]["url"], timeout=10) as answer:
        png = answer.read()
    texts = read_texts(png)
    assert "quiet harbour" in texts["parameters"]
    assert "77" in texts["parameters"]
    for private in (message["user_id"], request, f"token-{request}"):
        assert private.encode() not in png


def test_a_rejected_prompt_ends_in_one_sentence(chain: Chain) -> None:
    """The moderator's reason with its code, and no GPU work."""
    request = chain.submit(3, "n u d e woman")
    message = chain.wait_final([request])[request]
    chain.assert_one_final_message_each([request])
    assert "[prompt_rejected]" in message["content"].replace("\\", "")
    assert message["attachments"] == []
    assert chain.runs_of(request) == []


def test_a_wrong_flag_is_refused_privately_with_the_nearest_one(chain: Chain) -> None:
    """Nothing is queued, and only the user sees why."""
    request = chain.submit(4, "a boat --sed 5")
    answer = eventually(lambda: chain.discord.interaction(request)["messages"])[0]
    assert answer["ephemeral"]
    assert "did you mean `--seed`?" in answer["content"]
    assert [event for event in chain.events("requests") if event.request_id == request] == []


@pytest.mark.parametrize("kind", ["node_exception", "out_of_memory"])
def test_f4_a_comfyui_error_becomes_a_sentence_and_never_an_image(chain: Chain, kind: str) -> None:
    """The user reads a code and plain words, not a traceback or a server's path."""
    chain.comfyui.arm(kind, text="a broken mirror", times=0)
    request = chain.submit(5, "a broken mirror")
    message = chain.wait_final([request])[request]
    chain.assert_one_final_message_each([request])
    assert message["attachments"] == []
    code = {"node_exception": "[node_error]", "out_of_memory": "[out_of_memory]"}[kind]
    assert code in message["content"]
    assert "Traceback" not in message["content"]
    assert "/" not in message["content"]


@pytest.mark.parametrize("kind", ["hang", "silence"])
def test_f5_f10_a_comfyui_that_hangs_is_given_up_at_its_deadline(chain: Chain, kind: str) -> None:
    """The user hears of it, and the next request runs."""
    chain.comfyui.arm(kind, text="an endless corridor")
    stuck = chain.submit(6, "an endless corridor")
    message = chain.wait_final([stuck], 40)[stuck]
    chain.assert_one_final_message_each([stuck])
    # A job of which nothing more is heard may still have ended well: its history says so.
    assert "[deadline_exceeded]" in message["content"] or len(message["attachments"]) == 4
    chain.comfyui.disarm()
    after = chain.submit(6, "a short corridor")
    assert len(chain.wait_final([after])[after]["attachments"]) == 4


def test_two_hundred_requests_of_twenty_users_each_end_once(chain: Chain) -> None:
    """Sent as fast as Discord takes them; every one is drawn once and told once."""
    requests = [
        chain.submit(20 + number % 20, f"scene {number} --images 1 --steps 1") for number in range(200)
    ]
    finals = chain.wait_final(requests, 120)
    chain.assert_one_final_message_each(requests)
    assert all(len(finals[request]["attachments"]) == 1 for request in requests)
    dispatches = {event.dispatch_id: event.request_id for event in chain.events("dispatched")}
    drawn = [dispatches.get(run["prompt_id"]) for run in chain.comfyui.runs()]
    assert all(drawn.count(request) == 1 for request in requests)


def test_an_undecodable_record_in_every_topic_stops_nothing(chain: Chain) -> None:
    """It becomes a dead letter where somebody reads the topic, and the next request runs."""
    partitions = {"dispatched": 48}
    for topic in TOPIC_NAMES:
        for partition in range(partitions.get(topic, 12)):
            chain.kafka.produce(topic, b"\xc3\x01poison", key=b"1", partition=partition)
    request = chain.submit(7, "a garden after rain")
    assert len(chain.wait_final([request])[request]["attachments"]) == 4
    chain.assert_one_final_message_each([request])
    read = {"requests", "moderated", "dispatched", "completed", "delivered", "progress", "workers"}

    def buried() -> bool:
        letters = chain.kafka.consume_all("dead-letters")
        sources = [dict(letter.headers() or []).get("dlq-topic") for letter in letters]
        return all(sources.count(topic.encode()) >= partitions.get(topic, 12) for topic in read)

    eventually(buried, 30)
