"""librdkafka configuration, for the poll loop, the topic commands and the audit tools."""

from __future__ import annotations

from typing import Any

from services.chassis.settings import StageSettings

#: As much as ``dead-letters`` takes: an original of the largest size that any topic takes, with headers on top.
#: The clients' own default of a million bytes is below what brokers take, so such a record could never be buried.
LARGEST_SEND_BYTES = 2 * 1024 * 1024


def client_config(settings: StageSettings, client_id: str) -> dict[str, Any]:
    """What every confluent-kafka client needs to connect; add what is the client's own."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": client_id,
        "security.protocol": settings.kafka_security_protocol,
        "log_level": 4,  # warnings; connection chatter otherwise goes to stderr past our logs
        # By default a client tries every 10 s after an outage, so that a worker would count as silent for so long.
        "reconnect.backoff.max.ms": 1000,
    }
    if settings.kafka_security_protocol.upper().startswith("SASL"):
        config["sasl.mechanism"] = settings.kafka_sasl_mechanism
        config["sasl.username"] = settings.kafka_sasl_username
        config["sasl.password"] = settings.kafka_sasl_password.reveal()
    if settings.kafka_ca_file:
        config["ssl.ca.location"] = settings.kafka_ca_file
    return config


def producer_config(settings: StageSettings, client_id: str) -> dict[str, Any]:
    """An idempotent producer that hashes keys as the Faust stages do.

    librdkafka's own default partitioner is CRC32: with it a user's ``completed`` would land in another
    partition than the same user's ``requests``, and so on another owner.
    """
    return client_config(settings, client_id) | {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "delivery.timeout.ms": 30_000,
        "message.max.bytes": LARGEST_SEND_BYTES,
        "socket.nagle.disable": True,
    }
