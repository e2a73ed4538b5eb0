"""Training on latents that were encoded beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.datamodules import LatentsDataModule


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
