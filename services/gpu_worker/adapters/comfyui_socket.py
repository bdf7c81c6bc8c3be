"""The one websocket that a worker keeps open to its ComfyUI, across jobs.

Read by one thread; `ComfyUISocket.wake` may be called from any, so that a cancellation needs no polling.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from urllib.parse import urlencode, urlsplit

import websocket

_FRAME_SECONDS = 10.0  # for the rest of a frame whose first byte is there
_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class SocketLost(Exception):
    """The connection is gone or could not be made.  ``refused``: nothing listens there."""

    def __init__(self, what: str, *, refused: bool = False) -> None:
        super().__init__(what)
        self.refused = refused


class ComfyUISocket:
    """A websocket that can be opened again under the same client id."""

    def __init__(self, url: str, client_id: str, *, connect_seconds: float) -> None:
        parts = urlsplit(url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        query = urlencode({"clientId": client_id})
        self._url = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/ws?{query}"
        self._connect_seconds = connect_seconds
        self._websocket: websocket.WebSocket | None = None
        self._connection: socket.socket | None = None  # the websocket's, which it forgets when it fails
        self._wakes, self._waker = socket.socketpair()
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakes, selectors.EVENT_READ)

    @property
    def is_open(self) -> bool:
        """Whether it was open when last used; only reading finds out more."""
        return self._websocket is not None

    def open(self) -> None:
        """Connect; an older connection must have been closed: ComfyUI silences a client id whose *old* socket closes.

        Returns when the first event is there, since ComfyUI only then has the client id on its list.

        Raises:
            SocketLost: it could not be opened.
        """
        assert self._websocket is None, "the old connection is still open"
        fresh = websocket.WebSocket(sockopt=_OPTIONS, skip_utf8_validation=True)
        try:
            fresh.connect(self._url, timeout=self._connect_seconds, suppress_origin=True)  # type: ignore[no-untyped-call]  # websocket-client has no types
            opcode, _ = fresh.recv_data()
        except (OSError, websocket.WebSocketException) as error:
            fresh.shutdown()  # type: ignore[no-untyped-call]  # websocket-client has no types
            refused = isinstance(error, ConnectionRefusedError)
            raise SocketLost(f"no websocket: {type(error).__name__}", refused=refused) from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            fresh.shutdown()  # type: ignore[no-untyped-call]  # websocket-client has no types
            raise SocketLost("closed by ComfyUI at once")
        fresh.settimeout(_FRAME_SECONDS)
        assert fresh.sock is not None, "a websocket that has just answered has a socket"
        self._websocket, self._connection = fresh, fresh.sock
        self._selector.register(fresh.sock, selectors.EVENT_READ)

    def receive(self, seconds: float) -> str | bytes | None:
        """The next frame, or None where none came within ``seconds``, or `wake` was called.

        Raises:
            SocketLost: the connection ended.
        """
        if self._websocket is None:
            raise SocketLost("not connected")
        if not self._readable(seconds):
            return None
        try:
            opcode, frame = self._websocket.recv_data_frame(control_frame=True)
        except (OSError, websocket.WebSocketException) as error:
            self.disconnect()
            raise SocketLost(f"reading failed: {type(error).__name__}") from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.disconnect()
            raise SocketLost("closed by ComfyUI")
        if opcode == websocket.ABNF.OPCODE_TEXT:
            return str(frame.data, "utf-8", "replace")
        return bytes(frame.data) if opcode == websocket.ABNF.OPCODE_BINARY else None

    def drain(self) -> None:
        """Throw away what came between jobs, which also finds out whether the connection still lives."""
        while self._readable(0.0):
            self.receive(0.0)

    def pause(self, seconds: float) -> None:
        """Wait while disconnected, or be woken."""
        self._selector.select(seconds)
        self._unwake()

    def wake(self) -> None:
        """Make a blocked `receive` or `pause` return now."""
        with contextlib.suppress(BlockingIOError):  # it has been woken more often than it could notice
            self._waker.send(b"!")

    def disconnect(self) -> None:
        """Close the connection, politely where that is quick."""
        if self._websocket is None:
            return
        old, self._websocket = self._websocket, None
        if self._connection is not None:
            self._selector.unregister(self._connection)
            self._connection = None
        with contextlib.suppress(OSError, websocket.WebSocketException):
            old.close(timeout=0.2)
        old.shutdown()  # type: ignore[no-untyped-call]  # websocket-client has no types

    def close(self) -> None:
        """Disconnect for good."""
        self.disconnect()
        self._selector.close()
        self._wakes.close()
        self._waker.close()

    def _readable(self, seconds: float) -> bool:
        """Whether a frame has begun to arrive; false where time is up or somebody woke us first."""
        pending = getattr(self._connection, "pending", None)
        if pending is not None and pending():  # TLS has read ahead, which the selector cannot see
            return True
        ready = [key.fileobj for key, _ in self._selector.select(max(0.0, seconds))]
        if self._wakes in ready:
            self._unwake()
        return self._connection in ready

    def _unwake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody woke us: time was up
            self._wakes.recv(1024)
