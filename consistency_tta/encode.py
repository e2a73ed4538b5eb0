"""Recordings to latents, once instead of in every step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from tqdm import tqdm

from consistency_tta.contracts import AudioEncoder
from consistency_tta.encoding.encoders import Contents, Encoders
from consistency_tta.encoding.order import ClipOrder, check_batch, data_settings
from consistency_tta.encoding.trajectories import TeacherConfig
from consistency_tta.runtime.distributed import ProcessRank
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.workers import check_processes, device_of_process, run_in_processes
from consistency_tta.storage.atomic_directory import check_folder
from consistency_tta.storage.encoding_manifest import begin
from consistency_tta.storage.parquet_shards import require_pyarrow
from consistency_tta.storage.shards import Format, latents_file, write_shard
from consistency_tta.storage.unfinished import remove_unfinished


@dataclass(frozen=True)
class Job:
    """What each of the processes is given, see :func:`encode`."""

    data: LightningDataModule
    settings: dict[str, Any]
    model: str
    output: Path
    split: str
    copies: int
    shard_size: int
    contents: Contents
    format: Format
    device: str | None


def encode(
    data: LightningDataModule,
    model: str,
    output: Path,
    split: Literal["train", "val", "test"] = "train",
    copies: int = 1,
    text_embeddings: bool = False,
    audio_encoder: AudioEncoder | None = None,
    trajectories: int = 0,
    teacher: TeacherConfig = TeacherConfig(),  # noqa: B008  # frozen
    format: Literal["safetensors", "parquet"] = "safetensors",  # noqa: A002  # the option's name
    shard_size: int = 1000,
    devices: int = 1,
    device: str | None = None,
) -> Path:
    """Write the latents of a datamodule's clips, for ``LatentsDataModule``; a run that was stopped goes on.

    The folder's form is described in :mod:`consistency_tta.storage.shards`. Files are written whole or not at all, and
    those that exist are kept; so the same command may be run again, and by several processes at once (``devices``,
    torchrun, srun).

    Waveforms are encoded with the model's channels: mono recordings are repeated, others averaged where need be.

    Args:
        data: any datamodule that reads audio.
        model: model folder with an autoencoder, and a mel front end if it is one of mels.
        output: folder to write.
        split: which of the datamodule's loaders.
        copies: how many epochs of the training data, each with other captions, crops and mixtures.
        text_embeddings: whether to write the captions' embeddings, too; trainings then do not run the text encoder.
        audio_encoder: embeds the recordings, for losses that compare sounds with recordings, such as a CLAP.
        trajectories: solver steps by which a guided teacher's trajectory is solved for each clip's caption, so that
            trainings need not do it; 0 for none.
        teacher: of the trajectories.
        format: of the files; ``parquet``, which other programs and hubs of data sets read, needs the extra of that
            name, and trainings make safetensors of it once.
        shard_size: clips in a file, about.
        devices: processes to start, each on a device of its own, or on the CPU; under a launcher (torchrun, srun) 1.
        device: such as cuda or cpu; the best there is if not given.

    Raises:
        ConfigurationError: numbers cannot be right, or the datamodule has another sample rate than the model.
        DataError: another command has written to the folder.
        MissingExtraError: pyarrow, for Parquet, is not installed.
    """
    if copies < 1 or (copies > 1 and split != "train"):
        raise ConfigurationError(
            f"expected copies of at least 1, and 1 but for split=train; got copies={copies}, split={split}"
        )
    if shard_size < 1:
        raise ConfigurationError(f"expected shard_size of at least 1, got {shard_size}")
    check_folder(output, "--output")
    if format == "parquet":
        require_pyarrow()
    remove_unfinished(output)
    place = check_processes(devices, device)
    contents = Contents(text_embeddings, audio_encoder, trajectories, teacher)
    job = Job(data, data_settings(data), model, output, split, copies, shard_size, contents, format, device)
    if devices == 1:
        _encode(place, job)
    else:
        run_in_processes(devices, device, _encode, job)
    return output


def _encode(place: ProcessRank, job: Job) -> None:
    """Write this process's share of the shards."""
    encoders = Encoders(job.model, job.contents, device_of_process(job.device, place))
    rate = getattr(job.data, "sample_rate", encoders.codec.sample_rate)
    if rate != encoders.codec.sample_rate:
        raise ConfigurationError(
            f"the model works at {encoders.codec.sample_rate} Hz, the datamodule at {rate}: set its sample_rate"
        )
    job.data.setup({"train": "fit", "val": "validate", "test": "test"}[job.split])
    order = ClipOrder(getattr(job.data, f"{job.split}_dataloader")(), job.copies, job.shard_size)
    command = {"data": job.settings, "split": job.split, "copies": job.copies, "order": order.fingerprint()}
    command["batches_per_shard"] = order.batches_per_shard
    shape: dict[str, Any] = {"shards": order.num_shards}
    if job.format != "safetensors":  # folders of earlier versions go on
        shape["format"] = job.format
    begin(job.output, shape | {"command": command} | encoders.about)

    own = place.share(range(order.num_shards))
    missing = [number for number in own if not latents_file(job.output, number, job.format).exists()]
    units = list(order.units(missing))
    total = sum(len(unit.batches) for unit in units)
    with tqdm(total=total, desc=f"encoding {job.split}", unit="batch", disable=place.rank > 0) as bar:
        for unit, batches in order.read(units):
            captions: list[str] = []
            ids: list[str] = []
            rows: dict[str, list[Tensor]] = {}
            for batch in batches:
                clips = check_batch(batch, job.data)
                first = unit.first + len(ids)
                positions = [(unit.copy, first + row) for row in range(len(clips))]
                for name, tensor in encoders(clips, positions).items():
                    rows.setdefault(name, []).append(tensor)
                captions += clips.captions
                ids += clips.ids
                bar.update()
            tensors = {name: torch.cat(parts) for name, parts in rows.items()}
            if "text_lengths" in tensors:
                tensors["text_ends"] = tensors.pop("text_lengths").cumsum(0)
            write_shard(job.output, unit.number, tensors.pop("moments"), captions, ids, tensors, job.format)
    who = f"{place}: " if place.world_size > 1 else ""
    print(f"{who}{len(units)} of {order.num_shards} shards encoded to {job.output}", flush=True)
