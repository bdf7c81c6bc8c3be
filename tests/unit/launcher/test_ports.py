"""Reserved ports: no two runs get the same one, and the kernel gives them to nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from services.launcher.brokers import ports
from services.launcher.brokers.ports import reserve_port


def test_a_reserved_port_can_be_listened_on() -> None:
    """The lock is beside the port, not on it."""
    reserved = reserve_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", reserved.number))
        server.listen()
    reserved.release()


def test_a_reserved_port_is_given_to_no_one_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to this process again nor to another one, until it is released."""
    reserved = reserve_port()
    code = f"from services.launcher.brokers import ports; print(ports._try({reserved.number}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout == "None\n"
    monkeypatch.setattr(ports, "_FIRST", reserved.number)
    monkeypatch.setattr(ports, "_LAST", reserved.number + 500)
    assert reserve_port().number != reserved.number
    reserved.release()
    assert ports._try(reserved.number) is not None


def test_a_port_with_a_server_on_it_is_passed_over() -> None:
    """Another program's port is not free, though no lock says so."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert ports._try(server.getsockname()[1]) is None


def test_reserved_ports_lie_below_the_ephemeral_range() -> None:
    """Inside it, a client that reconnects to a stopped broker can end up connected to itself."""
    assert 20_000 <= reserve_port().number < 32_768


def test_release_twice_is_harmless() -> None:
    """Stopping what has stopped is no error."""
    reserved = reserve_port()
    reserved.release()
    reserved.release()
