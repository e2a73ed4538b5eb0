"""A folder of sounds for a caption file: made by any number of processes, in as many goes as it takes.

    <folder>/<clip>.wav       the sound of a clip, where there is one for each; otherwise the k-th of each clip is
    <folder>/<k>/<clip>.wav   for k = 0, 1, ...: each such folder is a set by itself, whose files bear the clips' names
    <folder>/captions.csv     (or <folder>/<k>/captions.csv) the caption of each file beside it
    <folder>/generation.json  the settings, and checksums of the weights and captions

A file that is there is whole, and is kept. The noise of a sound depends on the seed, its clip's name, and the numbers
of its caption and sample. A sound's rounding depends on its neighbours in the batch. So batches are the same whatever
has been made and however many processes there are, and one of which a file is missing is computed as a whole: on a CPU
the files are the same to the last bit, if the processes have equally many threads.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.captions import read_clips
from consistency_tta.contracts import TimeGrid
from consistency_tta.pipeline import TextToAudioOutput, TextToAudioPipeline, best_device
from consistency_tta.processes import Place

MANIFEST, CAPTIONS = "generation.json", "captions.csv"


@dataclass(frozen=True)
class Request:
    """How a model is asked.

    Attributes:
        guidance_scale: w.
        steps: queries of a student, solver steps of a teacher; its default if None.
        seed: of the noise.
        external_guidance_scale: w of guidance on top of what the U-Net has learnt of it; 1 for none.
        grid: times of the steps; uniform if None.
    """

    guidance_scale: float = 3.0
    steps: int | None = None
    seed: int = 0
    external_guidance_scale: float = 1.0
    grid: TimeGrid | None = None

    def __post_init__(self) -> None:
        expect_at_least(1, steps=1 if self.steps is None else self.steps)
        expect_at_least(0, seed=self.seed)


class Sound(NamedTuple):
    """A sound to make.

    Attributes:
        name: of its file, which may have folders of its own (``dog/1.wav``).
        caption: what it should be.
        position: what its noise depends on beside the seed.
        number: of the set it belongs to, where a clip has several sounds.
    """

    name: str
    caption: str
    position: tuple[int, ...]
    number: int | None = None

    @property
    def file(self) -> str:
        """Its path below the folder."""
        return self.name if self.number is None else f"{self.number}/{self.name}"


@dataclass(frozen=True)
class Folder:
    """Sounds and how to make them.

    Attributes:
        path: of the folder.
        request: of all its sounds.
        sounds: at least one.
    """

    path: Path
    request: Request
    sounds: Sequence[Sound]

    @property
    def missing(self) -> list[Sound]:
        """What is still to be made."""
        return [sound for sound in self.sounds if not (self.path / sound.file).exists()]

    @property
    def files(self) -> list[Path]:
        """All files, whether there or not."""
        return [self.path / sound.file for sound in self.sounds]


@dataclass
class Tally:
    """What was made in how much time."""

    sounds: int = 0
    queries: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"latents": 0.0, "decoders": 0.0})
    audio_seconds: float = 0.0

    def add(self, made: TextToAudioOutput) -> None:
        """Count a batch."""
        self.sounds += len(made.waveform)
        self.queries += made.queries * len(made.waveform)
        self.seconds = {part: seconds + made.seconds[part] for part, seconds in self.seconds.items()}
        self.audio_seconds += made.waveform.numel() / made.sample_rate

    def __str__(self) -> str:
        total, each = sum(self.seconds.values()), self.queries / self.sounds
        return (
            f"{each:g} {'query' if each == 1 else 'queries'} each, {total:.2f} s in all "
            f"(latents {self.seconds['latents']:.2f} s, decoders {self.seconds['decoders']:.2f} s), "
            f"real-time factor {total / self.audio_seconds:.3f}"
        )


def expect_at_least(lowest: int, **numbers: int) -> None:
    """Raise a ValueError that names the number that is too low."""
    for name, value in numbers.items():
        if value < lowest:
            raise ValueError(f"expected {name} of at least {lowest}, got {value}")


def sounds_of(captions: Path, num_samples: int = 1, all_captions: bool = False) -> list[Sound]:
    """The sounds of a caption file.

    Args:
        captions: of any form that :mod:`consistency_tta.captions` knows.
        num_samples: sounds per caption.
        all_captions: of each clip, not only the first.
    """
    expect_at_least(1, num_samples=num_samples)
    clips = {name: texts if all_captions else texts[:1] for name, texts in read_clips(captions).items()}
    several = num_samples * max(map(len, clips.values())) > 1
    return [
        Sound(
            f"{name}.wav",
            texts[caption],
            (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]), caption, sample),
            caption * num_samples + sample if several else None,
        )
        for name, texts in clips.items()
        for caption in range(len(texts))
        for sample in range(num_samples)
    ]


def ask(pipeline: TextToAudioPipeline, request: Request, sounds: Sequence[Sound]) -> TextToAudioOutput:
    """Make sounds in one batch."""
    return pipeline(
        [sound.caption for sound in sounds],
        request.guidance_scale,
        request.steps,
        grid=request.grid,
        generator=[noise(request.seed, *sound.position) for sound in sounds],
        external_guidance_scale=request.external_guidance_scale,
    )


def noise(*position: int) -> torch.Generator:
    """Random numbers that depend on nothing but these."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> 1))


def write_sound(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """A waveform (samples,) as a 16-bit wav file, by renaming, so that a file that is there is whole."""
    content = io.BytesIO()
    soundfile.write(content, waveform.numpy(), sample_rate, format="WAV", subtype="PCM_16")
    _write(path, content.getvalue())


def fill(
    folders: Sequence[Folder],
    model: str,
    batch_size: int = 8,
    device: str | None = None,
    devices: int = 1,
    overwrite: bool = False,
) -> None:
    """Make what is missing in folders.

    Args:
        folders: with sounds of one model.
        model: model folder, bundled name or hub id.
        batch_size: sounds made at a time.
        device: such as cuda or cpu; the best there is if None.
        devices: processes to start, each on a device of its own, or on the CPU; under a launcher (torchrun, srun) 1,
            as it has started them.
        overwrite: empty a folder whose sounds were made otherwise, instead of refusing it.

    Raises:
        ValueError: a folder has sounds of other settings; there are not so many devices; both a launcher and
            ``devices`` start processes.
    """
    expect_at_least(1, batch_size=batch_size, devices=devices)
    place = Place.of_launcher()
    if place.world_size > 1 and (devices > 1 or overwrite):
        raise ValueError(
            f"expected devices=1 and no overwrite under a launcher, in {place}, got devices={devices}, "
            f"overwrite={overwrite}: the launcher starts the processes, and none may empty a folder that others fill"
        )
    kind = best_device(device).type
    if kind != "cpu" and devices > torch.accelerator.device_count():
        raise ValueError(f"expected devices of at most {torch.accelerator.device_count()} {kind}, got {devices}")
    pipeline = TextToAudioPipeline.from_pretrained(model)
    pipeline.require("unet")
    weights = weights_sha256(pipeline)
    for folder in folders:
        prepare(folder, {"model": model, "weights": weights}, pipeline.default_steps, overwrite)
    if not any(folder.missing for folder in folders):
        print(f"all {sum(len(folder.sounds) for folder in folders)} sounds are there")
    elif devices == 1:
        _make(pipeline, folders, batch_size, device, place)
    else:
        del pipeline  # each process has its own
        threads = max(1, torch.get_num_threads() // devices) if kind == "cpu" else torch.get_num_threads()
        torch.multiprocessing.spawn(_work, (devices, threads, model, folders, batch_size, device), nprocs=devices)


def prepare(folder: Folder, model: dict[str, str], default_steps: int, overwrite: bool = False) -> None:
    """Write what a folder is about, or see that it is about that.

    Args:
        folder: to be filled.
        model: its name, and the SHA-256 of its ``weights``.
        default_steps: of the model.
        overwrite: empty the folder if it is about something else, instead of raising.

    Raises:
        ValueError: the folder has sounds of other settings, or of unknown ones.
    """
    request = asdict(folder.request) | {"steps": folder.request.steps or default_steps}
    request["grid"] = None if folder.request.grid is None else type(folder.request.grid).__name__
    asked = [[sound.file, sound.caption] for sound in folder.sounds]
    captions = hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()
    manifest: dict[str, Any] = model | request | {"sounds": len(asked), "captions": captions}
    if (found := read_manifest(folder.path)) is not None:
        # The same weights make the same sounds wherever they lie.
        other = [name for name in manifest if name != "model" and found.get(name) != manifest[name]]
        if not other:
            return None
        told = ", ".join(f"{name} {_short(found.get(name))} instead of {_short(manifest[name])}" for name in other)
        if not overwrite:
            raise ValueError(f"{folder.path} has sounds of {told}: give another output, or --overwrite true")
        _empty(folder.path)
    strangers = [path for path in folder.files if path.exists()]
    if strangers and not overwrite:
        if read_manifest(folder.path) is not None:  # another process has just begun
            return prepare(folder, model, default_steps)
        raise ValueError(
            f"{strangers[0]} is there, but no {MANIFEST} that says how it was made: give another output, or "
            "--overwrite true"
        )
    for path in strangers:
        path.unlink()
    for parent, sounds in _tables(folder).items():
        text = io.StringIO(newline="")
        csv.writer(text).writerows([("file", "caption"), *sounds])
        _write(parent / CAPTIONS, text.getvalue().encode())
    _write(folder.path / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return None


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What a folder is about; None if it does not say."""
    file = folder / MANIFEST
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def weights_sha256(pipeline: TextToAudioPipeline) -> str:
    """SHA-256 of all weights of a model, in hexadecimal."""
    digest = hashlib.sha256()
    for name, part in sorted(pipeline.components.items()):
        if isinstance(part, torch.nn.Module):
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(f"{name}.{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _work(
    rank: int, world_size: int, threads: int, model: str, folders: Sequence[Folder], batch_size: int, device: str | None
) -> None:
    """A process that :func:`fill` starts."""
    torch.set_num_threads(threads)
    pipeline = TextToAudioPipeline.from_pretrained(model)
    _make(pipeline, folders, batch_size, device, Place(rank, world_size, rank))


def _make(
    pipeline: TextToAudioPipeline, folders: Sequence[Folder], batch_size: int, device: str | None, place: Place
) -> None:
    """Make this process's share of the batches."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(_device(device, place))
    work, tally = [], Tally()
    for folder, batch in place.share(list(_batches(folders, batch_size))):
        missing = {sound.file for sound in batch if not (folder.path / sound.file).exists()}
        if missing:
            work.append((folder, batch, missing))
    for folder, batch, missing in tqdm(work, desc="generating", unit="batch", disable=place.rank > 0):
        made = ask(pipeline, folder.request, batch)
        tally.add(made)
        for sound, waveform in zip(batch, made.waveform, strict=True):
            if sound.file in missing:
                write_sound(folder.path / sound.file, waveform, made.sample_rate)
    if tally.sounds:
        who = f"{place}: " if place.world_size > 1 else ""
        written = sum(len(missing) for _, _, missing in work)
        print(f"{who}{written} sounds of {sum(len(folder.sounds) for folder in folders)} written, {tally}", flush=True)


def _batches(folders: Sequence[Folder], batch_size: int) -> Iterator[tuple[Folder, Sequence[Sound]]]:
    for folder in folders:
        for start in range(0, len(folder.sounds), batch_size):
            yield folder, folder.sounds[start : start + batch_size]


def _device(name: str | None, place: Place) -> torch.device:
    """This process's own device of the kind asked for."""
    device = best_device(name)
    if place.world_size == 1 or device.type == "cpu" or device.index is not None:
        return device
    return torch.device(device.type, place.local_rank % torch.accelerator.device_count())


def _tables(folder: Folder) -> dict[Path, list[tuple[str, str]]]:
    """(name, caption) by the folder that has them in its table."""
    tables: dict[Path, list[tuple[str, str]]] = {}
    for sound in folder.sounds:
        parent = folder.path if sound.number is None else folder.path / str(sound.number)
        tables.setdefault(parent, []).append((sound.name, sound.caption))
    return tables


def _empty(folder: Path) -> None:
    """Remove the sounds that a folder's tables name, and the tables."""
    for table in (folder / CAPTIONS, *folder.glob(f"*/{CAPTIONS}")):
        if table.is_file():
            with table.open(newline="", encoding="utf-8") as rows:
                for row in csv.DictReader(rows):
                    (table.parent / row["file"]).unlink(missing_ok=True)
            table.unlink()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}.part")  # several processes may write a manifest at once
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _short(value: object) -> str:
    """A setting for people; a checksum by its beginning."""
    return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else str(value)
