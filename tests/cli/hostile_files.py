"""Files that a command must withstand, made by code: damaged checkpoints, sounds that lie, tables that are none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from tests.evaluation.cases import RATE, noise, write_sounds
from tests.recompressed import recompress


def changed(whole: Path, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """Writes a whole checkpoint's content with a change."""

    def write(file: Path) -> None:
        content = torch.load(whole, weights_only=True)
        change(content)
        torch.save(content, file)

    return write


def spoil(content: dict[str, Any]) -> None:
    for weight in content["state_dict"].values():
        if weight.is_floating_point():
            weight.fill_(float("nan"))


def halve(content: dict[str, Any]) -> None:
    weights = content["state_dict"]
    weights.update({name: weight.half() for name, weight in weights.items() if weight.is_floating_point()})


def write_checkpoints(folder: Path, whole: Path) -> None:
    """KIND.ckpt of every kind of damage to a whole checkpoint."""
    content = whole.read_bytes()
    weights = torch.load(whole, weights_only=True)["state_dict"].values()
    # Within a weight: what lies between the parts of the archive is never read.
    middle = content.index(max(weights, key=torch.Tensor.numel).contiguous().numpy().tobytes()) + 1

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "ran",)

    kinds: dict[str, Callable[[Path], Any]] = {
        "cut": lambda file: file.write_bytes(content[:middle]),
        "empty": lambda file: file.write_bytes(b""),
        "bit": lambda file: file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]),
        "page": lambda file: file.write_text("<!DOCTYPE html>"),
        "pointer": lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
        "folder": Path.mkdir,
        "tensor": lambda file: torch.save(torch.ones(2), file),
        "pickle": lambda file: torch.save({"state_dict": {}, "hyper_parameters": Malicious()}, file),
        "weights": changed(whole, lambda content: [content.pop(key) for key in ("optimizer_states", "loops")]),
        "list": changed(whole, lambda content: content.update(state_dict=[])),
        "position": changed(whole, lambda content: content["position"].update(batch=-4)),
        "foreign": changed(whole, lambda content: content["hyper_parameters"].update(_class_path="foreign.Network")),
        "nan": changed(whole, spoil),
        "half": changed(whole, halve),
        "compressed": lambda file: recompress(whole, file),
    }
    for kind, write in kinds.items():
        write(folder / f"{kind}.ckpt")


def write_hostile_sounds(folder: Path) -> None:
    """sounds/KIND.* and KIND.csv, which names it and a good one; generated/KIND, whose third clip it is."""
    sounds, good = folder / "sounds", noise(1)
    sounds.mkdir()

    def sound(name: str, samples: np.ndarray, **options: Any) -> bytes:
        soundfile.write(sounds / name, samples, RATE, **options)
        return (sounds / name).read_bytes()

    whole = sound("good.wav", good)
    sound("silent.wav", 0 * good)
    sound("antiphase.wav", np.concatenate([good, -good], axis=1))
    sound("not_finite.wav", np.nan * good, subtype="FLOAT")
    piped = bytearray(sound("piped.flac", good))
    piped[21] &= 0xF0
    piped[22:26] = bytes(4)  # a length of 0, as of a FLAC that was written into a pipe
    contents = {
        "piped.flac": piped,
        "chained.ogg": 2 * sound("once.ogg", good, subtype="VORBIS"),
        "joined.mp3": 2 * sound("once.mp3", good),
        "truncated.wav": whole[: len(whole) // 2],
        "vast.wav": whole[:24] + (4_000_000_000).to_bytes(4, "little") + whole[28:],  # Hz
        "nothing.wav": b"",
        "web_page.wav": b"<!DOCTYPE html>",
        "random.ogg": b"OggS" + np.random.default_rng(0).bytes(2000),
    }
    for name, content in contents.items():
        (sounds / name).write_bytes(content)
    for path in sounds.glob("once.*"):
        path.unlink()
    (sounds / "dangling.wav").symlink_to("nowhere.wav")
    (sounds / "directory.wav").mkdir()
    os.mkfifo(sounds / "pipe.wav")
    write_sounds(folder / "reference")
    for path in sorted(sounds.iterdir()):
        (folder / f"{path.stem}.csv").write_text(f"file,caption\n{path.stem},A tone\ngood,A noise\n")
        generated = write_sounds(folder / "generated" / path.stem, seed=2)
        if path.is_file():
            (generated / "clip3.wav").unlink()
            shutil.copy(path, generated / f"clip3{path.suffix}")


def write_names(folder: Path) -> None:
    """names/, whose files' names are not those of the tables, and the tables."""
    names = folder / "names"
    names.mkdir()
    for seed, name in enumerate(("cafe\u0301", "Yabcdefghijk_30_40", "lmnopqrstuv_5.000_15.000", "Ylmnopqrstuv_5_15")):
        soundfile.write(names / f"{name}.wav", noise(seed), RATE)
    tables = {
        "composed.csv": "file,caption\ncaf\xe9,A tone\n",
        "audiocaps.csv": "audiocap_id,youtube_id,start_time,caption\n1,abcdefghijk,30,A tone\n",
        "ambiguous.csv": "audiocap_id,youtube_id,start_time,caption\n1,lmnopqrstuv,5,A tone\n",
        "part.csv": "file,start_time,end_time,caption\nYabcdefghijk_30_40,0.2,0.6,A tone\n",
        "part_behind.csv": "file,start_time,end_time,caption\nYabcdefghijk_30_40,90,95,A tone\n",
    }
    for name, content in tables.items():
        (folder / name).write_text(content, encoding="utf-8")


#: Tables by name: of a clip "good", with something that no table has.
TABLES = {
    "latin1.csv": "file,caption\ngood,Caf\xe9\n".encode("latin-1"),
    "binary.csv": bytes(range(256)) * 8,
    "nul.csv": b"file,caption\ngood,A\0B\n",
    "quote.csv": b'file,caption\ngood,"A tone\n',
    "vast_field.csv": b"file,caption\ngood," + 200_000 * b"a" + b"\n",
    "no_caption.csv": b"file,text_of\ngood,A tone\n",
    "blank.csv": b"",
    "html.csv": b"<!DOCTYPE html>\n<p>404\n",
    "deep.jsonl": b'{"location": "good", "captions": ' + 100_000 * b"[" + b"\n",
    "list.jsonl": b"[1, 2]\n",
    "empty.json": b"[]",
    "header.csv": b"file,caption\n",
    "wrong_types.jsonl": b'{"location": "good", "captions": ["A tone", 5]}\n',
    "half_character.jsonl": b'{"location": "good", "captions": "A \\ud800"}\n',
    "table.parquet": b"PAR1" + bytes(64) + b"PAR1",
    "packed.csv.gz": b"\x1f\x8b\x08" + bytes(30),
    "broken.jsonl": b'{"location": "good", "captions": "A tone"\n',
    "mixed.csv": b"\xef\xbb\xbffile\tcaption\r\ngood\tA tone\r\xef\xbb\xbfgood\tB\n",
    "line_ends.csv": "file,caption\ngood,A\u2028B\x85C\x0cD\n".encode(),
}


#: Configurations, or protocols, that cannot be read to their end, run code, or have a list in the place of options.
CONFIGS = {
    "bomb.yaml": "a: &a [0, 0, 0, 0]\n"
    + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklm")),
    "itself.yaml": "trainer: &a\n  callbacks: [*a]\n",
    "deep.yaml": f"a: {600 * '['}",
    "list.yaml": "trainer: [1]\n",
    "documents.yaml": "trainer: {}\n---\ntrainer: {}\n",
    "code.yaml": "trainer: !!python/object/apply:pathlib.Path.touch [ran]\n",
}


def write_tables(folder: Path) -> None:
    for name, content in TABLES.items():
        (folder / name).write_bytes(content)
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)


#: A module of a callback that stops its run.
STOP = """
import os
import signal
from lightning.pytorch import Callback

class Stop(Callback):
    def __init__(self, number: str) -> None:
        self.number = signal.Signals[number]

    def on_train_batch_start(self, *args) -> None:
        os.kill(os.getpid(), self.number)
"""
