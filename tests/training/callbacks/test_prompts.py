"""Captions of validations, and the sounds that are generated for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling, read_captions
from tests.toys import NUM_SAMPLES

CAPTIONS = ["a dog", "rain", "a bell"]


def test_captions_are_a_list_the_lines_of_a_text_or_each_clips_first(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a dog barks\n\n rain \n")
    assert read_captions(str(tmp_path / "captions.txt")) == ["a dog barks", "rain"]
    (tmp_path / "clips.csv").write_text("file_name,caption_1,caption_2\nx.wav,a dog barks,a dog\ny.wav,rain,it rains\n")
    assert read_captions(str(tmp_path / "clips.csv")) == ["a dog barks", "rain"]
    assert read_captions([" a dog", "", "a dog", "x.txt"]) == ["a dog", "a dog", "x.txt"]


def test_a_missing_file_and_captions_that_are_blank_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in ("nowhere.csv", "folder.txt"):
        with pytest.raises(FileNotFoundError, match=name):
            read_captions(str(tmp_path / name))
    (tmp_path / "blank.txt").write_text("\n \n")
    for captions in ([" "], str(tmp_path / "blank.txt")):
        with pytest.raises(ConfigurationError):
            read_captions(captions)


def test_each_sound_has_its_own_noise_scale_and_steps_at_its_whole_length(
    teacher_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The noise is that of ``consistency-tta generate``; sounds have the padding of the data."""
    pipeline = TextToAudioPipeline.from_pretrained(teacher_folder)
    pipeline.register_to_config(audio_length_in_s=0.25)
    sampling = PromptSampling(guidance_scale=2.0, steps=2, num_samples=2, batch_size=4, seed=3)
    capsys.readouterr()
    batches = list(FixedPrompts(CAPTIONS, sampling).sounds(pipeline))
    assert not capsys.readouterr().err  # no bar of steps in between those of a training
    assert [len(sounds.waveform) for sounds in batches] == [4, 2]
    assert torch.cat([sounds.prompts for sounds in batches]).tolist() == [0, 0, 1, 1, 2, 2]
    assert [caption for sounds in batches for caption in sounds.captions] == [c for c in CAPTIONS for _ in range(2)]
    assert {sounds.sample_rate for sounds in batches} == {16000}
    made = torch.cat([sounds.waveform for sounds in batches])
    for sound, (caption, sample) in zip(made, [(i, k) for i in range(3) for k in range(2)], strict=True):
        entropy = int(np.random.SeedSequence((3, caption, sample)).generate_state(1, np.uint64)[0] >> 1)
        noise = torch.Generator().manual_seed(entropy)
        alone = pipeline(CAPTIONS[caption], 2.0, 2, generator=noise, audio_length_in_s=NUM_SAMPLES / 16000)
        torch.testing.assert_close(sound, alone.waveform[0], atol=1e-5, rtol=0)


def test_shares_cover_all_sounds_and_do_not_change_them(teacher_folder: Path) -> None:
    prompts = FixedPrompts(CAPTIONS, PromptSampling(num_samples=3, batch_size=2, seed=1))
    shares = [prompts.share(rank, 2) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == [(i, k) for i in range(3) for k in range(3)]
    pipeline = TextToAudioPipeline.from_pretrained(teacher_folder)
    few = FixedPrompts(CAPTIONS[:2], replace(prompts.sampling, steps=1, num_samples=1, batch_size=1))
    alone = torch.cat([sounds.waveform for sounds in few.sounds(pipeline)])
    both = torch.cat([sounds.waveform for rank in (0, 1) for sounds in few.sounds(pipeline, rank, 2)])
    assert torch.equal(alone, both)
    assert not torch.equal(alone[0], alone[1])
