"""Models compared: the same noise, correct counts of queries, scores that tell right from wrong sounds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.contracts import AudioEncoder
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.pipeline import TextToAudioPipeline
from tests.bundles import unit_vectors, write_clap, write_student
from tests.toys import NUM_SAMPLES
from tools import model_comparison
from tools.model_comparison import ComparedModel, generate_sounds, score_sounds

CAPTIONS = ["a dog", "rain", "wind"]


def test_a_teacher_sampled_as_a_student_is_the_start_of_a_distillation(teacher_folder: Path, tmp_path: Path) -> None:
    write_student(teacher_folder, tmp_path)
    sounds = {
        one.name: generate_sounds(one, CAPTIONS, guidance_scale=3.0, seed=1)
        for one in (
            ComparedModel("teacher", str(teacher_folder), "", steps=4),
            ComparedModel("start", str(teacher_folder), "", 1, as_student=True),
            ComparedModel("student", str(tmp_path), "", 1),
        )
    }
    assert {name: found.queries for name, found in sounds.items()} == {"teacher": 8, "start": 1, "student": 1}
    for found in sounds.values():
        assert found.waveform.shape == (3, NUM_SAMPLES)
        assert found.mel.shape == (3, 32, 16)
        assert found.sample_rate == 16000
        assert all(seconds > 0 for seconds in found.seconds.values())
    # One step of DDIM from noise ends at the denoiser's own estimate; unguided, that is the untouched start.
    noise = torch.randn(3, 4, 8, 4, generator=torch.Generator().manual_seed(1))
    expected = TextToAudioPipeline.from_pretrained(teacher_folder)(CAPTIONS, 1.0, 1, latents=noise)
    torch.testing.assert_close(sounds["start"].waveform, expected.waveform, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(sounds["student"].waveform, expected.waveform, atol=1e-3)


def test_sounds_end_before_the_padding_of_the_latents(teacher_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher_folder, tmp_path / "padded")
    index = tmp_path / "padded/model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"audio_length_in_s": 0.25}))
    whole, padded = (
        generate_sounds(ComparedModel("teacher", str(folder), "", steps=1), CAPTIONS)
        for folder in (teacher_folder, tmp_path / "padded")
    )
    assert torch.equal(padded.waveform, whole.waveform[:, :4000])
    assert padded.mel.shape[1] < whole.mel.shape[1]


class Oracle(AudioEncoder):
    """Embeds a sound as its first three samples, and each caption as one of them; the last caption wrongly."""

    sample_rate = 16000
    num_features = 3

    def __init__(self, _: str) -> None:
        super().__init__()

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return torch.nn.functional.normalize(waveform[:, :3], dim=1)

    def embed_text(self, captions: list[str]) -> Tensor:
        return torch.eye(3)[[0, 1, 0]]


def test_scores_tell_right_from_wrong(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_comparison, "TransformersClap", Oracle)
    ReferenceStatistics.of(torch.eye(3)).save(tmp_path)
    sounds = generate_sounds(ComparedModel("teacher", str(teacher_folder), "", 1), CAPTIONS)
    sounds.waveform = torch.nn.functional.pad(torch.eye(3), (0, 100))
    scores = score_sounds(sounds, CAPTIONS, str(tmp_path))
    assert scores.clap.tolist() == [1, 1, 0]
    assert scores.others == pytest.approx(1 / 6)
    assert scores.recognised == 2
    assert scores.frechet == pytest.approx(0, abs=1e-6)


def test_a_clap_folder_scores_sounds(teacher_folder: Path, tmp_path: Path) -> None:
    write_clap(tmp_path)
    ReferenceStatistics.of(unit_vectors(50)).save(tmp_path)
    sounds = generate_sounds(ComparedModel("teacher", str(teacher_folder), "", 1), CAPTIONS)
    scores = score_sounds(sounds, CAPTIONS, str(tmp_path))
    assert scores.clap.shape == (3,)
    assert scores.clap.abs().max() <= 1
    assert scores.frechet > 0
