"""A small server for a listening test: it serves the page and stores the answers in SQLite."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from consistency_tta.listening.answers import check
from consistency_tta.listening.bounded_server import BoundedServer
from consistency_tta.listening.key import DATABASE, PAGE, Key
from consistency_tta.listening.rate_limit import RateLimit
from consistency_tta.runtime.errors import ConfigurationError, DataError

#: Size of the largest answers accepted, in bytes; thousands of items have less.
LARGEST = 1_000_000
#: Raters of a test, and requests of one address in a minute, unless more are allowed. A rater makes a few in all.
RATERS, REQUESTS = 1000, 120
#: Content-Security-Policy: the page may do nothing but what it needs.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src data:; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TOO_MANY = "too many requests from your address, so wait a minute and try again"


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
        max_raters: how many raters it has room for.
    """

    def __init__(self, folder: Path, key: Key, max_raters: int = RATERS) -> None:
        self.file, self.key, self.max_raters = folder / DATABASE, key, max_raters
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
            Refused: something in them is wrong, the name is another rater's, or there are enough raters.
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
            # One statement, so that two requests at a time cannot both find the name, or the last place, free.
            known = "EXISTS (SELECT 1 FROM answers WHERE test = ?1 AND rater = ?2)"
            stored = database.execute(
                f"INSERT INTO answers SELECT ?1, ?2, ?3, ?4, ?5 WHERE {known} "
                "OR (SELECT COUNT(*) FROM answers WHERE test = ?1) < ?6 ON CONFLICT (test, rater) DO UPDATE SET "
                "saved = excluded.saved, answers = excluded.answers WHERE token = excluded.token",
                (self.key.test, answers.rater, token, answers.saved, json.dumps(content), self.max_raters),
            ).rowcount
            is_known = database.execute(f"SELECT {known}", (self.key.test, answers.rater)).fetchone()[0]
        if not is_known:
            raise Refused(403, f"this test has its {self.max_raters} raters, so write to whoever sent it to you")
        if not stored:
            raise Refused(409, f"somebody else answers as {answers.rater!r}: choose another name")
        return len(answers.items)


class Handler(BaseHTTPRequestHandler):
    """``GET /`` is the page, ``POST /answers`` stores answers; there is nothing else."""

    server: BoundedServer
    page: bytes
    store: AnswerStore
    limit: RateLimit
    server_version = "listening-test"
    sys_version = ""
    timeout = 60  # of an idle connection, in seconds; BoundedServer says how long a request may take

    def do_GET(self) -> None:
        """The page."""
        self.server.heard(self.connection)
        if not self.limit.allows(self.client_address[0]):
            self._reply(429, TOO_MANY)
        elif self.path.partition("?")[0] == "/":
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
            text = self.rfile.read(int(length))  # also of answers that are refused, or no reply would be read
            self.server.heard(self.connection)
            if not self.limit.allows(self.client_address[0]):
                raise Refused(429, TOO_MANY)
            self._reply(200, "", items=self.store.save(text))
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


def make_server(
    folder: Path, host: str, port: int, max_raters: int = RATERS, requests_per_minute: int = REQUESTS
) -> BoundedServer:
    """A server that has its port and is ready to run.

    Raises:
        FileNotFoundError: the folder has no test.
        ConfigurationError: the port, or a limit, is out of range.
        DataError: page and key are of different tests.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"expected a port from 0, any that is free, to 65535, got {port}")
    for name, number in (("max_raters", max_raters), ("requests_per_minute", requests_per_minute)):
        if number < 1:
            raise ConfigurationError(f"expected at least 1 as {name}, got {number}")
    key = Key.load(folder)
    page = (folder / PAGE).read_bytes()
    if f'"test": "{key.test}"'.encode() not in page:
        raise DataError(f"{folder / PAGE} is not the page of its key, test {key.test}: make the test again")
    store, limit = AnswerStore(folder, key, max_raters), RateLimit(requests_per_minute)
    handler = type("TestHandler", (Handler,), {"page": page, "store": store, "limit": limit})
    return BoundedServer((host, port), handler)


def serve(
    folder: Path,
    port: int = 8000,
    host: str = "127.0.0.1",
    max_raters: int = 1000,
    requests_per_minute: int = 120,
) -> None:
    """Serve a listening test to raters and store their answers in answers.sqlite, until Ctrl+C.

    Args:
        folder: that `consistency-tta listening-test` wrote.
        port: to listen on; 0 is any that is free.
        host: address to listen on; 127.0.0.1 is this machine alone, 0.0.0.0 lets others in, without encryption.
        max_raters: how many raters the test has room for; more are refused.
        requests_per_minute: how many requests of one address are answered in a minute; behind a proxy all raters have
            its address.
    """
    server = make_server(folder, host, port, max_raters, requests_per_minute)
    print(f"http://{host}:{server.server_port}/ has the test in {folder}; Ctrl+C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended; the answers are in", folder / DATABASE)
    finally:
        server.server_close()
