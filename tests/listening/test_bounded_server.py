"""Clients that open many connections, or send their requests slowly, leave room for others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler

import pytest

from consistency_tta.listening import bounded_server
from consistency_tta.listening.bounded_server import BoundedServer

PAGE = b"p" * 8_000_000  # more than the system keeps of what is sent


class Handler(BaseHTTPRequestHandler):
    server: BoundedServer

    def do_GET(self) -> None:
        self.server.heard(self.connection)
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(bounded_server, "OF_ADDRESS", 3)
    monkeypatch.setattr(bounded_server, "PATIENCE", 0.3)
    server = BoundedServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def rest(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("name", ["OF_ADDRESS", "CONNECTIONS"])
def test_where_there_is_no_room_who_waits_longest_makes_some(
    name: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_server, "PATIENCE", 60)
    monkeypatch.setattr(bounded_server, "OF_ADDRESS", 99)
    monkeypatch.setattr(bounded_server, name, 2)
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(connect(port)) for _ in range(3))
        assert rest(first) == b""
        for other in (third, second):
            other.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert rest(other).endswith(PAGE)


def test_who_is_answered_keeps_the_place(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_server, "OF_ADDRESS", 1)
    with connect(port) as reader:
        reader.sendall(b"GET / HTTP/1.0\r\n\r\n")
        beginning = reader.recv(10, socket.MSG_WAITALL)  # now it is being answered
        with connect(port) as refused:
            assert rest(refused).startswith(b"HTTP/1.0 503")
        time.sleep(0.6)  # more than the patience with requests
        assert (beginning + rest(reader)).endswith(PAGE)
    with connect(port) as next_one:
        next_one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert rest(next_one).startswith(b"HTTP/1.0 200")


def test_a_request_that_never_ends_is_not_waited_for(port: int) -> None:
    with connect(port) as slow, connect(port) as silent:
        begun = time.monotonic()
        with suppress(ConnectionError):  # the server's end is closed
            while time.monotonic() - begun < 10:
                slow.sendall(b"G")
                time.sleep(0.02)
        assert time.monotonic() - begun < 5
        assert rest(silent) == b""
