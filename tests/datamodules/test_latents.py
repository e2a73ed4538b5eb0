"""Training on latents that were encoded beforehand, as safetensors or as Parquet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from consistency_tta.contracts import Batch
from consistency_tta.datamodules import LatentsDataModule, SyntheticDataModule
from consistency_tta.encode import encode
from tests.toys import NUM_SAMPLES


@pytest.fixture(scope="module")
def folders(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same ten clips, twice, by format."""
    root = tmp_path_factory.mktemp("latents")
    for name in ("safetensors", "parquet"):
        data = SyntheticDataModule(num_clips=10, batch_size=5, num_samples=NUM_SAMPLES)
        encode(data, str(teacher_folder), root / name, copies=2, text_embeddings=True, format=name, shard_size=5)  # type: ignore[arg-type]
    return {name: root / name for name in ("safetensors", "parquet")}


def data(folder: Path, **options: Any) -> LatentsDataModule:
    options = {"batch_size": 2, "seed": 3, "cache_folder": str(folder.parent / "cache"), **options}
    return LatentsDataModule(folder.as_uri(), str(folder), **options)


def contents(batches: list[Batch]) -> list[tuple[Any, ...]]:
    return [(batch.ids, batch.captions, batch.moments.tolist(), batch.text.embedding.tolist()) for batch in batches]


def test_training_on_latents_needs_no_waveform(encoded: Path) -> None:
    data = LatentsDataModule(str(encoded), str(encoded), batch_size=4)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.waveform is None
    assert batch.moments is not None
    assert batch.moments.shape == (4, 8, 8, 4)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LatentsDataModule(str(tmp_path / "nowhere")).setup("fit")


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_see_the_same_batches_of_either_format(rank: int, folders: dict[str, Path]) -> None:
    seen, networks = [], []
    for folder in folders.values():
        module = data(folder, num_workers=rank)
        module.trainer = SimpleNamespace(world_size=2, global_rank=rank, training=False)
        module.setup("fit")
        seen.append(contents([*module.train_dataloader(), *module.val_dataloader()]))
        networks.append(list(module.encodings.values()))
    assert seen[0] == seen[1]
    assert len(seen[0]) == 5 + 10
    assert networks[0] == networks[1]
    assert networks[0][0].keys() == {"codec", "text"}


class Recorder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Batch] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append(batch)
        return self.weight * batch.moments.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_run_resumed_from_parquet_sees_the_batches_of_safetensors(folders: dict[str, Path], tmp_path: Path) -> None:
    def fit(folder: Path, resume: Path | None = None) -> list[Batch]:
        recorder, saving = Recorder(), ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=7)
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            limit_val_batches=0,
            callbacks=[] if resume else [saving],
            enable_checkpointing=resume is None,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(recorder, data(folder), ckpt_path=resume)
        return recorder.seen

    straight = contents(fit(folders["safetensors"]))
    assert len(straight) == 20
    assert contents(fit(folders["parquet"], tmp_path / "step=7.ckpt")) == straight[7:]  # inside the first epoch
