"""Latent to waveform by one network: what it depends on, and its place in a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from consistency_tta.components.build_codec import build_codec
from consistency_tta.components.codec import MelCodec
from consistency_tta.components.decoding import decode
from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.light_codec import LightCodec
from consistency_tta.contracts import MelDecoder
from consistency_tta.graphs.graph import make_graphs
from consistency_tta.graphs.torch_format import to_program
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import codec_fingerprint
from consistency_tta.pipeline.inference import prepare_for_generation
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from tests.toys import LIGHT_DECODER, toy_parts
from tests.training.runs import guidance, one_query


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path) -> TextToAudioPipeline:
    """A one-query student with a light decoder, as its folder gives it back."""
    torch.manual_seed(0)
    student = one_query(guidance(teacher_folder))
    parts = {name: part for name, part in student.components.items() if name != "vocoder"}
    folder = tmp_path_factory.mktemp("light") / "model"
    TextToAudioPipeline(**parts, vocoder=FourierDecoder(**LIGHT_DECODER)).save_pretrained(folder)
    pipeline = TextToAudioPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_its_samples_depend_on_the_latent_frames_within_its_reach() -> None:
    torch.manual_seed(0)
    decoder = FourierDecoder(**LIGHT_DECODER).eval()
    latent = torch.randn(1, 4, 40, 4, requires_grad=True)
    waveform = decoder(latent)
    assert waveform.shape == (1, 40 * 640)
    [slope] = torch.autograd.grad(waveform[0, 20 * 640 : 21 * 640].square().sum(), latent)
    reached = slope.abs().sum((0, 1, 3)).nonzero()[:, 0]
    # Two convolutions of 7 latent frames, one of 7 frames of the STFT, and its window: 6 + 2 frames to each side.
    assert 14 - 2 <= reached.min() <= 14
    assert 26 <= reached.max() <= 26 + 2


def test_equal_latents_of_a_batch_sound_alike_in_bfloat16_too() -> None:
    torch.manual_seed(0)
    decoder = FourierDecoder(**LIGHT_DECODER).eval()
    latent = torch.randn(3, 4, 8, 4)
    whole = decoder(latent)
    assert torch.allclose(whole[1:2], decoder(latent[1:2]), atol=1e-5)
    half = FourierDecoder(**LIGHT_DECODER).eval()
    half.load_state_dict(decoder.state_dict())
    assert half.bfloat16()(latent.bfloat16()).dtype == torch.float32
    assert (half(latent.bfloat16()) - whole).norm() < 0.05 * whole.norm()


def test_a_codec_with_it_encodes_as_before_and_decodes_without_mels() -> None:
    parts = toy_parts()
    mels = build_codec(parts["vae"], parts["mel"], parts["vocoder"])
    codec = build_codec(parts["vae"], parts["mel"], FourierDecoder(**LIGHT_DECODER))
    assert isinstance(mels, MelCodec)
    assert isinstance(codec, LightCodec)
    assert not isinstance(codec, MelDecoder)
    waveform = 0.1 * torch.randn(2, 1, 32 * 160)
    assert torch.equal(codec.encode(waveform), mels.encode(waveform))
    assert codec_fingerprint(codec) == codec_fingerprint(mels)
    latent = torch.randn(2, *codec.latent_shape(32 * 160), requires_grad=True)
    plain = codec.decode(latent)
    assert plain.shape == (2, 1, 32 * 160)
    [slope] = torch.autograd.grad(plain.square().sum(), latent)
    codec.enable_gradient_checkpointing()
    again = codec.decode(latent)
    [same] = torch.autograd.grad(again.square().sum(), latent)
    assert torch.equal(slope, same)


@pytest.mark.parametrize(("name", "value"), [("latent_channels", 5), ("latent_bins", 8), ("samples_per_frame", 1280)])
def test_a_decoder_of_other_latents_is_refused(name: str, value: int) -> None:
    parts = toy_parts()
    with pytest.raises(ConfigurationError, match=str(value)):
        LightCodec(parts["mel"], parts["vae"], FourierDecoder(**(LIGHT_DECODER | {name: value})))


def test_its_full_size_is_a_fortieth_of_the_decoders_that_it_replaces() -> None:
    decoder = FourierDecoder().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert decoder(torch.randn(1, 8, 16, 16)).shape == (1, 16 * 640)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == pytest.approx(29.4e6, rel=0.01)
    assert counter.get_total_flops() < 1.7e12 / 40 * 16 / 256  # of 10.24 s, which are 256 frames


def test_the_hop_length_divides_a_latent_frame() -> None:
    with pytest.raises(ConfigurationError, match="150"):
        FourierDecoder(hop_length=150)


def test_a_pipeline_with_it_generates_what_its_parts_make(light: TextToAudioPipeline) -> None:
    noise = torch.randn(2, 4, 8, 4)
    made = light(["a", "b"], latents=noise)
    assert made.waveform.shape == (2, 32 * 160)
    expected = decode(light.codec, made.latent)[:, 0].clamp(-1, 1)
    assert torch.allclose(made.waveform, expected, atol=1e-6)
    with pytest.raises(ModelFolderError, match="LightCodec"):
        _ = light.mel_codec


def test_its_graph_computes_the_same_for_another_batch_without_complex_numbers(light: TextToAudioPipeline) -> None:
    graph = make_graphs(light)[2]
    assert graph.name == "decode"
    program = to_program(graph)
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert not any(isinstance(value, torch.Tensor) and value.is_complex() for value in values)
    latent = torch.randn(3, 4, 8, 4)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(latent), graph.network(latent))


def test_a_prepared_pipeline_generates_the_same(light: TextToAudioPipeline) -> None:
    noise = torch.randn(1, 4, 8, 4)
    plain = light("a", latents=noise).waveform
    prepared = prepare_for_generation(TextToAudioPipeline.from_pretrained(light.config._name_or_path))
    prepared.set_progress_bar_config(disable=True)
    assert prepared.vocoder.inverse_stft.use_fft
    assert (prepared("a", latents=noise).waveform - plain).norm() < 1e-4 * plain.norm()
