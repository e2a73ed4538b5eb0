"""Every recipe under lightning_configs/ is run end to end as its tiny twin: the file itself, with smaller numbers."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from consistency_tta.cli import main
from consistency_tta.cli.training_cli import TrainingCLI
from consistency_tta.components.backbones import unet as unet_backbone
from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.networks import autoencoder, clap, hifigan, unet
from consistency_tta.components.text import ByteTextEncoder
from consistency_tta.diffusion.schedules import stable_diffusion_scheduler
from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import (
    ConsistencyDistillation,
    DecodingConfig,
    Distillation,
    FullySharded,
    GradientCheckpointing,
    LoRA,
    Ramp,
    StudentConfig,
)
from consistency_tta.training.sharding import ShardedNetworks, size
from consistency_tta.training.shards import local
from tests.recordings import write_recordings
from tests.toys import TEXT, toy_parts

CONFIGS = Path(__file__).parent.parent / "lightning_configs"
SMALL_VAE = ["--model.vae.init_args.channels", "[8,8,8,8]", "--model.vae.init_args.latent_channels", "4"]
SMALL_VOCODER = ["--model.vocoder.init_args.channels", "16", "--model.vocoder.init_args.num_layers", "1"]
SMALL_DISCRIMINATOR = ["--model.losses.adversary.init_args.discriminator.init_args.channels", "4"]
SMALL_UNET = [
    *("--model.network.init_args.channels", "[8,8]", "--model.network.init_args.attention", "[false,true]"),
    *("--model.network.init_args.heads", "[1,1]", "--model.network.init_args.latent_channels", "4"),
    *("--model.network.init_args.norm_num_groups", "4", "--model.network.init_args.layers_per_block", "1"),
]
SMALL_CLAP = ["--model.clap.init_args.channels", "8", "--model.clap.init_args.text_width", "16"]
SMALL_TRAINER = [
    *("--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--data.num_workers", "0"),
]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight noisy clips with captions, in the layout of ESC-50's and AudioCaps' folders.

    The recipes' relative paths start here.
    """
    folder = write_recordings(tmp_path / "clips")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESC50", str(folder))
    monkeypatch.setenv("ESC10", str(folder))
    monkeypatch.setenv("AUDIOCAPS", str(folder))
    return folder


def fit(config: str, *overrides: str, overlays: tuple[str, ...] = ()) -> None:
    files = [part for name in (config, *overlays) for part in ("--config", str(CONFIGS / name))]
    main(["fit", *files, *SMALL_TRAINER, *overrides])


def encode(split: str, folder: Path, clips: Path) -> None:
    """What a user types between the third and the fourth recipe."""
    data = ["--data", "consistency_tta.datamodules.AudioCapsDataModule", "--data.num_samples", "5120"]
    for name in ("train", "val"):
        data += [f"--data.{name}_captions", str(clips / f"{name}.csv")]
    data += ["--data.audio_folder", str(clips / "audio"), "--data.batch_size", "2", "--data.num_workers", "0"]
    main(["encode", *data, "--model", "runs/tiny/perceptual/model", "--output", str(folder / split), "--split", split])


@pytest.mark.long
def test_the_tiny_recipes_run_one_after_another_and_the_students_make_sounds(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = ["--data.batch_size", "2", "--trainer.val_check_interval", "2"]
    short = [*latents, "--data.num_samples", "5120"]
    fit("tiny/autoencoder.yaml", *SMALL_VAE, *short)
    patches = ["--model.losses.modulation.init_args.patches", "[[16,16],[24,1]]"]
    fit("tiny/decoder.yaml", *SMALL_DISCRIMINATOR, *short, *patches, "--model.crop_frames", "24")
    fit("tiny/clap.yaml", *SMALL_CLAP, *latents)
    fit("tiny/perceptual.yaml", *SMALL_DISCRIMINATOR, *short, *patches, "--model.crop_frames", "24")
    patches += ["--model.losses.modulation_short.init_args.patches", "[[16,16],[24,1]]"]
    fit("tiny/vocoder.yaml", *SMALL_VOCODER, *short, *patches, "--model.crop_frames", "24")
    monkeypatch.setenv("LATENTS", str(tmp_path / "latents"))
    for split in ("train", "val"):
        encode(split, tmp_path / "latents", clips)
    fit("tiny/teacher.yaml", *SMALL_UNET, *latents, "--model.network.init_args.latent_size", "[4,8]")
    fit("tiny/guidance.yaml", *latents)
    consistency = "--model.objective.objectives.consistency.init_args"
    few = [*latents, f"{consistency}.num_discretization_steps", "4", f"{consistency}.teacher_steps", "2"]
    phases = ["--model.objective.weights.distribution.begin", "0", "--model.optimization.final_phase.begin", "1"]
    fit("tiny/consistency.yaml", *few, *phases)
    at_once = ["--model.objective.objectives.distribution.init_args.warmup_steps", "0"]
    fit("tiny/consistency.yaml", *few, *at_once, overlays=("tiny/full_guidance.yaml",))
    fit("tiny/audio.yaml", *latents, "--model.decoding.train_decoder", "true", "--model.decoding.crop_frames", "16")
    for name in ("consistency", "full_guidance", "audio"):
        student = str(tmp_path / f"runs/tiny/{name}/model")
        files = main(["generate", "a dog barks", "--model", student, "--num_samples", "2", "--output", f"out/{name}"])
        assert [soundfile.info(file).frames for file in files] == [32 * 160] * 2
        assert list((tmp_path / f"runs/tiny/{name}").rglob("sounds/*.wav"))
    encoder = TransformersClap(tmp_path / "runs/tiny/clap/model")
    similarity = encoder.embed(torch.randn(2, 16000), 16000) @ encoder.embed_text(["noise", "a dog"]).T
    assert similarity.shape == (2, 2)
    assert similarity.abs().max() <= 1.001
    assert list((tmp_path / "runs/tiny/clap").rglob("last.ckpt"))
    [log] = (tmp_path / "runs/tiny/audio").rglob("metrics.csv")
    diversity = {"val/metric/diversity", "val/metric/neighbours/coverage"}
    assert diversity | {"val/loss/distance", "val/loss/clap", "val/metric/clap", "val/guard/judge"} <= set(
        log.read_text().splitlines()[0].split(",")
    )


@pytest.fixture
def audioldm(tmp_path: Path) -> Path:
    """A toy with the full-size models' kinds of parts: HiFi-GAN and a text encoder from a folder."""
    parts = toy_parts()
    parts["vocoder"] = hifigan(n_mels=16, channels=32)
    TextToAudioPipeline(**parts).save_pretrained(tmp_path / "audioldm")
    parts["text_encoder"].save_pretrained(tmp_path / "text")
    parts["tokenizer"].save_pretrained(tmp_path / "text")
    return tmp_path / "audioldm"


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained CLAP for the recipes of stage 3."""
    clap(channels=8, text_width=16, depths=[1, 1], heads=[2, 4]).save_pretrained(tmp_path / "clap")
    monkeypatch.setenv("CLAP", str(tmp_path / "clap"))


SHORT = ["--data.num_samples", "5120", "--data.batch_size", "2", "--trainer.accumulate_grad_batches", "1"]


@pytest.mark.usefixtures("clips", "judge")
@pytest.mark.long
def test_the_audiocaps_recipes_run_as_tiny_twins(
    audioldm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", str(audioldm))
    text = ["--model.text_encoder.init_args.name", str(tmp_path / "text")]
    network = "--model.network.init_args"
    width = [f"{network}.text_width", str(TEXT["width"]), f"{network}.latent_size", "[8,4]"]
    fit("audiocaps/teacher.yaml", *SMALL_UNET, *text, *width, *SHORT)
    for stage in ("guidance", "consistency"):
        fit(f"audiocaps/{stage}.yaml", *SHORT)
    # What stands there as a comment is taken, too.
    recipe = (CONFIGS / "audiocaps/audio.yaml").read_text()
    (tmp_path / "audio.yaml").write_text(re.sub(r"^    # ((?:- |  ).*)$", r"    \1", recipe, flags=re.MULTILINE))
    clap(channels=8, text_width=16, depths=[1, 1], heads=[2, 4]).save_pretrained(tmp_path / "judge")
    monkeypatch.setenv("JUDGE", str(tmp_path / "judge"))
    fit(str(tmp_path / "audio.yaml"), *SHORT)
    for stage in ("guidance", "consistency", "audio"):
        assert list((tmp_path / "runs/audiocaps" / stage).rglob("loss_by_time/*.png"))
    folder = tmp_path / "runs/audiocaps/audio"
    [report] = folder.rglob("overfitting.json")
    assert json.loads(report.read_text())["networks_differ"]
    student = TextToAudioPipeline.from_pretrained(folder / "model")
    assert student.sampler.one_query
    assert student.scheduler.config.prediction_type == "sample"
    assert student("noise").waveform.shape == (1, 32 * 160)
    assert list(folder.rglob("events.out.tfevents*"))
    monkeypatch.setenv("STUDENT", str(folder / "model"))
    sizes = {"latent_channels": 4, "latent_bins": 4, "latent_width": 16, "channels": 16}
    small = [part for name, size in sizes.items() for part in (f"--model.decoder.init_args.{name}", str(size))]
    fit("audiocaps/light_decoder.yaml", *small, *SMALL_DISCRIMINATOR, *SHORT, "--model.crop_frames", "28")
    light = TextToAudioPipeline.from_pretrained(tmp_path / "runs/audiocaps/light_decoder/model")
    assert light("noise").waveform.shape == (1, 32 * 160)


@pytest.mark.usefixtures("clips", "judge")
@pytest.mark.long
def test_what_is_laid_over_the_audiocaps_recipes_runs_as_tiny_twins(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER", str(teacher_folder))
    fit("audiocaps/guidance.yaml", *SHORT, overlays=("tango_full/guidance.yaml",))
    fit("audiocaps/consistency.yaml", *SHORT, overlays=("tango_full/consistency.yaml", "audiocaps/corrected.yaml"))
    fit("audiocaps/audio.yaml", *SHORT, overlays=("tango_full/audio.yaml", "audiocaps/corrected_audio.yaml"))
    student = TextToAudioPipeline.from_pretrained(tmp_path / "runs/tango_full/audio/model")
    assert student.sampler.one_query
    assert student.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.long
@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize("name", ["mel", "stft"])
def test_mixtures_with_losses_of_sound_run_as_tiny_twins(
    name: str, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER", str(teacher_folder))
    monkeypatch.setenv("STUDENT", str(teacher_folder))
    logger = ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", str(tmp_path)]
    overlay = ["--config", str(CONFIGS / f"audiocaps/{name}.yaml")]
    fit("audiocaps/consistency.yaml", *overlay, *SHORT, *logger, "--trainer.log_every_n_steps", "1")
    [log] = tmp_path.rglob("metrics.csv")
    row = next(row for row in csv.DictReader(log.open()) if row["train/loss"])  # others have the learning rate
    weights = {"mel": (0.7, 0.3), "stft": (0.8, 0.1)}[name]
    parts = [float(row[f"train/loss/{loss}"]) for loss in ("latent", name)]
    assert TextToAudioPipeline.from_pretrained(tmp_path / f"runs/audiocaps/{name}/model").sampler.one_query
    assert min(parts) > 0
    # The latent loss is also weighted by noise, and Min-SNR is between 0 and 5.
    assert weights[1] * parts[1] <= float(row["train/loss"]) <= 5 * weights[0] * parts[0] + weights[1] * parts[1]


@pytest.mark.parametrize("config", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_are_short(config: Path) -> None:
    assert len(config.read_text().splitlines()) <= 90
    content = yaml.safe_load(config.read_text())
    if config.parent.name != "cluster" or "model" in content:
        assert content["model"]["class_path"].startswith("consistency_tta.")


def test_the_full_size_u_net_is_tangos() -> None:
    """866 million parameters (Ghosal et al., 2023, table 1), without allocating them."""
    recipe = yaml.safe_load((CONFIGS / "audiocaps/teacher.yaml").read_text())
    with torch.device("meta"):
        network = unet(**recipe["model"]["init_args"]["network"]["init_args"])
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == 866


def full_size(monkeypatch: pytest.MonkeyPatch, widths: list[int]) -> None:
    """Any folder that is loaded is a model of the full size, with weights that take no memory; so are students."""
    with torch.device("meta"):
        network = unet(channels=widths)
        parts = {"vae": autoencoder(), "vocoder": hifigan(), "mel": MelSpectrogram()}
    text = ByteTextEncoder(width=1024, num_layers=1, num_heads=1)
    scheduler = stable_diffusion_scheduler()
    folder = TextToAudioPipeline(
        unet=network, scheduler=scheduler, text_encoder=text.encoder, tokenizer=text.tokenizer, **parts
    )
    monkeypatch.setattr(TextToAudioPipeline, "from_pretrained", lambda *_: folder)
    real = unet_backbone.widen_unet

    def on_meta(*arguments: Any) -> Any:
        with torch.device("meta"):
            return real(*arguments)

    monkeypatch.setattr(unet_backbone, "widen_unet", on_meta)


def is_full_size(stage: Any, millions: int) -> bool:
    """Whether a student has so many parameters, on no device, adapters and guidance layers not counted."""
    assert {parameter.device.type for parameter in stage.trainable().parameters()} == {"meta"}
    total = sum(parameter.numel() for name, parameter in stage.student.named_parameters() if "lora" not in name)
    return round(total / 1e6) == pytest.approx(millions, abs=2)


@pytest.mark.usefixtures("clips", "judge")
@pytest.mark.parametrize(
    ("recipes", "millions"),
    [
        (["audiocaps/guidance", "cluster/ddp"], 557),
        (["audiocaps/consistency", "cluster/card24gb"], 557),
        (["audiocaps/consistency", "cluster/low_memory"], 557),
        (["audiocaps/consistency", "audiocaps/mel"], 557),
        (["audiocaps/consistency", "audiocaps/stft"], 557),
        (["audiocaps/consistency", "audiocaps/corrected"], 557),
        (["audiocaps/audio"], 557),
        (["audiocaps/audio", "audiocaps/corrected_audio"], 557),
        (["audiocaps/guidance", "tango_full/guidance", "cluster/fsdp2", "cluster/multi_node"], 866),
        (["audiocaps/consistency", "tango_full/consistency", "audiocaps/corrected"], 866),
        (["audiocaps/audio", "tango_full/audio"], 866),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else str(value),
)
def test_the_recipes_are_built_at_full_size(recipes: list[str], millions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    full_size(monkeypatch, [320, 640, 1280, 1280] if millions == 866 else [256, 512, 1024, 1024])
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda *_: None)  # which refuses what trains nothing
    files = [part for recipe in recipes for part in ("--config", str(CONFIGS / f"{recipe}.yaml"))]
    run: Any = main(["fit", *files, "--trainer.accelerator", "cpu", "--trainer.devices", "1"])
    assert is_full_size(run.model, millions)
    assert run.datamodule.num_samples == 163840
    # What the overlays of cluster/ set.
    expected = {"cluster/ddp": DDPStrategy, "cluster/fsdp2": FullySharded}
    assert all(isinstance(run.trainer.strategy, expected[name]) for name in expected.keys() & set(recipes))
    checkpointing = any(isinstance(callback, GradientCheckpointing) for callback in run.trainer.callbacks)
    assert checkpointing == ("cluster/low_memory" in recipes)
    assert run.trainer.num_nodes == (4 if "cluster/multi_node" in recipes else 1)
    if "cluster/fsdp2" in recipes:
        assert size(run.model.student) == pytest.approx(8 * one_of_eight(run.model), rel=0.02)


def one_of_eight(training: Any) -> int:
    """Parameters of the student in one of eight processes, which exist only for their numbers."""
    if torch.distributed.is_initialized():  # Lightning leaves the group of an earlier test
        torch.distributed.destroy_process_group()
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=3, world_size=8)
    try:
        ShardedNetworks(training, init_device_mesh("cpu", (8,)), shard_frozen=True)
        return sum(local(parameter).numel() for parameter in training.student.parameters())
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("stage", "examples"), [("guidance", 96), ("consistency", 45), ("audio", 45)])
@pytest.mark.parametrize("folder", ["audiocaps", "tango_full"])
def test_a_step_has_as_many_examples_as_the_published_one(folder: str, stage: str, examples: int) -> None:
    """Two, one and one devices with batches of 4, 6 and 2 clips and half as many mixtures, of 8, 5 and 15 batches."""
    trainer: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for file in dict.fromkeys((CONFIGS / "audiocaps" / f"{stage}.yaml", CONFIGS / folder / f"{stage}.yaml")):
        config = yaml.safe_load(file.read_text())
        trainer |= config["trainer"]
        data |= config["data"]["init_args"]
    assert trainer["devices"] * data["batch_size"] * trainer["accumulate_grad_batches"] == examples
    assert data["pair_mixing"] == pytest.approx(1 / 3, abs=1e-3)


def test_an_adapter_of_the_full_size_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    full_size(monkeypatch, [256, 512, 1024, 1024])
    losses = {"latent": LatentL2Loss(), "mel": MelL2Loss()}
    stage = Distillation(
        "it", ConsistencyDistillation(), losses, None, StudentConfig(lora=LoRA()), DecodingConfig(train_decoder=True)
    )
    assert is_full_size(stage, 557)
    adapter = sum(p.numel() for name, p in stage.student.named_parameters() if "lora" in name)
    assert 0.01 < adapter / 557e6 < 0.05


def test_the_readme_has_the_number_of_gpus_that_the_recipes_ask_for() -> None:
    names = ("teacher", "guidance", "consistency", "audio")
    recipes = {name: yaml.safe_load((CONFIGS / "audiocaps" / f"{name}.yaml").read_text()) for name in names}
    devices = {name: recipe["trainer"]["devices"] for name, recipe in recipes.items()}
    readme = (CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    [teacher] = re.findall(r"^\| `audiocaps/teacher\.yaml` \|.* on (\d+) GPUs", readme, re.MULTILINE)
    [stages] = re.findall(r"^\| `audiocaps/\{guidance,consistency,audio\}.*, on (.*) GPUs", readme, re.MULTILINE)
    assert dict(zip(names, map(int, [teacher, *re.findall(r"\d+", stages)]), strict=True)) == devices


@pytest.mark.parametrize("name", ["tiny/consistency", "audiocaps/corrected"])
def test_the_whole_guidance_begins_with_the_last_phase(name: str) -> None:
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    settings = content["model"]["init_args"]
    begin = settings["optimization"]["final_phase"]["begin"]
    share = Ramp(**settings["objective"]["init_args"]["objectives"]["distribution"]["init_args"]["guidance_share"])
    assert (share(begin - 1), share(begin)) == (0.7, 1.0)
    assert Ramp(**settings["objective"]["init_args"]["weights"]["distribution"])(begin) == 3.0
    assert content["trainer"].get("max_steps", begin + 1) > begin
