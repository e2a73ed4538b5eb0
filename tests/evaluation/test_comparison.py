"""Models side by side: the same noise, honest counts, scores that tell right from wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.evaluation import comparison
from consistency_tta.evaluation.comparison import Contestant, RealClips, judge, make_sounds
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.pipeline import TextToAudioPipeline
from tests.bundles import unit_vectors, write_clap, write_student
from tests.toys import NUM_SAMPLES

CAPTIONS = ["a dog", "rain", "wind"]


def test_a_teacher_asked_as_a_student_is_where_distillation_starts(teacher_folder: Path, tmp_path: Path) -> None:
    write_student(teacher_folder, tmp_path)
    sounds = {
        one.name: make_sounds(one, CAPTIONS, guidance_scale=3.0, seed=1)
        for one in (
            Contestant("teacher", str(teacher_folder), "", steps=4),
            Contestant("start", str(teacher_folder), "", 1, as_student=True),
            Contestant("student", str(tmp_path), "", 1),
        )
    }
    assert {name: made.queries for name, made in sounds.items()} == {"teacher": 8, "start": 1, "student": 1}
    for made in sounds.values():
        assert made.waveform.shape == (3, NUM_SAMPLES)
        assert made.mel.shape == (3, 32, 16)
        assert made.sample_rate == 16000
        assert all(seconds > 0 for seconds in made.seconds.values())
    # One step of DDIM from noise ends at the denoiser's own estimate; unguided, that is the untouched start.
    noise = torch.randn(3, 4, 8, 4, generator=torch.Generator().manual_seed(1))
    expected = TextToAudioPipeline.from_pretrained(teacher_folder)(CAPTIONS, 1.0, 1, latents=noise)
    torch.testing.assert_close(sounds["start"].waveform, expected.waveform, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(sounds["student"].waveform, expected.waveform, atol=1e-3)


def test_real_clips_are_kept_beside_the_clap_and_give_the_metrics_distance(tmp_path: Path) -> None:
    real, made = unit_vectors(60), unit_vectors(40) * 0.9
    RealClips.of(real).save(tmp_path)
    (tmp_path / "config.json").touch()
    metric = FrechetDistance(real.shape[1])
    metric.update(real, real=True)
    metric.update(made, real=False)
    loaded = RealClips.load(str(tmp_path))
    assert loaded.count == 60
    assert loaded.distance(made) == pytest.approx(float(metric.compute()), rel=1e-9)
    with pytest.raises(ValueError, match="at least 2 clips for a covariance, got 1"):
        RealClips.of(real[:1])
    with pytest.raises(FileNotFoundError, match=r"statistics of real clips in .*bundle\.py"):
        RealClips.load(str(tmp_path / "other"))


class Oracle(torch.nn.Module):
    """Hears the sound's sign pattern and knows each caption's; deaf to the last one's."""

    sample_rate = 16000

    def __init__(self, _: str) -> None:
        super().__init__()

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return torch.nn.functional.normalize(waveform[:, :3], dim=1)

    def embed_text(self, captions: list[str]) -> Tensor:
        return torch.eye(3)[[0, 1, 0]]


def test_scores_tell_right_from_wrong(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "TransformersClap", Oracle)
    RealClips.of(torch.eye(3)).save(tmp_path)
    sounds = make_sounds(Contestant("teacher", str(teacher_folder), "", 1), CAPTIONS)
    sounds.waveform = torch.nn.functional.pad(torch.eye(3), (0, 100))
    scores = judge(sounds, CAPTIONS, str(tmp_path))
    assert scores.clap.tolist() == [1, 1, 0]
    assert scores.others == pytest.approx(1 / 6)
    assert scores.recognised == 2
    assert scores.frechet == pytest.approx(0, abs=1e-6)


def test_a_clap_folder_judges(teacher_folder: Path, tmp_path: Path) -> None:
    write_clap(tmp_path)
    RealClips.of(unit_vectors(50)).save(tmp_path)
    scores = judge(make_sounds(Contestant("teacher", str(teacher_folder), "", 1), CAPTIONS), CAPTIONS, str(tmp_path))
    assert scores.clap.shape == (3,)
    assert scores.clap.abs().max() <= 1
    assert scores.frechet > 0
