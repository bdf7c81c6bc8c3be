"""Structured logs: one JSON object a line on stderr, from structlog and from libraries' stdlib loggers alike.

Events are ``noun_verbed``.  No free text of a user's and no credential is ever logged; as a second line of
defence a processor masks values under names that sound like credentials.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_SECRET_WORDS = ("token", "secret", "password", "authorization", "credential")
#: Chatty below WARNING: their every rebalance step, retry and connection (faust_app: Faust logs its services
#: under the module that subclasses them).
_NOISY = (
    "aiokafka",
    "faust",
    "mode",
    "discord",
    "asyncio",
    "urllib3",
    "botocore",
    "aiohttp",
    "services.chassis.faust_app",
)


def configure(stage: str, level: str = "info") -> None:
    """Set up logging for this process; call once, from a composition root."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _mask,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(stage=stage)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _with_stage(stage),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def get_logger() -> Any:
    """A logger whose methods take an event name and key-values."""
    return structlog.get_logger()


def _mask(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for key in event:
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
    return event


def _with_stage(stage: str) -> Any:
    # Libraries log from threads of their own, where structlog's context variables are not set.
    def add(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"stage": stage, **event}

    return add
