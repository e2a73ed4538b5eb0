"""Every recipe under lightning_configs/ is run end to end as its tiny twin: the file itself, with smaller numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from consistency_tta.cli import main
from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.networks import hifigan, unet
from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import TEXT, toy_parts

CONFIGS = Path(__file__).parent.parent / "lightning_configs"
SMALL_VAE = ["--model.vae.init_args.channels", "[8,8,8,8]", "--model.vae.init_args.latent_channels", "4"]
SMALL_VOCODER = ["--model.vocoder.init_args.channels", "16", "--model.vocoder.init_args.num_layers", "1"]
SMALL_UNET = [
    *("--model.unet.init_args.channels", "[8,8]", "--model.unet.init_args.attention", "[false,true]"),
    *("--model.unet.init_args.heads", "[1,1]", "--model.unet.init_args.latent_channels", "4"),
    *("--model.unet.init_args.norm_num_groups", "4", "--model.unet.init_args.layers_per_block", "1"),
]
SMALL_TRAINER = [
    *("--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--data.num_workers", "0"),
]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six noisy clips with captions, in the layout of ESC-50's and AudioCaps' folders.

    The recipes' relative paths start here.
    """
    folder = tmp_path / "clips"
    (folder / "audio").mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, number in {"train": 4, "val": 2}.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["audiocap_id", "youtube_id", "start_time", "caption"])
            for index in range(number):
                writer.writerow([index, f"{split}{index}", 0, f"Noise number {index}"])
                sound = 0.1 * random.standard_normal(16000)
                soundfile.write(folder / "audio" / f"{split}{index}.wav", sound, 16000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESC50", str(folder))
    monkeypatch.setenv("ESC10", str(folder))
    monkeypatch.setenv("ESC10", str(folder))
    monkeypatch.setenv("AUDIOCAPS", str(folder))
    return folder


def fit(config: str, *overrides: str) -> None:
    main(["fit", "--config", str(CONFIGS / config), *SMALL_TRAINER, *overrides])


def test_the_tiny_recipes_run_one_after_another_and_the_student_speaks(clips: Path, tmp_path: Path) -> None:
    short = ["--data.num_samples", "5120", "--data.batch_size", "2", "--trainer.val_check_interval", "2"]
    fit("tiny/autoencoder.yaml", *SMALL_VAE, *short)
    fit("tiny/vocoder.yaml", *SMALL_VOCODER, *short, "--model.crop_frames", "24")
    fit("tiny/teacher.yaml", *SMALL_UNET, *short, "--model.unet.init_args.latent_size", "[4,8]")
    fit("tiny/consistency.yaml", *short)
    student = str(tmp_path / "runs/tiny/consistency/model")
    files = main(["generate", "a dog barks", "--model", student, "--num_samples", "2", "--output", "out"])
    assert [soundfile.info(file).frames for file in files] == [32 * 160] * 2
    assert list((tmp_path / "runs/tiny/consistency").rglob("sounds/*.wav"))


def test_the_tiny_clap_recipe_runs_and_its_folder_loads(clips: Path, tmp_path: Path) -> None:
    small = ["--model.clap.init_args.channels", "8", "--model.clap.init_args.text_width", "16"]
    fit("tiny/clap.yaml", *small, "--data.batch_size", "2", "--trainer.val_check_interval", "2")
    encoder = TransformersClap(tmp_path / "runs/tiny/clap/model")
    similarity = encoder.embed_audio(torch.randn(2, 16000)) @ encoder.embed_text(["noise", "a dog"]).T
    assert similarity.shape == (2, 2)
    assert similarity.abs().max() <= 1.001
    assert list((tmp_path / "runs/tiny/clap").rglob("last.ckpt"))


@pytest.fixture
def audioldm(tmp_path: Path) -> Path:
    """A toy with the full-size models' kinds of parts: HiFi-GAN and a text encoder from a folder."""
    parts = toy_parts()
    parts["vocoder"] = hifigan(n_mels=16, channels=32)
    TextToAudioPipeline(**parts).save_pretrained(tmp_path / "audioldm")
    parts["text_encoder"].save_pretrained(tmp_path / "text")
    parts["tokenizer"].save_pretrained(tmp_path / "text")
    return tmp_path / "audioldm"


def test_the_audiocaps_recipes_run_as_tiny_twins(
    clips: Path, audioldm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", str(audioldm))
    short = ["--data.num_samples", "5120", "--data.batch_size", "2", "--trainer.accumulate_grad_batches", "1"]
    text = ["--model.text_encoder.init_args.name", str(tmp_path / "text")]
    width = ["--model.unet.init_args.text_width", str(TEXT["width"]), "--model.unet.init_args.latent_size", "[8,4]"]
    fit("audiocaps/teacher.yaml", *SMALL_UNET, *text, *width, *short)
    fit("audiocaps/consistency.yaml", *short)
    folder = tmp_path / "runs/audiocaps/consistency"
    student = TextToAudioPipeline.from_pretrained(folder / "model")
    assert student.config["distilled"]
    assert student("noise").waveform.shape == (1, 32 * 160)
    assert list(folder.rglob("events.out.tfevents*"))


@pytest.mark.parametrize("config", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_are_short(config: Path) -> None:
    assert len(config.read_text().splitlines()) <= 90
    assert yaml.safe_load(config.read_text())["model"]["class_path"].startswith("consistency_tta.")


def test_the_full_size_u_net_is_tangos() -> None:
    """866 million parameters (Ghosal et al., 2023, table 1), without allocating them."""
    with torch.device("meta"):
        network = unet()
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == 866
