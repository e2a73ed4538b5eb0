"""Stable Audio Open's folder, at reduced width, through the command line; and its names and shapes at full size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from diffusers import StableAudioPipeline
from safetensors.torch import load_file, save_file

from consistency_tta.cli import main
from consistency_tta.convert.stable_audio import NETWORKS, network
from consistency_tta.pipeline import TextToAudioPipeline
from tests.components.backbones.test_stable_audio import parts

SECONDS = 12 * 4 / 44100
#: ``config.json`` of each component of stabilityai/stable-audio-open-1.0, and how many million parameters it has.
PUBLISHED: dict[str, tuple[dict[str, Any], float]] = {
    "transformer": (
        {
            "attention_head_dim": 64,
            "cross_attention_dim": 768,
            "cross_attention_input_dim": 768,
            "global_states_input_dim": 1536,
            "in_channels": 64,
            "num_attention_heads": 24,
            "num_key_value_attention_heads": 12,
            "num_layers": 24,
            "out_channels": 64,
            "sample_size": 1024,
            "time_proj_dim": 256,
        },
        1057,
    ),
    "projection_model": (
        {"conditioning_dim": 768, "max_value": 512, "min_value": 0, "text_encoder_dim": 768},
        0.4,
    ),
    "vae": (
        {
            "audio_channels": 2,
            "channel_multiples": [1, 2, 4, 8, 16],
            "decoder_channels": 128,
            "decoder_input_channels": 64,
            "downsampling_ratios": [2, 4, 4, 8, 8],
            "encoder_hidden_size": 128,
            "sampling_rate": 44100,
        },
        156,
    ),
}


@pytest.fixture(scope="module")
def published_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder that diffusers' own pipeline wrote."""
    folder = tmp_path_factory.mktemp("published") / "stable-audio"
    StableAudioPipeline(**parts()).save_pretrained(folder)
    return folder


def first_query(pipeline: Any, sample: Callable[[], Any]) -> torch.Tensor:
    """What the transformer makes of the noise, without and with captions, at the first of two steps.

    Later steps cannot be compared: diffusers' solver draws noise on the way.
    """
    seen: list[torch.Tensor] = []
    pipeline.set_progress_bar_config(disable=True)
    hook = pipeline.transformer.register_forward_hook(lambda _module, _args, out: seen.append(out[0]))
    with torch.no_grad():
        sample()
    hook.remove()
    return seen[0]


def their_query(folder: Path, captions: list[str], noise: torch.Tensor) -> torch.Tensor:
    theirs: Any = StableAudioPipeline.from_pretrained(folder)
    settings = {"audio_end_in_s": SECONDS, "num_inference_steps": 2, "output_type": "latent"}
    return first_query(theirs, lambda: theirs(captions, guidance_scale=5.0, latents=noise.clone(), **settings))


def our_query(pipeline: TextToAudioPipeline, captions: list[str], noise: torch.Tensor) -> torch.Tensor:
    return first_query(pipeline, lambda: pipeline.sample(captions, 5.0, 2, latents=noise, seconds=SECONDS))


def test_a_converted_folder_queries_the_transformer_as_diffusers_pipeline_does(
    published_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, noise, captions = tmp_path / "teacher", torch.randn(2, 4, 12), ["a dog barks", "rain"]
    main(["convert", "stable-audio", str(published_folder), "--output", str(output)])
    assert f"written to {output}" in capsys.readouterr().out
    pipeline = TextToAudioPipeline.from_pretrained(output)
    assert pipeline.default_steps == 100
    assert not pipeline.sampler.one_query
    for name, part in parts().items():
        if isinstance(part, torch.nn.Module):
            converted = getattr(pipeline, name).state_dict()
            for key, tensor in part.state_dict().items():
                assert torch.equal(converted[key], tensor), f"{name}.{key}"
    ours, theirs = our_query(pipeline, captions, noise), their_query(published_folder, captions, noise)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)

    arguments = ["--model", str(output), "--steps", "2", "--output", str(tmp_path / "wav"), "--device", "cpu"]
    [file] = main(["generate", "a dog barks", *arguments])
    sound, rate = soundfile.read(file)
    assert (sound.shape, rate) == ((48, 2), 44100)
    assert sound.std() > 0


def test_the_published_folder_loads_as_it_is(published_folder: Path) -> None:
    pipeline, noise = TextToAudioPipeline.from_pretrained(published_folder), torch.randn(1, 4, 12)
    ours, theirs = our_query(pipeline, ["rain"], noise), their_query(published_folder, ["rain"], noise)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_text_encoder_can_be_left_out(published_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    main(["convert", "stable-audio", str(published_folder), "--output", str(output), "--without_text", "true"])
    assert TextToAudioPipeline.from_pretrained(output).text_encoder is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_at_full_size_every_name_and_shape_is_the_published_one(name: str) -> None:
    settings, millions = PUBLISHED[name]
    with torch.device("meta"):
        reference = NETWORKS[name](**settings).state_dict()
    config = settings | {"_class_name": NETWORKS[name].__name__, "_diffusers_version": "0.30.0.dev0"}
    made = network(name, config, reference, "x.safetensors")
    assert sum(tensor.numel() for tensor in made.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    first = next(iter(reference))
    with pytest.raises(ValueError, match=first):
        network(name, config, {key: value for key, value in reference.items() if key != first}, "x")
    with pytest.raises(ValueError, match=r"1 unexpected.*extra"):
        network(name, config, reference | {"extra": torch.ones(1)}, "x")


@pytest.mark.parametrize("component", ["scheduler", "tokenizer", "text_encoder", "vae", "transformer"])
def test_a_missing_component_is_named_and_nothing_written(
    component: str, published_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in published_folder.iterdir():
        if path.name != component:
            (source / path.name).symlink_to(path)
    with pytest.raises(SystemExit, match=component):
        main(["convert", "stable-audio", str(source), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_and_other_arguments_are_refused(published_folder: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "source", str(tmp_path / "out")
    (source / "vae").mkdir(parents=True)
    config = json.loads((published_folder / "vae" / "config.json").read_text())
    (source / "vae" / "config.json").write_text(json.dumps(config))
    weights = load_file(published_folder / "vae" / "diffusion_pytorch_model.safetensors")
    del weights["decoder.conv2.weight_v"]
    save_file(weights, source / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(SystemExit, match=r"decoder\.conv2\.weight_v"):
        main(["convert", "stable-audio", str(source), "--output", output])
    with pytest.raises(SystemExit, match="scale_factor"):
        main(["convert", "stable-audio", str(published_folder), "--output", output, "--scale_factor", "1"])
    file = str(published_folder / "model_index.json")
    with pytest.raises(SystemExit, match=r"model_index\.json"):
        main(["convert", "stable-audio", file, "--output", output])
