"""The CLAP loss: its values, what it computes, and its gradients through the decoders to the student."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.codec import MelCodec
from consistency_tta.components.networks import clap
from consistency_tta.contracts import AudioEncoder, AudioOutput, Batch, DistillationOutput
from consistency_tta.losses import CLAPLoss
from consistency_tta.losses import clap as module
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.weighted_losses import WeightedLosses
from tests.components.test_clap import SMALL
from tests.losses.outputs import Sounds
from tests.toy_encoder import ToyEncoder, halves
from tests.toys import NUM_SAMPLES, toy_parts

STUDENT, TARGET, RECORDING = halves((1.0, 0.0), (0.0, 2.0)), halves((0.0, 1.0), (0.0, 1.0)), halves((-1.0, 0.0), (3, 3))
ROOT = math.sqrt(0.5)


def sounds(recording: Tensor | None = RECORDING, captions: tuple[str, ...] = ("60", "90")) -> Sounds:
    batch = Batch(list(captions), ["one", "two"], recording)
    return Sounds(student_waveform=STUDENT.clone().requires_grad_(), target_waveform=TARGET, batch=batch)


def test_it_is_two_less_the_cosines() -> None:
    text, audio = torch.tensor([0.5, 0.0]), torch.tensor([2.0, 1 - ROOT])
    torch.testing.assert_close(CLAPLoss(ToyEncoder())(sounds()), text + audio)
    torch.testing.assert_close(CLAPLoss(ToyEncoder(), 2.0, 0.5)(sounds()), 2 * text + 0.5 * audio)
    torch.testing.assert_close(CLAPLoss(ToyEncoder(), audio_weight=0)(sounds()), text)
    assert not CLAPLoss.noise_weighted


class Unnormalised(AudioEncoder):
    """Sounds alone, as vectors of any length: a tagger's kind."""

    sample_rate, num_features = 16000, 2

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return 7 * torch.stack([half.mean(1) for half in waveform.chunk(2, dim=1)], dim=1)


def test_an_encoder_without_text_compares_sounds_by_cosine() -> None:
    expected = CLAPLoss(ToyEncoder(), text_weight=0)(sounds())
    out = sounds()
    value = CLAPLoss(Unnormalised(), text_weight=0)(out)
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    # A louder sound is not a better one: the gradient has no part along the vector itself.
    along = (out.student_waveform.grad * STUDENT).sum(1)
    torch.testing.assert_close(along, torch.zeros(2), atol=1e-5, rtol=0)
    with pytest.raises(ConfigurationError, match="Unnormalised"):
        CLAPLoss(Unnormalised())


def test_without_a_recording_the_target_is_the_reference() -> None:
    expected = torch.tensor([1.5, 0.0])
    torch.testing.assert_close(CLAPLoss(ToyEncoder())(sounds(None)), expected)
    torch.testing.assert_close(CLAPLoss(ToyEncoder(), reference="target")(sounds()), expected)


def test_what_has_no_weight_is_not_computed() -> None:
    encoder = ToyEncoder()
    out = sounds(None)
    del out.__dict__["target_waveform"]
    CLAPLoss(encoder, audio_weight=0)(out)
    assert len(encoder.lengths) == 1
    CLAPLoss(encoder, text_weight=0)(sounds())
    assert encoder.embedded_captions == [["60", "90"]]


def test_only_the_student_gets_gradients() -> None:
    target, recording = TARGET.clone().requires_grad_(), RECORDING.clone().requires_grad_()
    out = sounds(recording)
    out.target_waveform = target
    encoder = ToyEncoder()
    (CLAPLoss(encoder)(out) + CLAPLoss(encoder, reference="target")(out)).sum().backward()
    assert out.student_waveform.grad.abs().max() > 0
    assert recording.grad is None
    assert target.grad is None
    assert encoder.gain.grad is None


def test_sounds_reach_the_encoder_at_its_rate() -> None:
    encoder = ToyEncoder(sample_rate=48000)
    value = CLAPLoss(encoder)(sounds())
    assert encoder.lengths == [3000, 3000]
    torch.testing.assert_close(value, CLAPLoss(ToyEncoder())(sounds()), atol=1e-2, rtol=0)


def test_autocast_does_not_reach_resampling() -> None:
    sound = torch.randn(2, 1000)
    expected = CLAPLoss(ToyEncoder(48000)).embed_audio(sound, 16000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(CLAPLoss(ToyEncoder(48000)).embed_audio(sound, 16000), expected)


def test_each_caption_is_embedded_once_also_across_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ToyEncoder()
    loss = CLAPLoss(encoder)
    with torch.inference_mode():
        loss(sounds(captions=("60", "60")))
    out = sounds(captions=("90", "60"))
    loss(out).sum().backward()
    assert encoder.embedded_captions == [["60"], ["90"]]
    assert out.student_waveform.grad is not None
    monkeypatch.setattr(module, "MAX_CAPTIONS", 1)
    loss(sounds(captions=("1", "2")))
    assert len(loss._texts) == 2


def test_the_encoder_is_frozen_and_invisible_but_moves_along() -> None:
    loss = CLAPLoss(ToyEncoder())
    loss(sounds())
    assert not loss.state_dict()
    assert not list(loss.parameters())
    assert not loss.encoder.training
    assert not loss.encoder.gain.requires_grad
    both = WeightedLosses({"clap": loss})
    both.to("meta")
    assert loss.encoder.gain.is_meta
    assert not loss._texts
    assert copy.deepcopy(loss).encoder is not loss.encoder


def test_gradients_reach_the_student_through_decoder_vocoder_and_clap(tmp_path: Path) -> None:
    clap(**SMALL).save_pretrained(tmp_path)
    loss = CLAPLoss(TransformersClap(tmp_path))
    parts = toy_parts()
    codec = MelCodec(parts["mel"], parts["vae"], parts["vocoder"]).eval().requires_grad_(False)
    # Off the edge of what the vocoder's magnitudes are clamped to.
    latent = torch.randn(2, 4, 8, 4).requires_grad_()
    t = torch.full((2,), 500.0)
    batch = Batch(["a dog", "rain"], ["1", "2"], 0.1 * torch.randn(2, NUM_SAMPLES))
    out = DistillationOutput(latent, latent.detach(), latent.detach(), t, t - 100, t * 0, batch, codec)
    value = loss(out)
    assert value.shape == (2,)
    value.sum().backward()
    assert latent.grad.isfinite().all()
    assert (latent.grad.flatten(1).abs().amax(1) > 0).all()
    # A step against the gradient brings sound and caption nearer.
    step = (latent - 0.05 * latent.grad / latent.grad.norm()).detach()
    nearer = DistillationOutput(step, step, step, t, t - 100, t * 0, batch, codec)
    assert float(loss(nearer).sum()) < float(value.sum().detach())


class Half(ToyEncoder):
    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        assert waveform.dtype == torch.float32
        return super().embed(waveform, sample_rate).bfloat16()


def test_half_precision_is_made_float32_before_lengths_become_1() -> None:
    loss, out = CLAPLoss(Half()), sounds(halves((1.0, 2.0), (3.0, 1.0)))
    embedded = loss.embed_audio(out.batch.waveform.bfloat16(), 16000)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(2), atol=1e-6, rtol=0)
    loss.encoder.checksum = "a" * 64
    out.batch.audio_embeddings = {"a" * 64: embedded.bfloat16()}
    torch.testing.assert_close(loss.embed_reference(out).norm(dim=1), torch.ones(2), atol=1e-6, rtol=0)


def test_text_needs_an_encoder_with_a_text_side() -> None:
    class Level(AudioEncoder):
        sample_rate, num_features = 16000, 1

        def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
            return waveform.square().mean(1, keepdim=True).sign()

    with pytest.raises(ConfigurationError, match="Level"):
        CLAPLoss(Level())
    torch.testing.assert_close(CLAPLoss(Level(), text_weight=0)(sounds()), torch.zeros(2))


def test_parameters_of_a_subclass_are_trained_and_saved_but_those_of_the_encoder_are_not() -> None:
    class Scaled(CLAPLoss):
        def __init__(self) -> None:
            super().__init__(ToyEncoder())
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, out: AudioOutput) -> Tensor:
            return self.scale * super().forward(out)

    loss = Scaled()
    assert [name for name, _ in loss.named_parameters()] == list(loss.state_dict()) == ["scale"]
    loss(sounds()).sum().backward()
    assert loss.scale.grad.abs() > 0
    assert loss.encoder.gain.grad is None


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigurationError):
        CLAPLoss(ToyEncoder(), 0, 0)
    with pytest.raises(ConfigurationError, match="wav"):
        CLAPLoss(ToyEncoder(), reference="wav")  # type: ignore[arg-type]


def test_recordings_that_were_embedded_beforehand_are_the_reference() -> None:
    encoder = ToyEncoder()
    encoder.checksum = "a" * 64
    plain, encoded = sounds(), sounds(recording=None)
    encoded.batch.audio_embeddings = {"a" * 64: encoder.embed(RECORDING, 16000), "b" * 64: torch.zeros(2, 2)}
    loss = CLAPLoss(encoder)
    torch.testing.assert_close(loss(encoded), loss(plain))
    torch.testing.assert_close(
        CLAPLoss(encoder, reference="target")(encoded), CLAPLoss(encoder, reference="target")(plain)
    )


def test_an_encoder_gets_sounds_in_float32() -> None:
    class Recorder(ToyEncoder):
        def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
            self.dtype_of_sound = waveform.dtype
            return super().embed(waveform, sample_rate)

    encoder = Recorder()
    assert CLAPLoss(encoder).embed_audio(STUDENT.bfloat16(), 16000).dtype == torch.float32
    assert encoder.dtype_of_sound == torch.float32
