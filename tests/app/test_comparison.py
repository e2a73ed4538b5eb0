"""Models of a comparison start from the same noise, which is that of ``generate``."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch

from consistency_tta.app.comparison import Column, compare
from consistency_tta.app.models import ModelCache
from consistency_tta.generate import generate
from consistency_tta.generation.sampling_config import SamplingConfig
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError


def test_columns_fill_one_after_the_other(models: ModelCache, toy: TextToAudioPipeline, teacher_folder: Path) -> None:
    columns = [Column("A", str(teacher_folder), 1), Column("B", str(teacher_folder), 2)]
    seen = list(compare(models, columns, "a dog", SamplingConfig(seed=3), 2))
    filled = [[column.sounds is not None for column in shown] for shown in seen]
    assert filled == [[False, False], [True, False], [True, False], [True, True]]
    first, second = (column.sounds for column in seen[-1])
    assert first is not None
    assert second is not None
    assert (first.queries, second.queries) == (2, 4)
    assert first.waveform.shape == second.waveform.shape == (2, 5120)
    assert not torch.equal(first.waveform[0], first.waveform[1])


def test_sounds_are_those_of_generate(
    models: ModelCache, toy: TextToAudioPipeline, teacher_folder: Path, tmp_path: Path
) -> None:
    config = SamplingConfig(2.0, seed=5)
    *_, (column,) = compare(models, [Column("", str(teacher_folder), 1)], "a dog", config, 2)
    files = generate(["a dog"], str(teacher_folder), tmp_path, 2.0, 1, num_samples=2, seed=5, device="cpu")
    assert column.sounds is not None
    for file, waveform in zip(files, column.sounds.waveform, strict=True):
        written = torch.as_tensor(soundfile.read(file, dtype="float32")[0])
        torch.testing.assert_close(written, waveform, atol=2**-15, rtol=0)


@pytest.mark.parametrize(("prompt", "steps", "samples"), [("  ", 1, 1), ("a dog", -1, 1), ("a dog", 1, 0)])
def test_wrong_settings_are_refused_before_a_model_is_loaded(
    models: ModelCache, prompt: str, steps: int, samples: int
) -> None:
    with pytest.raises(ConfigurationError):
        next(compare(models, [Column("", "no/such/model", steps)], prompt, SamplingConfig(), samples))


def test_a_model_that_is_missing_fails_with_its_name(
    models: ModelCache, toy: TextToAudioPipeline, teacher_folder: Path
) -> None:
    columns = [Column("A", str(teacher_folder), 1), Column("B", "no/such/model")]
    seen: list[list[Column]] = []
    with pytest.raises(OSError, match="no/such/model"):
        seen.extend(compare(models, columns, "a dog", SamplingConfig(), 1))
    assert seen[-1][0].sounds is not None
    assert seen[-1][1].status == "failed"
