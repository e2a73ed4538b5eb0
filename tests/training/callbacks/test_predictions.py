"""The files that ``predict`` writes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from consistency_tta.contracts import Batch
from consistency_tta.training.callbacks.predictions import WriteSounds


@pytest.mark.parametrize("channels", [None, 2])
def test_each_clip_of_each_batch_is_a_file_in_16_bits(channels: int | None, tmp_path: Path) -> None:
    loop = SimpleNamespace(current_batch_indices=None)
    run: Any = SimpleNamespace(log_dir=str(tmp_path / "logs" / "version_0"), predict_loop=loop)
    module: Any = SimpleNamespace(sample_rate=8000)
    writer, sounds = WriteSounds(), torch.rand(4, *([channels] if channels else []), 50) - 0.5
    for index, ids in enumerate((["a b/c", "é.x-1"], ["_", "d"])):
        batch = Batch(["a", "b"], ids)
        writer.on_predict_batch_end(run, module, sounds[2 * index : 2 * index + 2], batch, index)
    folder = tmp_path / "logs" / "version_0" / "predictions"
    names = ["a_b_c.wav", "é.x-1.wav", "_.wav", "d.wav"]
    assert {path.name for path in folder.iterdir()} == set(names)
    for name, sound in zip(names, sounds, strict=True):
        written, rate = soundfile.read(folder / name, dtype="float32")
        assert (rate, soundfile.info(folder / name).subtype) == (8000, "PCM_16")
        torch.testing.assert_close(torch.from_numpy(written), sound.T if channels else sound, atol=1e-4, rtol=0)
