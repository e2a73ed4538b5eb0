"""Metrics at validations: on the same sounds every time, on any number of processes; training is unchanged."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from consistency_tta.audio.resample import resample
from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.datamodules import LatentsDataModule
from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SoftmaxDivergence
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance, frechet_distance
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.lsd import LogSpectralDistance
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, DataError, ModelFolderError
from consistency_tta.storage.shards import write_shard
from consistency_tta.training import LogSounds, SoundMetrics
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling
from consistency_tta.training.callbacks.reference import check_reference
from tests.meta_device import META
from tests.toy_encoder import ToyEncoder
from tests.toys import stereo_parts, toy_parts
from tests.training.callbacks.test_sound_evaluation import PIPELINE, run_of
from tests.training.runs import MAKERS, Losses, data, trainer

CAPTIONS = ["10", "80", "200"]  # which a ToyEncoder reads as angles


class ToyEmbedder(AudioEncoder):
    """Loudness and roughness of each half of a sound."""

    name, sample_rate, num_features, checksum = "toy", 16000, 2, "toy"

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return self.embed_windows(waveform, sample_rate).vectors.mean(1)

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        waveform = resample(waveform, sample_rate, self.sample_rate)
        halves = torch.stack(waveform[:, : waveform.shape[1] // 2 * 2].chunk(2, dim=1), dim=1)
        vectors = torch.stack([halves.square().mean(2), halves.diff(dim=2).square().mean(2)], dim=2).sqrt()
        return AudioEmbedding(vectors, vectors.mean(1))


class Drawn(Metric):
    """A metric that draws random numbers, as one on random subsets does."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, waveform: Tensor) -> None:
        self.total += torch.rand(len(waveform)).sum()

    def compute(self) -> Tensor:
        return self.total + torch.rand(())


class Given(Metric):
    """Values given beforehand, in turn."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = list(values)

    def update(self, captions: list[str]) -> None:
        pass

    def compute(self) -> Tensor:
        return torch.tensor(self.values.pop(0), dtype=torch.float64)


def fit(teacher: Path, folder: Path, *callbacks: Any, name: str = "distillation", **kwargs: Any) -> tuple[Any, Trainer]:
    torch.manual_seed(0)
    module = MAKERS[name](teacher, seed=0)
    settings: dict[str, Any] = {"max_steps": 4, "limit_val_batches": 1, "val_check_interval": 2}
    run = trainer(folder, callbacks=list(callbacks), **(settings | kwargs))
    run.fit(module, data(num_clips=16))
    return module, run


class Values(Losses):
    """What was logged by each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[dict[str, float]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/metric")}
        self.logged.append(found)


def test_training_is_left_bit_for_bit_and_sounds_are_those_of_the_average(teacher_folder: Path, tmp_path: Path) -> None:
    metrics = {"clap": CLAPScore(ToyEncoder()), "drawn": Drawn()}
    with_metrics, values = Losses(), Values()
    callback = SoundMetrics(metrics, CAPTIONS, sampling=PromptSampling(num_samples=2, batch_size=4, seed=3))
    module, _ = fit(teacher_folder, tmp_path, with_metrics, callback, values)
    without = Losses()
    plain, _ = fit(teacher_folder, tmp_path, without, limit_val_batches=0)
    assert with_metrics.values == without.values
    state = plain.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    # The last validation saw the weights that are exported, and the noise of `consistency-tta generate`.
    score, pipeline = CLAPScore(ToyEncoder()), module.pipeline()
    for index, caption in enumerate(CAPTIONS):
        for sample in range(2):
            entropy = int(np.random.SeedSequence((3, index, sample)).generate_state(1, np.uint64)[0] >> 1)
            made = pipeline(caption, 3.0, generator=torch.Generator().manual_seed(entropy))
            score.update(made.waveform, [caption], made.sample_rate)
    first, last = values.logged
    assert last["val/metric/clap"] == pytest.approx(float(score.compute()), abs=1e-4)
    assert first["val/metric/clap"] != last["val/metric/clap"]
    assert first["val/metric/drawn"] == last["val/metric/drawn"]


def test_the_best_checkpoint_by_a_metric_is_kept(teacher_folder: Path, tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, "{step}", monitor="val/metric/given", mode="max")
    callback = SoundMetrics({"given": Given(0.1, 0.7, 0.4)}, CAPTIONS)
    fit(teacher_folder, tmp_path, callback, best, max_steps=6, enable_checkpointing=True)
    assert Path(best.best_model_path).name == "step=4.ckpt"
    assert float(best.best_model_score) == pytest.approx(0.7)


def write_reference(folder: Path) -> list[Tensor]:
    torch.manual_seed(5)
    (folder / "deep").mkdir(parents=True)
    waveforms = [0.2 * torch.randn(4000 + 1000 * index) for index in range(4)]
    for index, waveform in enumerate(waveforms):
        soundfile.write(folder / "deep" / f"{index}.wav", waveform.numpy(), 16000, subtype="FLOAT")
    return waveforms


def test_sets_of_vectors_are_compared_with_recordings(teacher_folder: Path, tmp_path: Path) -> None:
    embedder, values = ToyEmbedder(), Values()
    recordings = write_reference(tmp_path / "real")
    real = torch.cat([embedder.embed_windows(waveform[None], 16000).vectors[0] for waveform in recordings])
    save_file({"vectors": real}, tmp_path / "real.safetensors")
    for reference in ("real", "real.safetensors"):
        metrics = {"frechet": FrechetDistance(2), "diversity": PromptDiversity()}
        settings = {"embedder": embedder, "reference": str(tmp_path / reference)}
        settings["sampling"] = PromptSampling(num_samples=2)
        module, _ = fit(teacher_folder, tmp_path, SoundMetrics(metrics, CAPTIONS, **settings), values)
    made = [s.waveform for s in FixedPrompts(CAPTIONS, PromptSampling(num_samples=2)).sounds(module.pipeline())]
    vectors = embedder.embed_windows(torch.cat(made), 16000).vectors
    generated = vectors.flatten(0, 1)
    expected = frechet_distance(generated.mean(0), generated.T.cov(), real.mean(0), real.T.cov())
    pairs = vectors.mean(1).reshape(3, 2, 2)
    assert values.logged[1]["val/metric/frechet"] == pytest.approx(float(expected), rel=1e-4)
    assert values.logged[3] == values.logged[1]
    distance = (pairs[:, 0] - pairs[:, 1]).norm(dim=1).mean()
    assert values.logged[1]["val/metric/diversity"] == pytest.approx(float(distance), rel=1e-4)


def test_a_reference_that_cannot_be_embedded_is_refused_before_training(teacher_folder: Path, tmp_path: Path) -> None:
    write_reference(tmp_path / "real")
    (tmp_path / "real" / "empty.wav").touch()
    save_file({"vectors": torch.zeros(3, 5)}, tmp_path / "other.safetensors")
    for reference, message in (("real", "empty.wav"), ("other.safetensors", "other.safetensors")):
        losses, settings = Losses(), {"embedder": ToyEmbedder(), "reference": str(tmp_path / reference)}
        with pytest.raises(ValueError, match=message):
            fit(teacher_folder, tmp_path, losses, SoundMetrics({"fd": FrechetDistance(2)}, CAPTIONS, **settings))
        assert losses.values == []
    (tmp_path / "real" / "empty.wav").unlink()
    embedder = ToyEmbedder()
    embedder.min_samples = 5000  # the recordings have 4000
    with pytest.raises(ValueError, match=r"deep/0\.wav"):
        check_reference(str(tmp_path / "real"), embedder)


def test_each_number_of_a_metric_with_several_is_logged(teacher_folder: Path, tmp_path: Path) -> None:
    write_reference(tmp_path / "real")
    values, settings = Values(), {"embedder": ToyEmbedder(), "reference": str(tmp_path / "real")}
    metrics = {"neighbours": Coverage(2, nearest=1), "inception": InceptionScore(2, splits=1)}
    fit(teacher_folder, tmp_path, SoundMetrics(metrics, CAPTIONS, **settings), values)
    several = {"neighbours": ("precision", "recall", "density", "coverage"), "inception": ("mean", "std")}
    expected = {f"val/metric/{name}/{key}" for name, keys in several.items() for key in keys}
    assert {name for name in values.logged[1] if name.startswith("val/metric/")} == expected
    assert values.logged[1]["val/metric/inception/mean"] >= 1


@pytest.mark.long
def test_two_processes_log_the_values_of_one(teacher_folder: Path, tmp_path: Path) -> None:
    """Logged by CSVLogger, whose folder only the first process knows, while another callback writes there."""
    write_reference(tmp_path / "real")
    logged = []
    for devices in (1, 2):
        metrics = {"clap": CLAPScore(ToyEncoder()), "frechet": FrechetDistance(2)}
        settings = {"embedder": ToyEmbedder(), "reference": str(tmp_path / "real")}
        settings["sampling"] = PromptSampling(num_samples=3)
        torch.manual_seed(0)
        run = trainer(
            tmp_path,
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            logger=CSVLogger(tmp_path, "csv", str(devices)),
            limit_val_batches=1,
            callbacks=[SoundMetrics(metrics, CAPTIONS, **settings), LogSounds(1)],
        )
        run.validate(MAKERS["distillation"](teacher_folder), data(num_clips=16), verbose=False)
        assert len(list((tmp_path / "csv" / str(devices) / "sounds").iterdir())) == 3  # student, teacher, recording
        logged.append({key: float(value) for key, value in run.callback_metrics.items() if "metric" in key})
    assert logged[0].keys() == {"val/metric/clap", "val/metric/frechet"}
    assert logged[1] == pytest.approx(logged[0], rel=1e-4)


def test_captions_are_the_validation_sets_first(teacher_folder: Path, tmp_path: Path) -> None:
    class CaptionList(Metric):
        captions: list[str] = []  # noqa: RUF012  # filled by the test

        def update(self, captions: list[str], prompts: Tensor) -> None:
            self.captions.extend(captions)

        def compute(self) -> Tensor:
            return torch.tensor(0.0)

    fit(
        teacher_folder,
        tmp_path,
        SoundMetrics({"captions": CaptionList()}, 3, every_n_validations=2),
        num_sanity_val_steps=1,
    )
    assert CaptionList.captions == ["a low tone", "a tone", "a high tone"]  # once, at the first of two validations


def test_pairs_are_the_validation_sets_recordings_and_the_sounds_of_their_captions(
    teacher_folder: Path, tmp_path: Path
) -> None:
    def metrics() -> dict[str, Metric]:
        return {"lsd": LogSpectralDistance(16000), "clap": CLAPAudioScore(ToyEncoder()), "kl": SoftmaxDivergence()}

    values, own, embedder, embedded = Values(), metrics(), ToyEmbedder(), []
    embed = embedder.embed_windows
    embedder.embed_windows = lambda waveform, rate: (embedded.append(len(waveform)), embed(waveform, rate))[1]
    sampling = PromptSampling(num_samples=2, batch_size=4, seed=3)
    module, _ = fit(teacher_folder, tmp_path, SoundMetrics(metrics(), 3, embedder, sampling=sampling), values)
    assert sum(embedded) == 2 * 6 + 3  # all sounds at both validations, each recording once
    held = data(num_clips=16)
    recordings = held.collate([held.val_dataset[index] for index in range(3)])
    for sounds in FixedPrompts(recordings.captions, sampling).sounds(module.pipeline()):
        real = recordings.waveform[sounds.prompts]
        made = sounds.waveform[:, : real.shape[1]]
        own["lsd"].update(made, real)
        own["clap"].update(made, real, 16000)
        logits = [ToyEmbedder().embed_windows(sound, 16000).logits for sound in (sounds.waveform, real)]
        own["kl"].update(*logits)
    for name, metric in own.items():
        assert values.logged[-1][f"val/metric/{name}"] == pytest.approx(float(metric.compute()), rel=1e-4)


def test_pairs_need_recordings(teacher_folder: Path, tmp_path: Path) -> None:
    pairs = {"lsd": LogSpectralDistance(16000)}
    with pytest.raises(ConfigurationError, match="lsd"):
        SoundMetrics(pairs, CAPTIONS)
    with pytest.raises(ConfigurationError, match="kl"):
        SoundMetrics({"kl": SoftmaxDivergence()}, 2)
    write_shard(tmp_path / "latents", 0, torch.randn(4, 8, 8, 4), ["a dog"] * 4, list("abcd"))
    latents = LatentsDataModule(str(tmp_path / "latents"), str(tmp_path / "latents"), batch_size=2)
    run = trainer(tmp_path, callbacks=[SoundMetrics(pairs, 2)], limit_val_batches=1)
    with pytest.raises(ConfigurationError, match="lsd"):
        run.validate(MAKERS["distillation"](teacher_folder), latents, verbose=False)


def test_a_metric_that_cannot_be_computed_is_named(teacher_folder: Path, tmp_path: Path) -> None:
    clap = {"clap": CLAPScore(ToyEncoder())}
    with pytest.raises(ConfigurationError, match="fd"):
        SoundMetrics({"fd": FrechetDistance(2)})
    with pytest.raises(ConfigurationError, match="fd"):
        SoundMetrics({"fd": FrechetDistance(2)}, embedder=ToyEmbedder())
    with pytest.raises(ConfigurationError, match="mean"):
        SoundMetrics({"mean": MeanMetric()})
    with pytest.raises(ConfigurationError, match="pair"):
        fit(teacher_folder, tmp_path, SoundMetrics({"pair": Given([1.0, 2.0])}, 1))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="num_samples"):
        SoundMetrics(clap, sampling=PromptSampling(num_samples=0))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        SoundMetrics(clap, "nowhere.txt")
    with pytest.raises(ModelFolderError, match="text_encoder"):
        fit(teacher_folder, tmp_path, SoundMetrics(clap), name="autoencoder")
    with pytest.warns(UserWarning, match="SoundMetrics"):
        fit(teacher_folder, tmp_path, SoundMetrics(clap), limit_val_batches=0)
    save_file({"vectors": torch.zeros(3, 5)}, tmp_path / "other.safetensors")
    for reference in ("other.safetensors", "empty"):
        callback = SoundMetrics({"fd": FrechetDistance(2)}, 2, ToyEmbedder(), str(tmp_path / reference))
        with pytest.raises((DataError, FileNotFoundError), match=reference):
            fit(teacher_folder, tmp_path, callback)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("num_samples", {"sampling": PromptSampling(num_samples=0)}),
        ("batch_size", {"sampling": PromptSampling(batch_size=0)}),
        ("steps", {"sampling": PromptSampling(steps=0)}),
        ("every_n_validations", {"every_n_validations": 0}),
        ("captions", {"captions": 0}),
        ("metrics or a guard", {"metrics": {}}),
        ("", {"captions": 1, "sampling": PromptSampling(steps=1, batch_size=1)}),
        ("", {"metrics": {}, "guard": SimpleNamespace()}),
    ],
)
def test_numbers_below_one_are_refused_by_name(name: str, options: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"metrics": {"clap": CLAPScore(ToyEncoder())}, "captions": CAPTIONS}
    with pytest.raises(ConfigurationError, match=name) if name else nullcontext():
        SoundMetrics(**(settings | options))


@pytest.fixture
def module(teacher_folder: Path) -> Any:
    return MAKERS["diffusion"](teacher_folder)


def without(parts: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if name not in names}


@pytest.mark.parametrize("missing", ["vae", "text_encoder", "tokenizer", "unet", "scheduler", "vocoder"])
def test_a_model_without_a_part_that_makes_sound_is_refused_before_training(
    missing: str, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pipeline", lambda: TextToAudioPipeline(**without(toy_parts(), missing)))
    with pytest.raises(ModelFolderError, match=missing):
        SoundMetrics({"clap": CLAPScore(ToyEncoder())}).setup(trainer(Path()), module, "fit")


def test_a_codec_of_waveforms_needs_no_vocoder(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pipeline", lambda: TextToAudioPipeline(**stereo_parts()))
    SoundMetrics({"clap": CLAPScore(ToyEncoder())}).setup(trainer(Path()), module, "fit")


def test_a_training_that_makes_no_sound_is_refused(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = SoundMetrics({"clap": CLAPScore(ToyEncoder())})
    with pytest.raises(ConfigurationError, match="LightningModule"):
        callback.setup(trainer(Path()), LightningModule(), "fit")
    monkeypatch.setattr(module, "pipeline", SimpleNamespace)  # as a training of a CLAP has one that is none of sounds
    with pytest.raises(ConfigurationError, match="LatentDiffusion"):
        callback.setup(trainer(Path()), module, "fit")


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_the_reference_is_looked_at_where_there_are_validations_and_the_guard_always(stage: str, module: Any) -> None:
    attached: list[Any] = []
    guard: Any = SimpleNamespace(attach=attached.append)
    settings: dict[str, Any] = {"embedder": ToyEmbedder(), "guard": guard}
    callback = SoundMetrics({"fd": FrechetDistance(2)}, CAPTIONS, reference="nowhere", **settings)
    with pytest.raises(FileNotFoundError, match="nowhere") if stage in ("fit", "validate") else nullcontext():
        callback.setup(trainer(Path()), module, stage)
    assert attached == ([] if stage in ("fit", "validate") else [module])
    for reference, embedder in (("validation", ToyEmbedder()), ("nowhere", None), (None, ToyEmbedder())):
        kinds = {"fd": FrechetDistance(2)} if embedder and reference else {"clap": CLAPScore(ToyEncoder())}
        SoundMetrics(kinds, CAPTIONS, embedder, reference).setup(trainer(Path()), module, stage)


@pytest.mark.parametrize("validates", [True, False])
def test_a_run_without_validations_is_warned_of(validates: bool, recwarn: pytest.WarningsRecorder) -> None:
    run: Any = SimpleNamespace(enable_validation=validates)
    SoundMetrics({"clap": CLAPScore(ToyEncoder())}).on_fit_start(run, LightningModule())
    assert bool([warning for warning in recwarn if "SoundMetrics" in str(warning.message)]) != validates


class Watching:
    """A guard that notes what it is given."""

    def __init__(self) -> None:
        self.sounds: list[int] = []
        self.concluded = 0

    def update(self, waveform: Tensor, sounds: Any) -> None:
        self.sounds.append(len(sounds.captions))

    def compute_and_log(self, trainer: Any, module: LightningModule) -> None:
        assert isinstance(module, LightningModule)
        self.concluded += 1

    def state_dict(self) -> dict[str, Any]:
        return {"concluded": self.concluded}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.concluded = state_dict["concluded"]


@pytest.mark.parametrize("watched", [False, True])
def test_the_first_and_every_nth_validation_is_logged(
    watched: bool, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alike in all processes, in float32, on the device; not the sanity check. A resumed run goes on counting."""
    logged: list[tuple[str, float, torch.dtype, dict[str, Any]]] = []
    monkeypatch.setattr(
        module, "log", lambda name, value, **options: logged.append((name, float(value), value.dtype, options))
    )
    monkeypatch.setattr(module, "pipeline", lambda: PIPELINE)
    run = run_of()

    def callback() -> SoundMetrics:
        guard: Any = Watching() if watched else None
        return SoundMetrics({"given": Given(0.25, 0.5, 0.75)}, CAPTIONS, guard=guard, every_n_validations=3)

    metrics, computed = callback(), []
    for number in range(5):
        run.sanity_checking = number == 0
        metrics.on_validation_epoch_end(run, module)
        computed.append(metrics.computed)
    assert computed == [False, True, False, False, True]
    expected = ("val/metric/given", torch.float32, {"sync_dist": True})
    assert [(name, dtype, options) for name, _, dtype, options in logged] == [expected] * 2
    assert [value for _, value, _, _ in logged] == [0.25, 0.5]
    resumed = callback()
    resumed.load_state_dict(metrics.state_dict())
    resumed.on_validation_epoch_end(run, module)
    assert not resumed.computed
    if watched:
        assert (metrics.guard.sounds, metrics.guard.concluded) == ([3, 3], 2)
        assert resumed.guard.concluded == 2


def test_a_run_may_go_on_with_a_guard_that_it_did_not_have_or_without_it() -> None:
    guarded: Any = Watching()
    guarded.concluded = 5
    with_guard, plain = (SoundMetrics({"given": Given()}, CAPTIONS, guard=guard) for guard in (guarded, None))
    states = with_guard.state_dict(), plain.state_dict()
    plain.load_state_dict(states[0])
    with_guard.load_state_dict(states[1])
    assert guarded.concluded == 5


def test_values_are_logged_on_the_modules_device(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Tensor] = []
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.append(value))
    monkeypatch.setattr(module, "pipeline", lambda: PIPELINE)
    monkeypatch.setattr(type(module), "device", META)
    run = run_of()
    run.sanity_checking = False
    SoundMetrics({"given": Given(0.25)}, CAPTIONS).on_validation_epoch_end(run, module)
    assert logged[0].is_meta
