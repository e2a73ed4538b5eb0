"""LoRA adapters, loaded as in diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.training import LoRA
from consistency_tta.training.distillation.lora import save_adapter
from tests.pipeline.models import student, teacher
from tests.toys import stereo_parts

NOISE = torch.randn(1, 4, 8, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, TextToAudioPipeline, torch.Tensor]:
    """An adapter's folder, the model that it is for, and what the trained student makes."""
    pipeline = student()
    denoiser = pipeline.denoiser.student_copy()
    LoRA(rank=2).adapt(denoiser)
    for parameter in denoiser.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    save_adapter(denoiser, tmp_path / "adapter")
    made = TextToAudioPipeline(**(pipeline.components | {"unet": denoiser.network}))("a dog", latents=NOISE)
    return tmp_path / "adapter", pipeline, made.latent


def test_an_adapter_of_a_training_makes_the_trained_student(
    trained: tuple[Path, TextToAudioPipeline, torch.Tensor],
) -> None:
    folder, pipeline, expected = trained
    pipeline.load_lora_weights(folder, adapter_name="dogs")
    assert torch.equal(pipeline("a dog", latents=NOISE).latent, expected)
    assert pipeline.get_active_adapters() == ["dogs"]
    pipeline.fuse_lora()
    torch.testing.assert_close(pipeline("a dog", latents=NOISE).latent, expected, atol=1e-4, rtol=1e-3)
    pipeline.unfuse_lora()
    pipeline.set_adapters("dogs", 0.0)
    without = pipeline("a dog", latents=NOISE).latent
    assert not torch.allclose(without, expected, atol=1e-2)
    pipeline.unload_lora_weights()
    torch.testing.assert_close(pipeline("a dog", latents=NOISE).latent, without)
    with pytest.raises(ModelFolderError, match="adapter"):
        teacher().load_lora_weights(folder)


def test_names_may_have_the_networks_prefix(tmp_path: Path) -> None:
    pipeline = teacher()
    pipeline.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False))
    expected = pipeline("a dog", 1.0, 1, latents=NOISE).latent
    pipeline.unet.save_lora_adapter(tmp_path)
    pipeline.unload_lora_weights()
    weights = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    prefixed = {f"unet.{name}": value for name, value in weights.items()}
    save_file(prefixed, tmp_path / "prefixed.safetensors")
    for source in (weights, prefixed, tmp_path / "prefixed.safetensors"):
        pipeline.load_lora_weights(source)
        assert torch.equal(pipeline("a dog", 1.0, 1, latents=NOISE).latent, expected)
        pipeline.unload_lora_weights()


def test_what_is_no_adapter_of_the_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="transformer"):
        teacher().load_lora_weights({"transformer.to_q.lora_A.weight": torch.zeros(2, 8)})
    with pytest.raises(ModelFolderError, match="conv_in"):
        teacher().load_lora_weights({"conv_in.weight": torch.zeros(2, 8)})
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        teacher().load_lora_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="no/adapter"):
        teacher().load_lora_weights("no/adapter")
    with pytest.raises(ModelFolderError, match="StableAudioDiTModel"):
        TextToAudioPipeline(**stereo_parts()).load_lora_weights(tmp_path)
