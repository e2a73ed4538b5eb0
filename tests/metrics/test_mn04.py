import math

import numpy as np
import pytest
import scipy.signal
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from consistency_tta.metrics.kaldi_mel import kaldi_mel_filters
from consistency_tta.metrics.mn04 import AudioTagger, LogMel
from consistency_tta.runtime.errors import CheckpointError, ShapeError

KALDI_MEL = mel_filter_bank(
    513, 128, 0.0, 15_000.0, 32_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
)


@pytest.fixture(scope="module")
def tagger():
    """Random weights with the running statistics of noise, as if trained: outputs neither vanish nor explode."""
    torch.manual_seed(0)
    tagger = AudioTagger().requires_grad_(False)
    normalisations = [module for module in tagger.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in normalisations:
        module.train()
        module.momentum = 1.0
    tagger(0.1 * torch.randn(8, 16_000), 32_000)
    for module in normalisations:
        module.eval()
    return tagger


@pytest.fixture
def waveform():
    return 0.1 * torch.randn(2, 16_000, generator=torch.manual_seed(1))


def test_mel_filters_equal_those_of_transformers():
    found = kaldi_mel_filters(128, 1024, 32_000, 0.0, 15_000.0)
    np.testing.assert_allclose(found.numpy(), KALDI_MEL, atol=1e-6)


def test_log_mel_equals_that_of_scipy_and_transformers(waveform):
    emphasised = scipy.signal.lfilter([1, -0.97], [1], waveform[0].double().numpy())[1:]
    window = window_function(800, "hann", periodic=False, frame_length=1024, center=True)
    power = spectrogram(
        emphasised, window, 1024, 320, 1024, power=2.0, center=True, mel_filters=KALDI_MEL, mel_floor=0.0
    )
    found = LogMel()(waveform[:1])
    assert found.shape == (1, 1, 128, 50)
    np.testing.assert_allclose(found[0, 0].numpy(), (np.log(power + 1e-5) + 4.5) / 5, atol=1e-4)


def test_shapes_and_size(tagger, waveform):
    assert sum(parameter.numel() for parameter in tagger.parameters()) == 983_599
    logits, embedding = tagger(waveform, 32_000)
    assert logits.shape == (2, 527)
    assert embedding.shape == (2, 384)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_gradients_reach_every_part_of_the_waveform(tagger, waveform):
    waveform = waveform.requires_grad_()
    logits, embedding = tagger(waveform, 16_000)
    (logits.square().sum() + embedding.square().sum()).backward()
    energy = waveform.grad.reshape(2, 100, -1).square().sum(-1)
    assert waveform.grad.isfinite().all()
    assert (energy > 0).all()


def test_silence_has_finite_gradients(tagger):
    silence = torch.zeros(1, 16_000, requires_grad=True)
    tagger(silence, 32_000)[1].sum().backward()
    assert silence.grad.isfinite().all()


def test_the_sample_rate_hardly_matters(tagger):
    """A sum of tones below 6 kHz, sampled exactly at three rates and faded in and out, embeds alike."""

    def tones(sample_rate, frequencies):
        seconds = torch.arange(sample_rate, dtype=torch.float64) / sample_rate
        sound = sum(torch.sin(2 * math.pi * frequency * seconds) for frequency in frequencies)
        return (0.1 * sound * torch.sin(math.pi * seconds).square()).float().unsqueeze(0)

    chord = (261.6, 1318.5, 5919.9)
    _, reference = tagger(tones(32_000, chord), 32_000)
    _, other_chord = tagger(tones(32_000, (293.7, 1480.0, 4186.0)), 32_000)
    for sample_rate in (16_000, 44_100):
        _, resampled = tagger(tones(sample_rate, chord), sample_rate)
        assert (resampled - reference).norm() < 0.05 * (other_chord - reference).norm()


def test_clips_are_judged_one_by_one_also_inside_a_training_module(tagger, waveform):
    torch.nn.Sequential(tagger).train()
    together, _ = tagger(waveform, 32_000)
    alone, _ = tagger(waveform[:1], 32_000)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def efficientat_weights(tagger):
    """The weights under the names of EfficientAT's file."""
    return {
        name.replace(".fc1.", ".conc_se_layers.0.fc1.").replace(".fc2.", ".conc_se_layers.0.fc2."): value
        for name, value in tagger.state_dict().items()
    }


def test_loads_a_checkpoint_frozen(tagger, waveform, tmp_path):
    torch.save(efficientat_weights(tagger), tmp_path / "mn04.pt")
    loaded = AudioTagger.from_checkpoint(tmp_path / "mn04.pt")
    torch.testing.assert_close(loaded(waveform, 32_000), tagger(waveform, 32_000), rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_wrong_checkpoint_is_named(tagger, tmp_path):
    weights = efficientat_weights(tagger)
    del weights["features.4.block.2.conc_se_layers.0.fc1.bias"]
    weights["features.17.0.weight"] = torch.zeros(1)
    weights["classifier.5.bias"] = torch.zeros(50)
    torch.save(weights, tmp_path / "wrong.pt")
    with pytest.raises(CheckpointError, match="wrong") as error:
        AudioTagger.from_checkpoint(tmp_path / "wrong.pt")
    assert "missing features.4.block.2.fc1.bias" in str(error.value)
    assert "unexpected features.17.0.weight" in str(error.value)
    assert "classifier.5.bias has shape (50,), expected (527,)" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_broken_download_is_named(content, tmp_path):
    (tmp_path / "mn04.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"mn04\.pt"):
        AudioTagger.from_checkpoint(tmp_path / "mn04.pt")


def test_a_wrong_waveform_is_named(tagger):
    with pytest.raises(ShapeError, match="16000"):
        tagger(torch.zeros(16_000), 32_000)
    with pytest.raises(ShapeError, match="1000"):
        tagger(torch.zeros(1, 1000), 32_000)
