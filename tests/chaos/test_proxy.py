"""The proxy's links do to real sockets what networks do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Mode, Proxy
from tests.harness.waiting import eventually

LINK = "link"


class Echo:
    """A server that sends everything back; it knows how many connections it has had and has."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.accepted = 0
        self.open = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Accept no more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # closed
                return
            self.accepted += 1
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        self.open += 1
        with client:
            try:
                while data := client.recv(65536):
                    client.sendall(data)
            except OSError:
                pass  # reset
        self.open -= 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The far side."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy without links."""
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
def near(proxy: Proxy, echo: Echo) -> Iterator[socket.socket]:
    """A connection through the link."""
    with _connect(proxy.open(LINK, echo.port)) as client:
        yield client


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def said(client: socket.socket, data: bytes) -> bytes:
    """Send, and read as much back."""
    client.sendall(data)
    return received(client, len(data))


def received(client: socket.socket, size: int) -> bytes:
    """Read exactly so many bytes."""
    data = b""
    while len(data) < size and (more := client.recv(65536)):
        data += more
    return data


def is_silent(client: socket.socket, seconds: float = 0.2) -> bool:
    """Whether nothing comes for a while, not even an end."""
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def test_a_link_passes_everything_on_in_order(near: socket.socket) -> None:
    """More than any buffer holds, with nobody reading meanwhile."""
    data = bytes(range(256)) * 20_000
    sender = threading.Thread(target=near.sendall, args=(data,))
    sender.start()
    assert received(near, len(data)) == data
    sender.join(5)


def test_an_end_on_one_side_is_an_end_on_the_other(proxy: Proxy, echo: Echo, near: socket.socket) -> None:
    """No connection is left behind."""
    said(near, b"hello")
    near.close()
    eventually(lambda: echo.open == 0 and proxy.connections(LINK) == 0, 5)


def test_a_delayed_link_is_late_both_ways_and_keeps_the_order(proxy: Proxy, near: socket.socket) -> None:
    """Also when the latency ends in the middle."""
    proxy.turn(LINK, Mode.PASS, 0.15)
    began = time.monotonic()
    near.sendall(b"a" * 1000)
    assert received(near, 1000) == b"a" * 1000
    assert time.monotonic() - began >= 2 * 0.15 - 0.005  # an event loop's clock counts milliseconds
    near.sendall(b"b" * 1000)
    proxy.turn(LINK, Mode.PASS)
    near.sendall(b"c" * 1000)
    assert received(near, 2000) == b"b" * 1000 + b"c" * 1000


def test_a_reset_link_ends_connections_and_takes_none(proxy: Proxy, echo: Echo, near: socket.socket) -> None:
    """By a reset and not by a farewell, until it passes again."""
    said(near, b"hello")
    port = near.getpeername()[1]
    proxy.turn(LINK, Mode.RESET)
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    with pytest.raises(ConnectionError), _connect(port) as second:
        assert second.recv(1) == b"x", "nothing can come"
    assert echo.accepted == 1
    proxy.turn(LINK, Mode.PASS)
    with _connect(port) as third:
        assert said(third, b"again") == b"again"


def test_a_black_hole_holds_everything_back_and_loses_nothing(proxy: Proxy, near: socket.socket) -> None:
    """As a network that drops packets: who is patient gets everything in the end."""
    said(near, b"hello")
    proxy.turn(LINK, Mode.BLACKHOLE)
    near.sendall(b"are you there")
    assert is_silent(near)
    with _connect(near.getpeername()[1]) as second:
        second.sendall(b"and I")
        assert is_silent(second)
        proxy.turn(LINK, Mode.PASS)
        assert received(near, 13) == b"are you there"
        assert received(second, 5) == b"and I"


def test_a_half_open_link_has_lost_the_far_end_without_a_word(
    proxy: Proxy, echo: Echo, near: socket.socket
) -> None:
    """The near end believes in its connection, until it sends after the network is back."""
    said(near, b"hello")
    proxy.turn(LINK, Mode.HALF_OPEN)
    eventually(lambda: echo.open == 0, 5)
    near.sendall(b"are you there")
    assert is_silent(near)
    proxy.turn(LINK, Mode.PASS)
    assert is_silent(near)
    near.sendall(b"hello?")
    with pytest.raises(ConnectionResetError):
        near.recv(1)


def test_a_link_to_nobody_refuses(proxy: Proxy, echo: Echo) -> None:
    """As the port behind it would."""
    port = proxy.open("dead", echo.port)
    echo_port_only = proxy.open("nobody", 1)
    assert port != echo_port_only
    with pytest.raises(ConnectionError), _connect(echo_port_only) as client:
        assert client.recv(1) == b"x", "nothing can come"
