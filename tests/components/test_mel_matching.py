"""A vocoder's sound is drawn towards the mel that it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.mel_matching import MelMatching
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.runtime.errors import ConfigurationError

SETTINGS = {"channels": 16, "num_layers": 1, "noise_excitation": True}


def chirp(samples: int = 8000) -> torch.Tensor:
    time = torch.arange(samples) / 16000
    return 0.3 * torch.sin(2 * torch.pi * (300 + 1500 * time) * time)[None]


def vocoder(share: float) -> FourierVocoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FourierVocoder(**SETTINGS, mel_share=share).eval()


def distance(waveform: torch.Tensor, mel: torch.Tensor) -> float:
    audible = mel > mel.max() - 5
    return (MelSpectrogram()(waveform) - mel)[audible].abs().mean().item()


@torch.no_grad()
def test_the_larger_the_share_the_nearer_the_mel() -> None:
    mel = MelSpectrogram()(chirp())
    own, half, whole = (distance(vocoder(share)(mel), mel) for share in (0.0, 0.5, 1.0))
    assert own > 1.2 * half > 1.2 * whole


@torch.no_grad()
def test_a_sound_that_has_the_mel_already_keeps_its_magnitudes_and_phases() -> None:
    """No iteration, and half a share: what remains is the error of magnitudes that were fitted to the mel."""
    sound, matching = chirp(), MelMatching(GriffinLimVocoder(num_iterations=0, num_updates=50), 0.5)
    matched = matching(sound, MelSpectrogram()(sound))
    assert torch.nn.functional.cosine_similarity(matched, sound).item() > 0.9


def test_gradients_reach_the_network_and_the_mel() -> None:
    network, mel = vocoder(0.5), MelSpectrogram()(chirp()).requires_grad_()
    network(mel).square().sum().backward()
    assert mel.grad is not None
    assert mel.grad.isfinite().all()
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_it_adds_nothing_to_a_folder_and_loads_in_half_precision(tmp_path: Path) -> None:
    network, mel = vocoder(0.5), MelSpectrogram()(chirp())
    assert network.state_dict().keys() == vocoder(0.0).state_dict().keys()
    network.save_pretrained(tmp_path)
    assert torch.equal(FourierVocoder.from_pretrained(tmp_path).eval()(mel), network(mel))
    half = FourierVocoder.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).eval()
    assert half(mel.bfloat16()).isfinite().all()


@torch.no_grad()
def test_in_training_the_network_is_on_its_own() -> None:
    """Its losses compare what it makes itself, whatever matching adds later."""
    network, mel = vocoder(0.5).train(), MelSpectrogram()(chirp())
    torch.manual_seed(0)
    made = network(mel)
    torch.manual_seed(0)
    assert torch.equal(made, vocoder(0.0).train()(mel))


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match="mel_share"):
        vocoder(share)
