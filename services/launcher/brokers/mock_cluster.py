"""librdkafka's in-memory mock cluster, by ctypes on the library inside confluent-kafka's wheel.

It speaks the Kafka protocol on loopback to any client, in any process.  It knows no admin calls, so its topics
are made through this class.  API: ``rdkafka_mock.h``.
"""

from __future__ import annotations

import ctypes
from typing import Any

import confluent_kafka.cimpl

_PRODUCER = 0  # rd_kafka_type_t; a mock cluster hangs off a client handle of any kind
_P, _S, _I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (_P, []),
    "rd_kafka_conf_set": (_I, [_P, _S, _S, _P, ctypes.c_size_t]),
    "rd_kafka_new": (_P, [_I, _P, _P, ctypes.c_size_t]),
    "rd_kafka_err2str": (_S, [_I]),
    "rd_kafka_version_str": (_S, []),
    "rd_kafka_mock_cluster_new": (_P, [_P, _I]),
    "rd_kafka_mock_cluster_bootstraps": (_S, [_P]),
    "rd_kafka_mock_topic_create": (_I, [_P, _S, _I, _I]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_P, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_down": (_I, [_P, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (_I, [_P, ctypes.c_int32]),
}


class MockClusterError(Exception):
    """The library has no mock cluster, or it refused a call."""


class MockCluster:
    """A cluster of one in-memory broker on 127.0.0.1, alive as long as this process."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            MockClusterError: confluent-kafka's library lacks the mock cluster, or it could not start.
        """
        self._library = _load()
        reason = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        # Else it warns that a client without bootstrap servers can reach nothing, which it need not.
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", reason, len(reason))
        handle = self._library.rd_kafka_new(_PRODUCER, conf, reason, len(reason))
        if not handle:
            raise MockClusterError(f"librdkafka gave no handle: {reason.value.decode()}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(handle, 1)
        if not self._cluster:
            raise MockClusterError("librdkafka could not start its mock cluster.")
        # The default of 3 s would delay every first group member.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    @property
    def bootstrap(self) -> str:
        """Its address, host:port."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    @property
    def version(self) -> str:
        """librdkafka's version."""
        return str(self._library.rd_kafka_version_str().decode())

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic; a producer that is first gets one of 4 partitions instead.

        Raises:
            MockClusterError: it exists, or the count is refused.
        """
        self._check(
            self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1),
            f"topic {name} with {partitions} partitions was not made",
        )

    def set_up(self, up: bool) -> None:
        """Close the broker's port and connections, or open it again at the same address; records are kept."""
        call = (
            self._library.rd_kafka_mock_broker_set_up if up else self._library.rd_kafka_mock_broker_set_down
        )
        self._check(call(self._cluster, 1), f"the broker could not be set {'up' if up else 'down'}")

    def _check(self, code: int, what: str) -> None:
        if code:
            raise MockClusterError(f"{what}: {self._library.rd_kafka_err2str(code).decode()}")


def _load() -> ctypes.CDLL:
    # A symbol is looked up in a library and in all that it links to, so the extension module leads to the
    # librdkafka that confluent-kafka itself uses, whatever its file is called on this platform.
    path = confluent_kafka.cimpl.__file__
    library = ctypes.CDLL(path)
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise MockClusterError(
                f"{name} is not in the librdkafka behind {path}; the embedded broker needs confluent-kafka's own "
                "wheel (2.16 or newer). Reinstall it, or use BROKER=local."
            ) from None
        function.restype, function.argtypes = result, arguments
    return library
