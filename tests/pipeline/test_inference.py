"""A pipeline prepared for generation makes the same sounds, faster."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from consistency_tta.components.folded_upsampling import FoldedUpsample
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.inference import fold_weight_norm, load_for_generation, prepare_for_generation
from consistency_tta.runtime.allocator import keep_freed_memory
from tests.toys import stereo_parts


def sound(pipeline: TextToAudioPipeline) -> torch.Tensor:
    return pipeline(["a dog", "rain"], num_inference_steps=2, generator=torch.Generator().manual_seed(0)).waveform


def test_the_sounds_are_the_same(teacher_folder: Path) -> None:
    plain = TextToAudioPipeline.from_pretrained(teacher_folder)
    prepared = prepare_for_generation(load_for_generation(str(teacher_folder), "float32", "cpu"))
    assert any(isinstance(layer, FoldedUpsample) for layer in prepared.vae.modules())
    torch.testing.assert_close(sound(prepared), sound(plain), atol=1e-4, rtol=1e-3)
    assert torch.equal(sound(prepared), sound(prepared))

    pipeline = TextToAudioPipeline(**stereo_parts())
    expected = sound(pipeline)
    torch.testing.assert_close(sound(prepare_for_generation(pipeline)), expected, atol=1e-4, rtol=1e-3)


def test_all_networks_are_of_the_dtype(teacher_folder: Path) -> None:
    pipeline = prepare_for_generation(load_for_generation(str(teacher_folder), "bfloat16", "cpu"))
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.bfloat16}
    assert sound(pipeline).dtype == torch.float32


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_weight_norm_is_folded() -> None:
    layers = nn.Sequential(weight_norm(nn.Conv1d(2, 3, 3)), nn.utils.weight_norm(nn.Conv1d(3, 2, 3)))
    sounds = torch.randn(1, 2, 9)
    expected = layers(sounds)
    fold_weight_norm(layers)
    assert {name.split(".")[1] for name, _ in layers.named_parameters()} == {"weight", "bias"}
    torch.testing.assert_close(layers(sounds), expected)


def test_freed_memory_is_kept_with_gnus_c_library() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
