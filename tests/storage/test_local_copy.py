"""Folders that lie elsewhere or are Parquet: copied once, byte for byte what ``encode`` writes as safetensors."""

from __future__ import annotations

import errno
import functools
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import torch

from consistency_tta.runtime.errors import ConfigurationError, DataError, MissingExtraError
from consistency_tta.storage import local_copy as module
from consistency_tta.storage.encoding_manifest import begin
from consistency_tta.storage.local_copy import local_copy
from consistency_tta.storage.shards import Format, write_shard

SHARDS, CLIPS = 3, 5
FORMATS: tuple[Format, ...] = ("safetensors", "parquet")


def write_folder(folder: Path, file_format: Format, seed: int = 0) -> None:
    """What ``encode`` would write."""
    begin(folder, {"shards": SHARDS, "format": file_format, "command": {"seed": seed}})
    for number in range(SHARDS):
        generator = torch.Generator().manual_seed(seed + number)
        moments = torch.randn(CLIPS, 4, 2, 3, generator=generator)
        text = {"text": torch.randn(2 * CLIPS, 6, generator=generator).half()}
        text["text_ends"] = torch.arange(2, 2 * CLIPS + 1, 2)
        names = [f"{number}-{clip}" for clip in range(CLIPS)]
        write_shard(folder, number, moments, ["Ein Hund bellt für sich"] * CLIPS, names, text, file_format)


def shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "encoding.json"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips in folders called as their formats."""
    root = tmp_path_factory.mktemp("stored")
    for file_format in FORMATS:
        write_folder(root / file_format, file_format)
    return root


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """A web server of the folder tmp_path / "served", which lists no folders."""
    Quiet.list_directory = lambda self, path: self.send_error(404)  # type: ignore[assignment, method-assign, return-value]
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_safetensors_on_a_disk_are_read_where_they_are(stored: Path, tmp_path: Path) -> None:
    for address in (str(stored / "safetensors"), (stored / "safetensors").as_uri()):
        assert local_copy(address, tmp_path / "cache") == stored / "safetensors"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("place", ["disk", "file", "memory", "http"])
def test_copies_are_what_encode_writes(
    place: str, file_format: Format, stored: Path, tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    address = str(stored / file_format)
    if place == "file":
        address = (stored / file_format).as_uri()
    elif place == "memory":
        address = f"memory://{tmp_path.name}/train/"
        fsspec.filesystem("memory").put(str(stored / file_format) + "/", address, recursive=True)
    elif place == "http":
        shutil.copytree(stored / file_format, tmp_path / "served/train")
        address = f"http://127.0.0.1:{server.server_port}/train"
    copy = local_copy(address, tmp_path / "cache")
    assert shards(copy) == shards(stored / "safetensors")
    before = {file: file.stat().st_mtime_ns for file in copy.glob("*-*")}
    assert local_copy(address, str(tmp_path / "cache")) == copy
    assert {file: file.stat().st_mtime_ns for file in copy.glob("*-*")} == before


def test_without_the_network_the_newest_copy_is_read(
    stored: Path, tmp_path: Path, server: ThreadingHTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"http://127.0.0.1:{server.server_port}/train"
    copies = []
    for seed in (1, 2):  # another run of `encode` at the same address is another copy
        shutil.rmtree(tmp_path / "served", ignore_errors=True)
        write_folder(tmp_path / "served/train", "parquet", seed)
        copies.append(local_copy(address, tmp_path / "cache"))
    assert shards(copies[0]) != shards(copies[1])
    server.shutdown()
    server.server_close()
    assert local_copy(address, tmp_path / "cache") == copies[1]
    assert address in caplog.text
    for newest in (copies[0], copies[1]):  # whatever their names are
        os.utime(newest / "encoding.json", (4e9 + copies.index(newest),) * 2)
        assert local_copy(address, tmp_path / "cache") == newest
    (copies[1] / "latents-0001.safetensors").unlink()  # as if the network had gone while it was copied
    assert local_copy(address, tmp_path / "cache") == copies[0]
    with pytest.raises(DataError, match=address):
        local_copy(address, tmp_path / "another")


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_torn_shard_is_named_and_copied_once_it_is_whole(file_format: Format, stored: Path, tmp_path: Path) -> None:
    address = f"memory://{tmp_path.name}"
    remote = fsspec.filesystem("memory")
    remote.put(str(stored / file_format) + "/", address, recursive=True)
    torn = f"latents-0001.{file_format}"
    whole = (stored / file_format / torn).read_bytes()
    remote.pipe_file(f"{address}/{torn}", whole[:-50])
    with pytest.raises(DataError, match=f"{address}/{torn}"):
        local_copy(address, tmp_path / "cache")
    remote.rm_file(f"{address}/{torn}")
    with pytest.raises(FileNotFoundError, match=torn):
        local_copy(address, tmp_path / "cache")
    (begun,) = (tmp_path / "cache").rglob("encoding.json")
    with subprocess.Popen(["true"]) as killed:
        pass
    begun.with_name(f".x.{socket.gethostname()}-{killed.pid}.partial").touch()
    remote.pipe_file(f"{address}/{torn}", whole)
    assert shards(local_copy(address, tmp_path / "cache")) == shards(stored / "safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-20],
        lambda whole: whole[: whole.index(b"\n") + 1],
        lambda whole: b"<html>Please log in</html>",
        lambda whole: b"1\n" * CLIPS,
        lambda whole: whole.replace(b'"caption"', b'"text"'),
        lambda whole: whole.replace(b'"id"', b'"name"'),
    ],
    ids=["torn", "fewer lines", "another page", "no objects", "no captions", "no names"],
)
def test_torn_captions_are_named_and_copied_once_they_are_whole(
    damage: Callable[[bytes], bytes], stored: Path, tmp_path: Path
) -> None:
    address = f"memory://{tmp_path.name}"
    remote = fsspec.filesystem("memory")
    remote.put(str(stored / "safetensors") + "/", address, recursive=True)
    torn = "captions-0001.jsonl"
    whole = (stored / "safetensors" / torn).read_bytes()
    remote.pipe_file(f"{address}/{torn}", damage(whole))
    with pytest.raises(DataError, match=f"{address}/{torn}: expected {CLIPS} lines.*copy it there again"):
        local_copy(address, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*-0001*"))
    remote.pipe_file(f"{address}/{torn}", whole)
    assert shards(local_copy(address, tmp_path / "cache")) == shards(stored / "safetensors")


def test_a_cache_that_cannot_be_written_is_named(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(stored / "parquet")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"{address} to {tmp_path}/file/.*--data\.cache_folder"):
        local_copy(address, tmp_path / "file")
    copy = local_copy(address, tmp_path / "cache")

    def full(path: Path, *arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for method in ("write_bytes", "touch", "mkdir"):
        monkeypatch.setattr(Path, method, full)
    with pytest.raises(DataError, match=r"No space left on device.*--data\.cache_folder"):
        local_copy(address, tmp_path / "another")
    assert local_copy(address, tmp_path / "cache") == copy  # which is whole, so that nothing need be written


def test_an_address_has_one_place_that_says_which_it_is(stored: Path, tmp_path: Path) -> None:
    address = f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").put(str(stored / "safetensors") + "/", address, recursive=True)
    assert local_copy(address, tmp_path / "cache") == local_copy(f"{address}/", tmp_path / "cache")
    (place,) = (tmp_path / "cache").iterdir()
    assert (place / "address.txt").read_text() == f"{address}\n"


def test_a_copy_is_the_newest_if_it_was_used_last(stored: Path, tmp_path: Path) -> None:
    copy = local_copy(str(stored / "parquet"), tmp_path)
    os.utime(copy / "encoding.json", (1, 1))
    local_copy(str(stored / "parquet"), tmp_path)
    assert (copy / "encoding.json").stat().st_mtime > 1


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_copies_lie_in_the_users_cache(
    variable: str, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    cache = tmp_path if variable == "XDG_CACHE_HOME" else tmp_path / ".cache"
    assert local_copy(str(stored / "parquet")).is_relative_to(cache / "consistency-tta")


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("nowhere://bucket/train", ConfigurationError),
        ("memory://nothing/train", FileNotFoundError),
        ("http://127.0.0.1:9/train", DataError),
        ("hf://datasets/owner/name/train", DataError),  # tests run offline
    ],
)
def test_what_cannot_be_had_is_named(address: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match=address):
        local_copy(address, tmp_path)


@pytest.mark.parametrize("page", [b"<html>Please log in</html>", b"\xff\xfe"])
def test_another_page_in_the_manifests_place_is_named_and_not_kept(page: bytes, tmp_path: Path) -> None:
    address = f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").pipe_file(f"{address}/encoding.json", page)
    with pytest.raises(DataError, match=address):
        local_copy(address, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_package_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(address: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(module, "url_to_fs", missing)
    with pytest.raises(MissingExtraError, match="s3fs"):
        local_copy("s3://bucket/train", tmp_path)


def test_processes_that_copy_at_once_make_one_whole_copy(stored: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (str(stored / "parquet"), tmp_path)
    processes = [context.Process(target=local_copy, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert shards(local_copy(*arguments)) == shards(stored / "safetensors")
    assert json.loads((stored / "parquet/encoding.json").read_text())["format"] == "parquet"
