"""A server that keeps so many connections open, each for so long, whatever its clients do.

Each connection has a thread. A client that opens many and sends a little now and then would have them all for ever
("slow loris").
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

#: Connections at a time, and those of one address; behind a proxy all raters have its address. Each has one request.
CONNECTIONS, OF_ADDRESS = 256, 64
#: Seconds within which a request must be there.
PATIENCE = 60.0
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"


class BoundedServer(ThreadingHTTPServer):
    """Keeps at most :data:`CONNECTIONS` open, and waits for a request for at most :data:`PATIENCE` seconds.

    Where there is no room for another, the one that has kept the server waiting for its request for longest makes room;
    if all are being answered, the new one is refused. Handlers call :meth:`heard` when they have read a request.
    """

    request_queue_size = 64  # of the system's, for those that are not accepted yet

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        # Both in the order in which they were opened.
        self._open: dict[Any, str] = {}
        self._waiting: dict[Any, float] = {}
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection's thread, or refuse it."""
        address = str(client_address[0])
        with self._lock:
            room = self._make_room(address)
            if room:
                self._open[request], self._waiting[request] = address, time.monotonic()
        if room:
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.setblocking(False)
            request.send(BUSY)
        self.shutdown_request(request)

    def heard(self, request: Any) -> None:
        """A connection's request was read."""
        with self._lock:
            self._waiting.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        with self._lock:
            self._forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections that were waited for long enough."""
        with self._lock:
            for request, begun in list(self._waiting.items()):
                if time.monotonic() - begun > PATIENCE:
                    self._end(request)

    def _make_room(self, address: str) -> bool:
        own = [request for request, opened in self._open.items() if opened == address]
        among = own if len(own) >= OF_ADDRESS else self._open if len(self._open) >= CONNECTIONS else None
        if among is None:
            return True
        oldest = next((request for request in self._waiting if request in among), None)
        if oldest is not None:
            self._end(oldest)
        return oldest is not None

    def _end(self, request: Any) -> None:
        """Hear no more of a connection: its thread, which waits for words, ends at once."""
        self._forget(request)
        with suppress(OSError):  # it has just ended
            request.shutdown(socket.SHUT_RD)

    def _forget(self, request: Any) -> None:
        self._open.pop(request, None)
        self._waiting.pop(request, None)
