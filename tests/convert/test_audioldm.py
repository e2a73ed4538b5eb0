"""AudioLDM's codec, from its own checkpoint and from a diffusers folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrizations

from consistency_tta.cli import main
from consistency_tta.pipeline import TextToAudioPipeline
from tests.convert import published


def audioldm_checkpoint(path: Path, scale: float = 0.5) -> Path:
    """The codec among the other networks of a Lightning checkpoint."""
    weights = published.prefixed("first_stage_model.", published.small_autoencoder().state_dict())
    others = {"model.diffusion_model.time_embed.0.weight": torch.ones(1), "cond_stage_model.x": torch.ones(1)}
    torch.save({"state_dict": weights | others | {"scale_factor": torch.tensor(scale)}, "global_step": 7}, path)
    return path


@torch.no_grad()
def check_codec(folder: Path) -> None:
    """The folder's codec computes what the published modules do."""
    reference, pipeline = published.small_autoencoder(), TextToAudioPipeline.from_pretrained(folder)
    codec, latent = pipeline.codec, torch.randn(1, 4, 4, 4)
    assert pipeline.vae.config.scaling_factor == 0.5
    mel = reference.decode(latent / 0.5)[:, 0]
    torch.testing.assert_close(codec.latent_to_mel(latent), mel, atol=1e-4, rtol=1e-4)
    sound = reference.vocoder(mel.transpose(1, 2))[:, 0, : 16 * 160]
    torch.testing.assert_close(codec.mel_to_waveform(mel), sound, atol=1e-5, rtol=1e-3)
    front = pipeline.mel.config
    assert (front["n_mels"], front["n_fft"], front["hop_length"], front["sample_rate"]) == (16, 1024, 160, 16000)
    assert (front["f_min"], front["f_max"], front["floor"]) == (0.0, 8000.0, 1e-5)
    assert pipeline.vocoder.config.normalize_before is False
    assert pipeline.unet is None
    assert codec.round_trip(torch.randn(1, 2560) / 10).shape == (1, 2560)


def test_an_original_checkpoint(tmp_path: Path) -> None:
    path = audioldm_checkpoint(tmp_path / "audioldm-s-full.ckpt")
    main(["convert", "audioldm", str(path), "--output", str(tmp_path / "codec")])
    check_codec(tmp_path / "codec")


@pytest.mark.parametrize("old_names", [False, True])
def test_a_diffusers_folder(old_names: bool, tmp_path: Path) -> None:
    """Its components are saved by the libraries; old ones have pickled weights and other names of the attention."""
    path = audioldm_checkpoint(tmp_path / "x.ckpt")
    main(["convert", "audioldm", str(path), "--output", str(tmp_path / "codec")])
    made, folder = TextToAudioPipeline.from_pretrained(tmp_path / "codec"), tmp_path / "cvssp"
    made.vae.save_pretrained(folder / "vae")
    made.vocoder.save_pretrained(folder / "vocoder")
    if old_names:
        (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        weights: dict[str, Tensor] = {}
        for name, tensor in made.vae.state_dict().items():
            for new, old in names.items():
                name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
            weights[name] = tensor
        torch.save(weights, folder / "vae" / "diffusion_pytorch_model.bin")
    main(["convert", "audioldm", str(folder), "--output", str(tmp_path / "again")])
    check_codec(tmp_path / "again")
    (folder / "vocoder" / "model.safetensors").unlink()
    with pytest.raises(SystemExit, match="vocoder"):
        main(["convert", "audioldm", str(folder), "--output", str(tmp_path / "third")])


def test_weight_norm_and_a_scale_that_is_given(tmp_path: Path) -> None:
    weights = published.small_autoencoder(parametrizations.weight_norm).state_dict()
    torch.save(weights, tmp_path / "vae.pt")
    arguments = ["convert", "audioldm", str(tmp_path / "vae.pt"), "--output", str(tmp_path / "codec")]
    with pytest.raises(SystemExit, match="scale_factor"):
        main(arguments)
    main([*arguments, "--scale_factor", "0.25"])
    pipeline = TextToAudioPipeline.from_pretrained(tmp_path / "codec")
    assert pipeline.vae.config.scaling_factor == 0.25
    module = "vocoder.ups.0.parametrizations.weight"
    length, direction = weights[f"{module}.original0"], weights[f"{module}.original1"]
    expected = length * direction / direction.square().sum((1, 2), keepdim=True).sqrt()
    torch.testing.assert_close(pipeline.vocoder.upsampler[0].weight.data, expected)


def test_what_is_no_audioldm_is_named(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(SystemExit, match=r"other\.ckpt"):
        main(["convert", "audioldm", str(tmp_path / "other.ckpt"), "--output", str(tmp_path / "out")])
    (tmp_path / "diffusers" / "vae").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"config\.json"):
        main(["convert", "audioldm", str(tmp_path / "diffusers"), "--output", str(tmp_path / "out")])
    (tmp_path / "diffusers" / "vae" / "config.json").write_text(json.dumps({}))
    with pytest.raises(SystemExit, match="vae"):
        main(["convert", "audioldm", str(tmp_path / "diffusers"), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
