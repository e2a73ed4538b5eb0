"""A small server for a listening test: it serves the page and stores the answers in SQLite."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from consistency_tta.listening.answers import check
from consistency_tta.listening.key import DATABASE, PAGE, Key
from consistency_tta.runtime.errors import ConfigurationError, DataError

#: Size of the largest answers accepted, in bytes; thousands of items have less.
LARGEST = 1_000_000
#: Content-Security-Policy: the page may do nothing but what it needs.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src data:; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Refused(Exception):  # noqa: N818 - an answer to the rater
    """Answers are not stored.

    Args:
        status: of HTTP.
        reason: for the rater.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class AnswerStore:
    """Answers in an SQLite file, one row for each rater of a test.

    Only a row's rater can change it: answers under the same name need the token that came with the first ones, a random
    text that the rater's browser stores.

    Args:
        folder: of the test.
        key: of the test.
    """

    def __init__(self, folder: Path, key: Key) -> None:
        self.file, self.key = folder / DATABASE, key
        with closing(sqlite3.connect(self.file)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS answers (test TEXT NOT NULL, rater TEXT NOT NULL, token TEXT NOT NULL, "
                "saved TEXT NOT NULL, answers TEXT NOT NULL, PRIMARY KEY (test, rater))"
            )

    def save(self, text: bytes) -> int:
        """Store answers, and replace the rater's earlier ones.

        Returns:
            How many items they have.

        Raises:
            Refused: something in them is wrong, or the name is another rater's.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"not JSON: {error!s:.80}") from error
        answers, faults = check(content, self.key)
        if answers is None or faults:
            raise Refused(400, "; ".join(faults))
        token = content.get("token")
        if not isinstance(token, str) or not 16 <= len(token) <= 64:
            raise Refused(400, "expected a token of 16 to 64 characters")
        with closing(sqlite3.connect(self.file, timeout=30)) as database, database:
            # One statement, so that two requests at a time cannot both find the name free.
            stored = database.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT (test, rater) DO UPDATE SET "
                "saved = excluded.saved, answers = excluded.answers WHERE token = excluded.token",
                (self.key.test, answers.rater, token, answers.saved, json.dumps(content)),
            ).rowcount
        if not stored:
            raise Refused(409, f"somebody else answers as {answers.rater!r}: choose another name")
        return len(answers.items)


class Handler(BaseHTTPRequestHandler):
    """``GET /`` is the page, ``POST /answers`` stores answers; there is nothing else."""

    page: bytes
    store: AnswerStore
    server_version = "listening-test"
    sys_version = ""
    timeout = 60  # of an idle connection, in seconds

    def do_GET(self) -> None:
        """The page."""
        if self.path.partition("?")[0] == "/":
            self._send(200, self.page, "text/html; charset=utf-8")
        else:
            self._reply(404, "there is only one page here: /")

    def do_POST(self) -> None:
        """Answers."""
        try:
            if self.path != "/answers":
                raise Refused(404, "answers go to /answers")
            # A page of another site may send this type only after a CORS preflight, which this server does not answer.
            if self.headers.get_content_type() != "application/json":
                raise Refused(415, "expected application/json")
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                raise Refused(411, "expected a Content-Length")
            if int(length) > LARGEST:
                raise Refused(413, f"expected at most {LARGEST} bytes, got {int(length)}")
            self._reply(200, "", items=self.store.save(self.rfile.read(int(length))))
        except Refused as refused:
            self._reply(refused.status, str(refused))

    def _reply(self, status: int, error: str, **more: Any) -> None:
        text = json.dumps(more | ({"error": error} if error else {}))
        self._send(status, text.encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def make_server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server that has its port and is ready to run.

    Raises:
        FileNotFoundError: the folder has no test.
        ConfigurationError: the port is out of range.
        DataError: page and key are of different tests.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"expected a port from 0, any that is free, to 65535, got {port}")
    key = Key.load(folder)
    page = (folder / PAGE).read_bytes()
    if f'"test": "{key.test}"'.encode() not in page:
        raise DataError(f"{folder / PAGE} is not the page of its key, test {key.test}: make the test again")
    handler = type("TestHandler", (Handler,), {"page": page, "store": AnswerStore(folder, key)})
    return ThreadingHTTPServer((host, port), handler)


def serve(folder: Path, port: int = 8000, host: str = "127.0.0.1") -> None:
    """Serve a listening test to raters and store their answers in answers.sqlite, until Ctrl+C.

    Args:
        folder: that `consistency-tta listening-test` wrote.
        port: to listen on; 0 is any that is free.
        host: address to listen on; 127.0.0.1 is this machine alone, 0.0.0.0 lets others in, without encryption.
    """
    server = make_server(folder, host, port)
    print(f"http://{host}:{server.server_port}/ has the test in {folder}; Ctrl+C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended; the answers are in", folder / DATABASE)
    finally:
        server.server_close()
