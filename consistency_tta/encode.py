"""Recordings to latents, once instead of in every step."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import LightningDataModule
from tqdm import tqdm

from consistency_tta.contracts import Batch, to_channels
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.shards import write_shard


@torch.no_grad()
def encode(
    data: LightningDataModule,
    model: str,
    output: Path,
    split: Literal["train", "val", "test"] = "train",
    copies: int = 1,
    device: str | None = None,
) -> Path:
    """Write the latents of a datamodule's clips, for ``LatentsDataModule``.

    The folder's form is described in :mod:`consistency_tta.storage.shards`. Clips of the training split that fill no
    batch at the end of an epoch are left out, others in each copy.

    Waveforms are encoded with the model's channels: mono recordings are repeated, others averaged where need be.

    Args:
        data: any datamodule that reads audio.
        model: model folder with an autoencoder, and a mel front end if it is one of mels.
        output: folder to write.
        split: which of the datamodule's loaders.
        copies: how many epochs of the training data, each with other captions, crops and mixtures.
        device: such as cuda or cpu; the best there is if not given.
    """
    if copies < 1 or (copies > 1 and split != "train"):
        raise ConfigurationError(
            f"expected copies of at least 1, and 1 but for split=train; got copies={copies}, split={split}"
        )
    pipeline = TextToAudioPipeline.from_pretrained(model).to(best_device(device))
    codec = pipeline.codec
    if (rate := getattr(data, "sample_rate", codec.sample_rate)) != codec.sample_rate:
        raise ConfigurationError(
            f"the model works at {codec.sample_rate} Hz, the datamodule at {rate}: set its sample_rate"
        )
    data.setup({"train": "fit", "val": "validate", "test": "test"}[split])
    loader = getattr(data, f"{split}_dataloader")()
    for copy in range(copies):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(copy)
        moments, captions, ids = [], [], []
        for batch in tqdm(loader, desc=f"encoding {split}, copy {copy + 1} of {copies}", unit="batch"):
            assert isinstance(batch, Batch)
            if batch.waveform is None:
                raise DataError(
                    f"{type(data).__name__} gives no waveforms to encode: use a datamodule that reads audio"
                )
            moments.append(codec.encode(to_channels(batch.waveform.to(pipeline.device), codec.channels)).half().cpu())
            captions += batch.captions
            ids += batch.ids
        write_shard(output, copy, torch.cat(moments), captions, ids)
    print(f"{copies} x {len(ids)} clips encoded to {output}")
    return output
