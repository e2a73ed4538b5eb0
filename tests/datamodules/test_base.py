"""That a resumed run sees what the straight run would have seen."""

import pickle
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from consistency_tta.contracts import Batch
from consistency_tta.datamodules import (
    AudioCapsDataModule,
    HuggingFaceDataModule,
    LatentsDataModule,
    WebDatasetDataModule,
)
from consistency_tta.datamodules.base import ResumableDataModule
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.runtime.errors import ConfigurationError, DataError

BATCHES = 5  # of an epoch


class Recorder(pl.LightningModule):
    """Writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, int, list[str]]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch_idx, batch.ids))
        return self.weight * batch.waveform.square().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log("val/peak", batch.waveform.max(), batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def run(folder: Path, num_workers: int, callback: Callback | None = None, resume: Path | None = None, **options):
    recorder = Recorder()
    data = SyntheticDataModule(
        num_clips=4 * BATCHES + 3, num_val_clips=3, num_samples=64, batch_size=4, num_workers=num_workers, seed=3
    )
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        callbacks=[callback] if callback else [],
        enable_checkpointing=callback is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 3, **options},
    )
    trainer.fit(recorder, data, ckpt_path=resume)
    return recorder.seen


SAVED = {
    "every step": {"every_n_train_steps": 1},
    "after validation": {"monitor": "val/peak", "every_n_epochs": 1, "save_on_train_epoch_end": False},
    "at the end of the epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
}


@pytest.mark.filterwarnings("error:You're resuming from a checkpoint that ended before")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("saved", "options"),
    [
        ("every step", {}),
        ("every step", {"limit_train_batches": 3}),
        ("every step", {"val_check_interval": 2}),
        ("after validation", {}),
        ("after validation", {"val_check_interval": 2}),
        ("after validation", {"num_sanity_val_steps": 0, "accumulate_grad_batches": 2}),
        ("at the end of the epoch", {}),
        ("at the end of the epoch", {"limit_train_batches": 3}),
        ("at the end of the epoch", {"limit_val_batches": 0}),
        ("every step", {"max_epochs": -1, "max_steps": 13}),
    ],
    ids=str,
)
def test_resumed_equals_straight(tmp_path: Path, saved: str, options: dict, num_workers: int) -> None:
    checkpoint = ModelCheckpoint(tmp_path, filename="{epoch}-{step}", save_top_k=-1, **SAVED[saved])
    straight = run(tmp_path, num_workers, checkpoint, **options)
    assert len({tuple(sorted(ids)) for _, _, ids in straight}) == len(straight), "orders must differ between epochs"
    files = sorted(tmp_path.glob("*.ckpt"), key=lambda file: int(file.stem.split("=")[-1]))
    assert len(files) >= 3
    if num_workers:  # starting workers takes time: one checkpoint of the second epoch, one at the end of the first
        files = [file for file in files if "epoch=1" in file.name][:1] + [f for f in files if "epoch=0" in f.name][-1:]
    for file in files:
        loops = torch.load(file, weights_only=True)["loops"]["fit_loop"]
        done = loops["epoch_loop.batch_progress"]["total"]["processed"]
        assert run(tmp_path, num_workers, resume=file, **options) == straight[done:], file.name


class StopsInsideAStep(Callback):
    """What a SLURM pre-emption does: saves while a step is under way."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int):
        if trainer.current_epoch == 1 and batch_idx == 2:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "inside.ckpt")


def test_saved_inside_a_step_repeats_that_step(tmp_path: Path) -> None:
    straight = run(tmp_path, 0, StopsInsideAStep())
    assert run(tmp_path, 0, resume=tmp_path / "inside.ckpt") == straight[BATCHES + 2 :]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loaders_leave_the_global_generator_alone(num_workers: int) -> None:
    data = SyntheticDataModule(num_clips=8, num_samples=8, num_workers=num_workers)
    before = torch.get_rng_state()
    assert len(list(data.train_dataloader())) == 2
    assert len(list(data.val_dataloader())) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_another_batch_size_warns(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    run(tmp_path, 0, checkpoint, max_epochs=1)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    data = SyntheticDataModule(num_clips=23, num_val_clips=3, num_samples=64, batch_size=2, seed=3)
    with pytest.warns(UserWarning, match="4"):
        trainer.fit(Recorder(), data, ckpt_path=tmp_path / "step=2.ckpt")


def test_iterating_by_hand_after_training_starts_at_the_beginning(tmp_path: Path) -> None:
    data = SyntheticDataModule(num_clips=8, num_samples=8)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(Recorder(), data)
    assert len(list(data.train_dataloader())) == 2


def test_too_little_data_is_an_error() -> None:
    with pytest.raises(DataError, match="3"):
        SyntheticDataModule(num_clips=3, batch_size=4).train_dataloader()


class Unpicklable(Callback):
    def __reduce__(self) -> str:
        raise AssertionError("what a worker is sent must not have the trainer")


def test_workers_are_sent_neither_datamodule_nor_trainer(tmp_path: Path) -> None:
    data = SyntheticDataModule(num_clips=8, num_val_clips=4, num_samples=8)
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[Unpicklable()])
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        dataset, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
        assert collate([dataset[0], dataset[1]]).ids == [dataset[0][2], dataset[1][2]]


class NothingToTest(SyntheticDataModule):
    def __init__(self) -> None:
        super().__init__(num_clips=8, num_samples=8)
        self.val_dataset = self.test_dataset = None


def test_no_test_data_is_an_error(tmp_path: Path) -> None:
    class Tester(Recorder):
        def test_step(self, batch: Batch, batch_idx: int) -> None: ...

        def predict_step(self, batch: Batch, batch_idx: int) -> None: ...

    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    for run_without_data in (trainer.test, trainer.predict):
        with pytest.raises(ConfigurationError, match="NothingToTest"):
            run_without_data(Tester(), NothingToTest())


def test_validation_may_have_no_data() -> None:
    assert NothingToTest().val_dataloader() == []


def test_no_training_data_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="ResumableDataModule"):
        ResumableDataModule().train_dataloader()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"val_batch_size": 0}, {"num_workers": -1}])
def test_refuses_impossible_options(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=str(min(options.values()))):
        ResumableDataModule(**options)


@pytest.mark.parametrize(
    "data",
    [
        AudioCapsDataModule("audio", "train.csv", "val.csv", "test.csv"),
        HuggingFaceDataModule("table", "train", "val", "test"),
        LatentsDataModule("train", "val"),
        WebDatasetDataModule("train.tar", "val.tar", "test.tar"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_loaders_before_setup_are_an_error(data: ResumableDataModule) -> None:
    for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader):
        with pytest.raises(ConfigurationError, match=type(data).__name__):
            loader()
