"""Every kind of damage to a checkpoint: of its bytes, of the archive's members, of what it holds, and other files."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from consistency_tta.training.checkpoint_file import FORMAT, FORMAT_KEY, OPTIMIZED_KEY

#: Puts a damaged checkpoint at a place.
Writer = Callable[[Path], Any]
#: A weight that is trained and exported, and its average.
WEIGHTS = ("student.unet.conv_in.weight", "average.module.unet.conv_in.weight")
#: Entries that are changed, by their keys; ``MODEL_CHECKPOINT`` stands for the callback's own key.
MODEL_CHECKPOINT = "ModelCheckpoint"
OPTIMIZER, SCHEDULE, LOOP = ("optimizer_states", 0), ("lr_schedulers", 0), ("loops", "fit_loop")
ENTRIES: list[tuple[Any, ...]] = [
    *((key,) for key in ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks")),
    *((key,) for key in ("optimizer_states", "lr_schedulers", "hparams_name", "hyper_parameters", FORMAT_KEY)),
    *((key,) for key in ("facts_for_the_card", OPTIMIZED_KEY, "position", "loss_states")),
    *(("state_dict", name) for name in WEIGHTS),
    OPTIMIZER,
    *((*OPTIMIZER, key) for key in ("state", "param_groups")),
    (*OPTIMIZER, "state", 0),
    *((*OPTIMIZER, "state", 0, key) for key in ("step", "exp_avg", "exp_avg_sq")),
    (*OPTIMIZER, "param_groups", 0),
    *((*OPTIMIZER, "param_groups", 0, key) for key in ("lr", "betas", "params")),
    SCHEDULE,
    *((*SCHEDULE, key) for key in ("last_epoch", "base_lrs", "_step_count")),
    LOOP,
    *((*LOOP, key) for key in ("state_dict", "epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict")),
    *(("callbacks", key) for key in (MODEL_CHECKPOINT, "SkipNonFiniteSteps")),
    ("callbacks", "SkipNonFiniteSteps", "skipped"),
    ("callbacks", MODEL_CHECKPOINT, "best_k_models"),
    *(("position", key) for key in ("step", "epoch", "batch", "total_batches")),
    *(("hyper_parameters", key) for key in ("_class_path", "teacher", "objective", "losses", "optimization")),
    *(("facts_for_the_card", key) for key in ("steps", "data", "metrics")),
]
#: What takes an entry's place.
VALUES: dict[str, Any] = {"None": None, "text": "text", "-1": -1, "empty list": [], "NaN": float("nan")}
#: What takes a tensor's place, made of it.
TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "flat": torch.flatten,
    "a row more": lambda value: torch.cat([value, value[:1]]),
    "no entries": lambda value: value[:0],
    "float64": torch.Tensor.double,
    "complex64": lambda value: value.to(torch.complex64),
    "int64": torch.Tensor.long,
    "all NaN": lambda value: torch.full_like(value, float("nan")),
    "one infinity": lambda value: torch.where(torch.arange(value.numel()).reshape(value.shape) == 5, torch.inf, value),
    "sparse": torch.Tensor.to_sparse,
}
#: Other values of single entries, beside those of ``VALUES``.
OTHERS: list[tuple[tuple[Any, ...], Any]] = [
    *(((FORMAT_KEY,), value) for value in (0, FORMAT + 1, "new", 1.5)),
    *((("pytorch-lightning_version",), value) for value in ("99.0", "0.1", "2.6")),
    *((("global_step",), value) for value in (10**9, True)),
    *((("position", key), 10**9) for key in ("step", "epoch", "batch", "total_batches")),
    *((("position", key), 0.5) for key in ("step", "batch")),
    (("hyper_parameters", "_class_path"), "consistency_tta.training.VocoderTraining"),
    (("hyper_parameters", "_class_path"), "consistency_tta.training.Nothing"),
    (("hyper_parameters", "teacher"), "nowhere/at/all"),
    (("hyper_parameters", "more"), 1),
    (("state_dict", "more.weight"), torch.ones(2)),
    (("state_dict", 3), torch.ones(2)),
    (("more",), "text"),
]


def kinds(whole: Path) -> Iterator[tuple[str, Writer]]:
    """Names and writers of all kinds of damage to a checkpoint of a distillation."""
    yield from _bytes(whole.read_bytes())
    yield from _members(whole)
    yield from _other_files(whole)
    content = torch.load(whole, weights_only=True)
    for name, change in _changes():
        yield name, _changed(content, change)


def _changed(content: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> Writer:
    """Writes the content with a change; its checksums are right."""

    def write(file: Path) -> None:
        copy = deepcopy(content)
        copy["callbacks"] = {key.split("{")[0]: state for key, state in copy["callbacks"].items()}
        change(copy)
        if isinstance(copy.get("callbacks"), dict):
            full = {key.split("{")[0]: key for key in content["callbacks"]}
            copy["callbacks"] = {full[key]: state for key, state in copy["callbacks"].items()}
        torch.save(copy, file)

    return write


def _changes() -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
    def put(entry: tuple[Any, ...], make: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
        def change(content: Any) -> None:
            for key in entry[:-1]:
                content = content[key]
            content[entry[-1]] = make(content[entry[-1]] if entry[-1] in content or isinstance(content, list) else None)

        return change

    def without(entry: tuple[Any, ...]) -> Callable[[dict[str, Any]], Any]:
        def change(content: Any) -> None:
            for key in entry[:-1]:
                content = content[key]
            del content[entry[-1]]

        return change

    for entry in ENTRIES:
        name = " / ".join(map(str, entry))
        yield f"{name}: missing", without(entry)
        for value in VALUES:
            yield f"{name}: {value}", put(entry, lambda _, value=value: VALUES[value])
    for entry, other in OTHERS:
        yield f"{' / '.join(map(str, entry))}: {other!s:.30}", put(entry, lambda _, other=other: other)
    for entry in (*(("state_dict", name) for name in WEIGHTS), (*OPTIMIZER, "state", 0, "exp_avg")):
        for form, make in TENSORS.items():
            yield f"{' / '.join(map(str, entry))}: {form}", put(entry, make)


def _bytes(whole: bytes) -> Iterator[tuple[str, Writer]]:
    """Cuts, zeros, single bits and more bytes; the checksums stay as they were."""
    size = len(whole)

    def give(content: bytes) -> Writer:
        return lambda file: file.write_bytes(content)

    for end in (0, 1, 30, 64, 1000, *(size * part // 8 for part in range(1, 8)), size - 100, size - 22, size - 1):
        yield f"cut off at {end}", give(whole[:end])
    directory = whole.rindex(b"PK\x05\x06")
    first = int.from_bytes(whole[directory + 16 : directory + 20], "little")  # where the list of members begins
    ranges = {f"decile {part}": (size * part // 10, size * (part + 1) // 10) for part in range(10)}
    ranges |= {"the first 4": (0, 4), "the first 1000": (0, 1000), "a sector": (size // 2, size // 2 + 512)}
    ranges |= {"the directory": (first, size), "the end of the directory": (directory, size), "all": (0, size)}
    for name, (start, stop) in ranges.items():
        yield f"zeros: {name}", give(whole[:start] + bytes(stop - start) + whole[stop:])
    places = {f"{part}/16": size * part // 16 for part in range(16)}
    places |= {f"byte {place} of the first member's header": place for place in (0, 6, 8, 14, 18, 22, 26, 28, 30, 40)}
    places |= {f"byte {place} of the directory": first + place for place in (0, 6, 8, 10, 16, 20, 24, 28, 30, 42, 46)}
    places |= {f"byte {place} of its end": directory + place for place in (0, 8, 10, 12, 16, 20)}
    pickled = whole.index(b"\x80\x02}")
    places |= {f"byte {place} of the pickle": pickled + place for place in (0, 2, 10, 100, 1000, 5000)}
    for name, place in places.items():
        yield f"a bit: {name}", give(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    yield "a byte more", give(whole + b"\0")
    yield "twice", give(whole + whole)
    yield "a line before", give(b"HTTP/1.1 200 OK\n" + whole)
    yield "line ends exchanged", give(whole.replace(b"\n", b"\r\n"))
    yield "read as text", give(whole.decode("utf-8", errors="replace").encode())


def _members(whole: Path) -> Iterator[tuple[str, Writer]]:
    """The archive written anew, with right checksums, and members that are not what they were."""
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(members)).split("/")[0]
    pickled = members[f"{root}/data.pkl"]
    storages = sorted((name for name in members if "/data/" in name), key=lambda name: (-len(members[name]), name))

    def give(changes: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> Writer:
        def write(file: Path) -> None:
            with zipfile.ZipFile(file, "w", compression) as archive:
                for name, content in (members | changes).items():
                    if content is not None:
                        archive.writestr(name, content)

        return write

    yield "members: written anew", give({})
    yield "members: compressed", give({}, zipfile.ZIP_DEFLATED)
    for name in ("data.pkl", "version", "byteorder", ".format_version"):
        if f"{root}/{name}" in members:
            yield f"members: no {name}", give({f"{root}/{name}": None})
            yield f"members: {name} is empty", give({f"{root}/{name}": b""})
    yield "members: version is 99", give({f"{root}/version": b"99\n"})
    largest = storages[0]
    other = next(name for name in storages if len(members[name]) < len(members[largest]))
    yield "members: no storage", give({largest: None})
    yield "members: a storage is empty", give({largest: b""})
    yield "members: a storage is cut", give({largest: members[largest][:-4]})
    yield "members: a storage is longer", give({largest: members[largest] + bytes(4)})
    yield "members: storages of two sizes exchanged", give({largest: members[other], other: members[largest]})
    yield "members: one more", give({f"{root}/data/99999": b"more"})
    yield "members: in another folder", give(dict.fromkeys(members) | {f"x/{n}": members[n] for n in members})
    # Further inside, a changed byte with a right checksum makes another checkpoint, such as one of other names.
    for place in (0, 1, 2, len(pickled) - 1):
        changed = pickled[:place] + bytes([pickled[place] ^ 4]) + pickled[place + 1 :]
        yield f"members: a bit of the pickle, byte {place}", give({f"{root}/data.pkl": changed})
    for part in range(1, 8):
        yield (
            f"members: the pickle cut off at {part}/8",
            give({f"{root}/data.pkl": pickled[: len(pickled) * part // 8]}),
        )
    yield "members: the pickle's zeros", give({f"{root}/data.pkl": bytes(len(pickled))})


def _other_files(whole: Path) -> Iterator[tuple[str, Writer]]:
    """Files of other kinds under a checkpoint's name, and places that are no file."""
    content = torch.load(whole, weights_only=True)
    weights = content["state_dict"]

    def packed(file: Path) -> None:
        with tarfile.open(file, "w") as archive:
            archive.add(whole, "last.ckpt")

    def zipped(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(whole, "last.ckpt")

    def arrays(file: Path) -> None:
        with file.open("wb") as stream:
            np.savez(stream, weight=np.ones(3))

    def script(file: Path) -> None:
        stream = io.BytesIO()
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
        file.write_bytes(stream.getvalue())

    texts = {
        "text": "not a checkpoint\n",
        "a web page": "<!DOCTYPE html>\n<title>404</title>",
        "a Git LFS pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "JSON": '{"state_dict": {}}',
        "YAML": "trainer: {max_steps: 2}\n",
    }
    for name, text in texts.items():
        yield f"other: {name}", lambda file, text=text: file.write_text(text)
    yield "other: a tar archive with it", packed
    yield "other: a ZIP archive with it", zipped
    yield "other: gzip", lambda file: file.write_bytes(gzip.compress(whole.read_bytes(), 1))
    yield "other: safetensors", lambda file: safetensors.torch.save_file({"weight": torch.ones(3)}, file)
    yield "other: NumPy's arrays", arrays
    yield "other: TorchScript", script
    yield "other: a pickle", lambda file: file.write_bytes(pickle.dumps({"state_dict": {}}))
    yield (
        "other: torch.save of before 1.6",
        lambda file: torch.save(content, file, _use_new_zipfile_serialization=False),
    )
    yield "other: a tensor", lambda file: torch.save(torch.ones(3), file)
    yield "other: a list", lambda file: torch.save([content], file)
    yield "other: weights", lambda file: torch.save(weights, file)
    yield "other: weights under state_dict", lambda file: torch.save({"state_dict": weights}, file)
    yield "other: a folder", Path.mkdir
    yield "other: a link to nothing", lambda file: file.symlink_to("nowhere")
    yield "other: a link to itself", lambda file: file.symlink_to(file)
    yield "other: a pipe", os.mkfifo
    yield "other: nothing", lambda file: None
