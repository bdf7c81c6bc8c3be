"""Which partition a key belongs to, as Java's default partitioner, aiokafka and librdkafka's ``murmur2`` have it.

Pure.  Own code, since aiokafka's lives in a private module and librdkafka's is not callable: whoever asks where a
user's records are (``jobs`` goes to the user's partition under another key) must agree with both producers.
librdkafka's default is another hash: its producers need ``"partitioner": "murmur2"``.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_R = 24
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit murmur2 of ``org.apache.kafka.common.utils.Utils``."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> _R)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def partition_for(key: bytes, partitions: int) -> int:
    """The partition, 0 .. ``partitions`` - 1, of a key on a topic with that many partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
