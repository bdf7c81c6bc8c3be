"""The partitioner is the one of Java and aiokafka; librdkafka's is held to it in ``tests/contract``."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.partitioner import murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_one_of_kafkas_own_tests(key: bytes, expected: int) -> None:
    """The values of ``UtilsTest.testMurmur2`` of Apache Kafka, which are signed."""
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.binary(max_size=80))
def test_the_hash_is_the_one_of_aiokafka(key: bytes) -> None:
    """Faust's producer is aiokafka's."""
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF


@given(st.binary(max_size=40), st.integers(min_value=1, max_value=1000))
def test_a_partition_is_one_of_those_there_are(key: bytes, partitions: int) -> None:
    """From 0 up to but without the count."""
    assert 0 <= partition_for(key, partitions) < partitions
