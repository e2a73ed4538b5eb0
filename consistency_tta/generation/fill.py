"""Fills folders with the sounds they lack, by any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from consistency_tta.generation.folder import (
    Folder,
    dtype_of,
    is_made,
    prepare,
    sampler_settings,
    weights_sha256,
    write_sound,
)
from consistency_tta.generation.sampling_config import Sound, expect_at_least, generate_batch
from consistency_tta.pipeline import TextToAudioOutput, TextToAudioPipeline
from consistency_tta.pipeline.inference import generation_dtype, load_for_generation, prepare_for_generation
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.distributed import ProcessRank
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.workers import check_processes, device_of_process, run_in_processes


@dataclass
class Tally:
    """How much was generated, in how much time."""

    sounds: int = 0
    queries: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"latents": 0.0, "decoders": 0.0})
    audio_seconds: float = 0.0

    def add(self, made: TextToAudioOutput) -> None:
        """Count a batch."""
        self.sounds += len(made.waveform)
        self.queries += made.queries * len(made.waveform)
        self.seconds = {part: seconds + made.seconds[part] for part, seconds in self.seconds.items()}
        self.audio_seconds += len(made.waveform) * made.waveform.shape[-1] / made.sample_rate

    def __str__(self) -> str:
        total, each = sum(self.seconds.values()), self.queries / self.sounds
        return (
            f"{each:g} {'query' if each == 1 else 'queries'} each, {total:.2f} s in all "
            f"(latents {self.seconds['latents']:.2f} s, decoders {self.seconds['decoders']:.2f} s), "
            f"real-time factor {total / self.audio_seconds:.3f}"
        )


def fill(
    folders: Sequence[Folder],
    model: str,
    batch_size: int = 8,
    device: str | None = None,
    devices: int = 1,
    overwrite: bool = False,
    dtype: str = "auto",
) -> None:
    """Generate what is missing in folders.

    Args:
        folders: with sounds of one model.
        model: model folder, bundled name or hub id.
        batch_size: sounds generated at a time.
        device: such as cuda or cpu; the best available if None.
        devices: processes to start, each on a device of its own, or on the CPU; under a launcher (torchrun, srun) 1,
            as it has started them.
        overwrite: empty a folder whose sounds were made otherwise, instead of raising an error.
        dtype: number format of the networks; ``auto`` for that of the sounds that the folders have, and the fastest in
            empty ones.

    Raises:
        DataError: a folder has sounds of other settings.
        ConfigurationError: the machine has fewer devices, or both a launcher and ``devices`` start processes.
    """
    expect_at_least(1, batch_size=batch_size)
    place = check_processes(devices, device)
    if place.world_size > 1 and overwrite:
        raise ConfigurationError(
            f"expected no overwrite under a launcher, in {place}: no process may empty a folder that others fill"
        )
    if dtype == "auto" and not overwrite:
        dtype = next((found for folder in folders if (found := dtype_of(folder.path))), dtype)
    pipeline = TextToAudioPipeline.from_pretrained(model)  # in float32: the checksum does not depend on dtype
    pipeline.require("unet|transformer")
    about = {"model": model, "weights": weights_sha256(pipeline), "sampler": sampler_settings(pipeline)}
    number_format = generation_dtype(pipeline, dtype, best_device(device))
    about["dtype"] = dtype = str(number_format).removeprefix("torch.")
    about["rewards"] = pipeline.config["rewards"]
    for folder in folders:
        prepare(folder, about, pipeline.default_steps, overwrite, pipeline.config.get("audio_length_in_s"))
    if not any(folder.missing for folder in folders):
        print(f"all {sum(len(folder.sounds) for folder in folders)} sounds are there")
    elif devices == 1:
        if number_format != torch.float32:
            pipeline = TextToAudioPipeline.from_pretrained(model, dtype=number_format)
        _make(pipeline, folders, batch_size, device, place)
    else:
        del pipeline  # each process has its own
        run_in_processes(devices, device, _work, model, folders, batch_size, device, dtype)


def _work(
    place: ProcessRank, model: str, folders: Sequence[Folder], batch_size: int, device: str | None, dtype: str
) -> None:
    """A process that :func:`fill` starts."""
    pipeline = load_for_generation(model, dtype, device_of_process(device, place))
    _make(pipeline, folders, batch_size, device, place)


def _make(
    pipeline: TextToAudioPipeline, folders: Sequence[Folder], batch_size: int, device: str | None, place: ProcessRank
) -> None:
    """Make this process's share of the batches."""
    pipeline.set_progress_bar_config(disable=True)
    prepare_for_generation(pipeline.to(device_of_process(device, place)))
    work, tally = [], Tally()
    for folder, batch in place.share(list(_batches(folders, batch_size))):
        missing = {sound.file for sound in batch if not is_made(folder.path / sound.file)}
        if missing:
            work.append((folder, batch, missing))
    for folder, batch, missing in tqdm(work, desc="generating", unit="batch", disable=place.rank > 0):
        made = generate_batch(pipeline, folder.request, batch)
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
