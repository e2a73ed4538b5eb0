"""TangoFlux's files, at reduced width, through the command line; and their names and shapes at full size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from diffusers import AutoencoderOobleck, FluxTransformer2DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5EncoderModel

from consistency_tta.cli import main
from consistency_tta.convert import tangoflux as converter
from consistency_tta.convert.checkpoint import Checkpoint
from consistency_tta.convert.oobleck import oobleck
from consistency_tta.pipeline import TextToAudioPipeline
from tests.components.backbones.test_flux import tangoflux
from tests.convert import published
from tests.toys import OOBLECK

#: ``config.json`` as published.
CONFIG = {
    "num_layers": 6,
    "num_single_layers": 18,
    "in_channels": 64,
    "attention_head_dim": 128,
    "joint_attention_dim": 1024,
    "num_attention_heads": 8,
    "audio_seq_len": 645,
    "max_duration": 30,
    "uncondition": False,
    "text_encoder_name": "google/flan-t5-large",
}
SMALL = CONFIG | {
    "num_layers": 1,
    "num_single_layers": 1,
    "in_channels": 4,
    "joint_attention_dim": 16,
    "num_attention_heads": 1,
    "audio_seq_len": 16,
}
FLAN_T5_LARGE = {"words": 32128, "width": 1024, "hidden": 2816, "layers": 24, "heads": 16, "head_width": 64}


def network(config: dict[str, Any]) -> nn.Module:
    """The module tree of ``TangoFlux`` but for the text encoder, by its attributes' names."""
    width = config["joint_attention_dim"]
    names = ("num_layers", "num_single_layers", "in_channels", "attention_head_dim", "num_attention_heads")
    tree = nn.Module()
    tree.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU())
    tree.duration_emebdder = StableAudioNumberConditioner(width, 0, config["max_duration"])
    tree.transformer = FluxTransformer2DModel(
        **{name: config[name] for name in names}, joint_attention_dim=width, pooled_projection_dim=width
    )
    return tree


def tangoflux_folder(folder: Path, text_folder: Path, damage: dict[str, Tensor | None] | None = None) -> Path:
    """A copy of the hub's repository, without the embedding that is saved once."""
    torch.manual_seed(0)
    folder.mkdir()
    text = T5EncoderModel.from_pretrained(text_folder).state_dict()
    text.pop("encoder.embed_tokens.weight", None)
    weights = network(SMALL).state_dict() | published.prefixed("text_encoder.", text)
    kept = {name: tensor.contiguous() for name, tensor in (weights | (damage or {})).items() if tensor is not None}
    save_file(kept, folder / "tangoflux.safetensors")
    save_file(AutoencoderOobleck(**OOBLECK).state_dict(), folder / "vae.safetensors")
    (folder / "config.json").write_text(json.dumps(SMALL))
    return folder


def test_a_converted_tangoflux_samples_as_its_own_code_does(
    text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tangoflux_folder(tmp_path / "tangoflux", text_folder), tmp_path / "teacher"
    main(["convert", "tangoflux", str(source), "--output", str(output), "--text_encoder", str(text_folder)])
    assert f"written to {output}" in capsys.readouterr().out
    pipeline = TextToAudioPipeline.from_pretrained(output)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.default_steps == 50
    assert not pipeline.sampler.one_query
    assert pipeline.latent_shape == (4, 16)
    # The reference has the network and the projections of the module tree, not the converted ones.
    torch.manual_seed(0)
    tree: Any = network(SMALL).eval()
    made = {
        "text_encoder": T5EncoderModel.from_pretrained(text_folder).eval(),
        "tokenizer": pipeline.tokenizer,
        "transformer": tree.transformer,
        "projection_model": published.holder(pooled=tree.fc, duration=tree.duration_emebdder),
    }
    noise, caption = torch.randn(1, 4, 16), "a dog barks"
    latents, _ = pipeline.sample([caption], 4.5, 3, latents=noise, seconds=0.02)
    torch.testing.assert_close(latents, tangoflux(made, caption, noise, 3, 4.5, 0.02), atol=1e-4, rtol=1e-4)

    arguments = ["--model", str(output), "--steps", "1", "--output", str(tmp_path / "wav"), "--device", "cpu"]
    [file] = main(["generate", caption, *arguments])
    sound, rate = soundfile.read(file)
    assert (sound.shape, rate) == ((16 * 64, 2), 44100)
    assert sound.std() > 0


def test_files_by_name_in_any_order_and_without_text(text_folder: Path, tmp_path: Path) -> None:
    source, output = tangoflux_folder(tmp_path / "tangoflux", text_folder), tmp_path / "teacher"
    settings = tmp_path / "other.json"
    (source / "config.json").rename(settings)
    files = [str(source / "vae.safetensors"), str(source / "tangoflux.safetensors")]
    arguments = ["--output", str(output), "--without_text", "true"]
    with pytest.raises(SystemExit, match=r"config\.json"):
        main(["convert", "tangoflux", *files, *arguments])
    main(["convert", "tangoflux", str(settings), *files, *arguments])
    pipeline = TextToAudioPipeline.from_pretrained(output)
    assert pipeline.text_encoder is None
    assert pipeline.projection_model.padding.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("transformer.proj_out.weight", None),
        ("fc.0.bias", None),
        ("duration_emebdder.time_positional_embedding.0.weights", None),
        ("text_encoder.encoder.final_layer_norm.weight", None),
        ("transformer.extra", torch.ones(1)),
        ("noise", torch.ones(1)),
    ],
)
def test_a_wrong_file_writes_nothing(name: str, tensor: Tensor | None, text_folder: Path, tmp_path: Path) -> None:
    source, output = tangoflux_folder(tmp_path / "x", text_folder, {name: tensor}), tmp_path / "out"
    with pytest.raises(SystemExit, match=name.rpartition(".")[2]):
        main(["convert", "tangoflux", str(source), "--output", str(output), "--text_encoder", str(text_folder)])
    assert not output.exists()
    with pytest.raises(SystemExit, match=r"vae\.safetensors"):
        main(["convert", "tangoflux", str(source / "vae.safetensors"), "--output", str(output)])


def test_at_full_size_every_name_and_shape_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # transformers' masks need values, which tensors on meta have not.
    monkeypatch.setattr(converter, "padding_state", lambda encoder: torch.zeros(encoder.config.d_model))
    text = {name: torch.empty(shape, device="meta") for name, shape in published.t5(**FLAN_T5_LARGE).items()}
    text.pop("encoder.embed_tokens.weight", None)
    with torch.device("meta"):
        tree, codec = network(CONFIG), AutoencoderOobleck()
    weights = tree.state_dict() | published.prefixed("text_encoder.", text)
    pipeline = converter.assemble_pipeline(
        Checkpoint(Path("tangoflux.safetensors"), weights),
        Checkpoint(Path("vae.safetensors"), codec.state_dict()),
        CONFIG,
        None,
    )
    # About 515 M, as the README of https://github.com/declare-lab/TangoFlux says; by these configurations 518.0 M.
    trained = [*pipeline.transformer.parameters(), *pipeline.projection_model.parameters()]
    assert sum(tensor.numel() for tensor in trained) / 1e6 == pytest.approx(515, rel=0.01)
    assert pipeline.projection_model.config["latent_frames"] == 645
    converted = {f"transformer.{name}" for name in pipeline.transformer.state_dict()}
    assert len(converted) + len(pipeline.projection_model.state_dict()) - 1 == len(tree.state_dict())


def test_the_form_of_the_autoencoder_is_read_from_its_weights() -> None:
    for settings in ({}, OOBLECK):
        with torch.device("meta"):
            reference = AutoencoderOobleck(**settings)
        made = oobleck(reference.state_dict(), 44100, "vae.safetensors")
        for name, value in reference.config.items():
            assert name.startswith("_") or made.config[name] == value, name
