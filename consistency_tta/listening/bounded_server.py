"""A server that keeps so many connections open, each for so long, whatever its clients do.

Each connection has a thread. A client that opens many and sends a little now and then would have them all for ever
("slow loris").
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import Any

#: Connections at a time, and those of one address; behind a proxy all raters have its address. Each has one request.
CONNECTIONS, OF_ADDRESS = 256, 64
#: Seconds within which a request must be there.
PATIENCE = 60.0
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"


class BoundedServer(ThreadingHTTPServer):
    """Refuses connections beyond :data:`CONNECTIONS`, and hears no more of one after :data:`PATIENCE` seconds."""

    request_queue_size = 64  # of the system's, for those that are not accepted yet

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        self._open: dict[Any, tuple[str, float]] = {}
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection's thread, or refuse it."""
        address = str(client_address[0])
        with self._lock:
            counts = Counter(opened for opened, _ in self._open.values())
            room = counts.total() < CONNECTIONS and counts[address] < OF_ADDRESS
            if room:
                self._open[request] = (address, time.monotonic())
        if room:
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.setblocking(False)
            request.send(BUSY)
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hear no more of old connections: those without a whole request end, those that are being answered do not."""
        with self._lock:
            old = [request for request, (_, begun) in self._open.items() if time.monotonic() - begun > PATIENCE]
        for request in old:
            with suppress(OSError):  # it has just ended
                request.shutdown(socket.SHUT_RD)
