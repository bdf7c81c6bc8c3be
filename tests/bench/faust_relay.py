"""One hop of the bare Faust relay: ``python -m tests.bench.faust_relay BOOTSTRAP PREFIX HOP``.

The named baseline: what Faust costs with awaited sends and nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

import faust


def main() -> None:
    """Relay ``hop-N`` to ``hop-N+1`` for ever."""
    bootstrap, prefix, hop = sys.argv[1], sys.argv[2], int(sys.argv[3])
    app = faust.App(
        f"{prefix}faust-relay-{hop}",
        broker=f"aiokafka://{bootstrap}",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        worker_redirect_stdouts=False,
        autodiscover=False,
    )
    raw: Any = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    source = app.topic(f"{prefix}hop-{hop}", **raw)
    target = app.topic(f"{prefix}hop-{hop + 1}", **raw)

    @app.agent(source, name=f"relay-{hop}")
    async def relay(stream: faust.StreamT[bytes]) -> None:
        async for key, value in stream.items():
            await (await target.send(key=key, value=value))

    app.worker_init()
    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
