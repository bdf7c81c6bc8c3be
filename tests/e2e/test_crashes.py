"""The promises kept while processes die: SIGKILL, restart, and no user notices more than a delay."""

from __future__ import annotations

import pytest

from services.launcher.brokers.choose import OpenBroker
from services.launcher.brokers.embedded import EmbeddedBroker
from tests.harness.chain import Chain
from tests.harness.waiting import eventually


def requests_in_flight(chain: Chain, user: int, count: int = 6) -> list[str]:
    """Requests that the bot has sent on, and that take a second or two each."""
    requests = [
        chain.submit(user + n % 3, f"in flight {user} {n} --images 1 --steps 60") for n in range(count)
    ]
    sent = set(requests)
    eventually(lambda: sent <= {event.request_id for event in chain.events("requests")}, 20)
    return requests


def test_f1_a_job_survives_the_sigkill_of_its_worker(chain: Chain) -> None:
    """It is drawn again by the restarted worker, and told once."""
    requests = requests_in_flight(chain, 100)
    eventually(lambda: any(chain.runs_of(request) for request in requests), 20)
    worker = chain.stage("gpu_worker")
    worker.kill()
    worker.restart()
    finals = chain.wait_final(requests, 90)
    chain.assert_one_final_message_each(requests)
    assert all(len(finals[request]["attachments"]) == 1 for request in requests)


@pytest.mark.parametrize("stage", ["ingest_bot", "moderator", "dispatcher", "notifier"])
def test_f1_f2_requests_survive_the_sigkill_of_a_stage(chain: Chain, stage: str) -> None:
    """Every request in flight ends once, and none runs twice on the GPU, since no worker died."""
    user = 200 + 10 * ["ingest_bot", "moderator", "dispatcher", "notifier"].index(stage)
    requests = requests_in_flight(chain, user)
    process = chain.stage(stage)
    process.kill()
    process.restart(60)
    requests += requests_in_flight(chain, user + 5, 3)
    finals = chain.wait_final(requests, 90)
    chain.assert_one_final_message_each(requests)
    assert all(len(finals[request]["attachments"]) == 1 for request in requests)
    assert {request: len(chain.runs_of(request)) for request in requests} == dict.fromkeys(requests, 1)


def test_a_broker_restart_loses_nothing(chain: Chain, broker: OpenBroker) -> None:
    """Requests in flight go on where they were once it is back."""
    if isinstance(broker.broker, EmbeddedBroker):
        pytest.skip("the embedded broker keeps nothing over a restart")
    requests = requests_in_flight(chain, 300)
    broker.broker.restart()
    requests += [chain.submit(310, "after the restart --images 1")]
    finals = chain.wait_final(requests, 120)
    chain.assert_one_final_message_each(requests)
    assert all(len(finals[request]["attachments"]) == 1 for request in requests)
    assert {request: len(chain.runs_of(request)) for request in requests} == dict.fromkeys(requests, 1)
