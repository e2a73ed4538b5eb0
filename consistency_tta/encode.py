"""Recordings to latents, once instead of in every step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import LightningDataModule
from safetensors.torch import save_file
from tqdm import tqdm

from consistency_tta.contracts import Batch
from consistency_tta.pipeline import TextToAudioPipeline, best_device


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

    The folder gets ``latents-<copy>.safetensors`` with ``moments`` (clips, 2 C, T, F) in float16, the mean and
    log-variance of the autoencoder's posterior, and ``captions-<copy>.jsonl`` with a line
    ``{"id": ..., "caption": ...}`` per clip.

    Args:
        data: any datamodule that reads audio.
        model: model folder with mel front end and autoencoder.
        output: folder to write.
        split: which of the datamodule's loaders.
        copies: how many epochs of the training data, each with other captions, crops and mixtures.
        device: such as cuda or cpu; the best there is if not given.
    """
    if copies < 1 or (copies > 1 and split != "train"):
        raise ValueError(
            f"expected copies of at least 1, and 1 but for split=train; got copies={copies}, split={split}"
        )
    pipeline = TextToAudioPipeline.from_pretrained(model).to(best_device(device))
    codec = pipeline.codec
    data.setup({"train": "fit", "val": "validate", "test": "test"}[split])
    loader = getattr(data, f"{split}_dataloader")()
    output.mkdir(parents=True, exist_ok=True)
    for copy in range(copies):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(copy)
        moments, lines = [], []
        for batch in tqdm(loader, desc=f"encoding {split}, copy {copy + 1} of {copies}", unit="batch"):
            assert isinstance(batch, Batch)
            if batch.waveform is None:
                raise ValueError(
                    f"{type(data).__name__} gives no waveforms to encode: use a datamodule that reads audio"
                )
            mel = codec.waveform_to_mel(batch.waveform.to(pipeline.device))
            moments.append(codec.mel_to_moments(mel).half().cpu())
            pairs = zip(batch.ids, batch.captions, strict=True)
            lines += [json.dumps({"id": name, "caption": caption}, ensure_ascii=False) for name, caption in pairs]
        save_file({"moments": torch.cat(moments)}, output / f"latents-{copy:04d}.safetensors")
        (output / f"captions-{copy:04d}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{copies} x {len(lines)} clips encoded to {output}")
    return output
