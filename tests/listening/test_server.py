"""The server keeps good answers, names what is wrong with others, and has nothing but its page."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from consistency_tta.cli import main
from consistency_tta.listening.answers import collect
from consistency_tta.listening.key import Key
from consistency_tta.listening.server import LARGEST, make_server
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.listening.noise import answers, made


@contextmanager
def running(folder: Path, **limits: int) -> Iterator[str]:
    """Its address."""
    server = make_server(folder, "127.0.0.1", 0, **limits)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Key]:
    return made(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def address(served: tuple[Path, Key]) -> Iterator[str]:
    with running(served[0]) as found:
        yield found


def post(address: str, content: Any, kind: str = "application/json", path: str = "/answers") -> tuple[int, dict]:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        with urlopen(Request(address + path, data, {"Content-Type": kind}), timeout=30) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        return error.code, json.load(error)


def rows(folder: Path) -> list[tuple]:
    with closing(sqlite3.connect(folder / "answers.sqlite")) as database:
        return database.execute("SELECT rater, saved FROM answers ORDER BY rater").fetchall()


def test_the_page_is_there_and_nothing_else(served: tuple[Path, Key], address: str) -> None:
    folder, _ = served
    with urlopen(address, timeout=30) as reply:
        assert reply.read() == (folder / "index.html").read_bytes()
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    for path in ("/key.json", "/answers.sqlite", "/answers", "/../key.json", "/%2e%2e/key.json", "//key.json"):
        with pytest.raises(HTTPError, match="404"):
            urlopen(address + path, timeout=30)


def test_answers_are_kept_once_for_each_rater_and_survive_a_restart(tmp_path: Path) -> None:
    folder, key = made(tmp_path)
    with running(folder) as address:
        assert post(address, answers(key, "Ann", quality=1)) == (200, {"items": 9})
        assert post(address, answers(key, "Bob")) == (200, {"items": 9})
    with running(folder) as address:
        assert post(address, answers(key, "Ann", quality=2) | {"saved": "2026-02-01T00:00:00.000Z"})[0] == 200
    assert rows(folder) == [("Ann", "2026-02-01T00:00:00.000Z"), ("Bob", "2026-01-02T03:04:05.000Z")]
    found, faults = collect(folder, key)
    assert faults == []
    assert {rated.scores["quality"] for rated in found[0].items.values()} == {2}


def test_nobody_writes_over_another_raters_answers(served: tuple[Path, Key], address: str) -> None:
    folder, key = served
    assert post(address, answers(key, "Dora"))[0] == 200
    status, reply = post(address, answers(key, "Dora", quality=1) | {"token": "other" * 5, "saved": "later"})
    assert status == 409
    assert "choose another name" in reply["error"]
    assert ("Dora", "2026-01-02T03:04:05.000Z") in rows(folder)


def test_many_at_a_time(served: tuple[Path, Key], address: str) -> None:
    folder, key = served
    threads = [threading.Thread(target=post, args=(address, answers(key, f"Many {n}"))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(rater.startswith("Many") for rater, _ in rows(folder)) == 12


def test_there_are_so_many_raters_and_requests_and_no_more(tmp_path: Path) -> None:
    folder, key = made(tmp_path)
    with running(folder, max_raters=2, requests_per_minute=5) as address:
        assert [post(address, answers(key, name))[0] for name in ("Ann", "Bob", "Cleo", "Ann")] == [200, 200, 403, 200]
        assert post(address, answers(key, "Bob") | {"token": "other" * 5})[0] == 409
        status, reply = post(address, answers(key, "Bob"))
        assert (status, "wait a minute" in reply["error"]) == (429, True)
        with pytest.raises(HTTPError, match="429"):
            urlopen(address, timeout=30)
    assert [rater for rater, _ in rows(folder)] == ["Ann", "Bob"]


@pytest.mark.parametrize("limit", ["max_raters", "requests_per_minute"])
def test_a_limit_of_nothing_is_refused(limit: str, served: tuple[Path, Key]) -> None:
    with pytest.raises(ConfigurationError, match=f"{limit}, got 0"):
        make_server(served[0], "127.0.0.1", 0, **{limit: 0})


def test_wrong_answers_are_refused_and_named(served: tuple[Path, Key], address: str) -> None:
    folder, key = served
    before = rows(folder)
    good = answers(key, "Eve")
    unknown = good | {"items": good["items"] | {"nothing": {}}}
    assert post(address, unknown) == (400, {"error": "unknown item 'nothing'"})
    assert post(address, good | {"test": "another"})[0] == 400
    assert post(address, good | {"token": "short"})[0] == 400
    assert post(address, b"{")[0] == 400
    assert post(address, b"\xff\xfe\x00")[0] == 400
    assert post(address, good, kind="text/plain")[0] == 415
    assert post(address, good, path="/elsewhere")[0] == 404
    assert rows(folder) == before


@pytest.mark.parametrize(
    ("length", "status"), [(str(LARGEST + 1), 413), ("-1", 411), ("many", 411), ("²", 411), (None, 411)]
)
def test_the_length_is_checked_before_anything_is_read(address: str, length: str | None, status: int) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/answers")
    connection.putheader("Content-Type", "application/json")
    if length is not None:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize("port", [99999, 65536, -1])
def test_a_port_out_of_range_is_refused(port: int, served: tuple[Path, Key]) -> None:
    with pytest.raises(SystemExit, match=str(port)):
        main(["listening-test", "serve", str(served[0]), f"--port={port}"])


def test_a_page_of_another_test_is_not_served(tmp_path: Path) -> None:
    folder, _ = made(tmp_path)
    page = folder / "index.html"
    page.write_text(page.read_text().replace('"test": "', '"test": "f'))
    with pytest.raises(DataError, match=r"index\.html"):
        make_server(folder, "127.0.0.1", 0)
    with pytest.raises(FileNotFoundError, match=r"key\.json"):
        make_server(tmp_path, "127.0.0.1", 0)
