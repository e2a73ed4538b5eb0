"""Training with constraints: which weights are exported, when it stops, references, and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.metrics.clap import CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import BestUnderConstraints, Constraint, ExportFolder, SoundMetrics
from consistency_tta.training.callbacks.kept_weights import exported_state, replaced_state
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling
from tests.toy_encoder import ToyEncoder
from tests.training.callbacks.test_sound_metrics import CAPTIONS, Given, ToyEmbedder
from tests.training.runs import MAKERS, data, distillation, equal, trainer

SCORE, DIVERSITY = "val/score", "val/diversity"


class Script(Callback):
    """Logs values given by step, and copies the averages of each validation."""

    def __init__(self, values: dict[int, tuple[float, float]]) -> None:
        self.values = values
        self.averages: dict[int, dict[str, Tensor]] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, value in zip((SCORE, DIVERSITY), self.values[trainer.global_step], strict=True):
            pl_module.log(name, torch.tensor(value))
        self.averages[trainer.global_step] = exported_state(pl_module)


def fit(teacher: Path, folder: Path, *callbacks: Any, module: Any = None, **kwargs: Any) -> tuple[Any, Trainer]:
    torch.manual_seed(0)
    module = module or distillation(teacher, seed=0, ema_decay=0.5, teacher_steps=0)
    settings: dict[str, Any] = {"max_steps": 6, "limit_val_batches": 1, "val_check_interval": 2}
    fitting = {name: kwargs.pop(name) for name in ("ckpt_path", "weights_only") if name in kwargs}
    run = trainer(folder, callbacks=list(callbacks), **(settings | kwargs))
    run.fit(module, data(num_clips=16), **fitting)
    return module, run


def best(at_least: float = 2.0, **kwargs: Any) -> BestUnderConstraints:
    return BestUnderConstraints(SCORE, {DIVERSITY: Constraint(at_least=at_least)}, **kwargs)


def exported(folder: Path) -> dict[str, Tensor]:
    return TextToAudioPipeline.from_pretrained(folder).unet.state_dict()


def stage_of(folder: Path) -> dict[str, Any]:
    """What the folder says of its last training."""
    return TextToAudioPipeline.load_config(folder)["training"][-1]


def unet_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "average.module.unet."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("export_first", [True, False])
def test_the_kept_weights_are_exported_and_training_goes_on_from_its_own(
    export_first: bool, teacher_folder: Path, tmp_path: Path
) -> None:
    script = Script({2: (0.1, 2.5), 4: (0.3, 2.4), 6: (0.9, 1.9)})
    callbacks = [ExportFolder(str(tmp_path / "model")), best()]
    if not export_first:
        callbacks.reverse()
    module, _ = fit(teacher_folder, tmp_path, script, *callbacks)
    assert equal(exported(tmp_path / "model"), unet_of(script.averages[4]))
    stage = stage_of(tmp_path / "model")
    assert (stage["steps"], stage["metrics"][SCORE], stage["metrics"][DIVERSITY]) == (
        4,
        *map(pytest.approx, (0.3, 2.4)),
    )
    assert equal(exported_state(module), script.averages[6])
    assert not equal(unet_of(script.averages[4]), unet_of(script.averages[6]))
    plain, _ = fit(teacher_folder, tmp_path, limit_val_batches=0)
    assert equal(dict(module.state_dict()), dict(plain.state_dict()))


def test_no_validation_within_the_bounds_exports_the_last_weights_and_warns(
    teacher_folder: Path, tmp_path: Path
) -> None:
    script = Script({2: (0.1, 1.5), 4: (0.3, 1.4), 6: (0.9, float("nan"))})
    with pytest.warns(UserWarning, match=DIVERSITY):
        fit(teacher_folder, tmp_path, script, best(), ExportFolder(str(tmp_path / "model")))
    assert equal(exported(tmp_path / "model"), unet_of(script.averages[6]))
    stage = stage_of(tmp_path / "model")
    assert (stage["steps"], stage["metrics"][SCORE]) == (6, pytest.approx(0.9))


def test_training_stops_when_constraints_fail_in_a_row(teacher_folder: Path, tmp_path: Path) -> None:
    script = Script({2: (0.1, 1.0), 4: (0.3, 2.5), 6: (0.5, 1.9), 8: (0.9, 1.8)})
    callbacks = [script, best(patience=2), ExportFolder(str(tmp_path / "model"))]
    _, run = fit(teacher_folder, tmp_path, *callbacks, max_steps=20)
    assert run.global_step == 8
    assert equal(exported(tmp_path / "model"), unet_of(script.averages[4]))


@pytest.mark.parametrize(
    ("options", "steps"), [({"val_check_interval": 2}, (2, 3, 6)), ({"val_check_interval": 1.0}, (3, 4))], ids=str
)
def test_a_run_resumed_anywhere_keeps_what_the_uninterrupted_one_does(
    options: dict[str, Any], steps: tuple[int, ...], teacher_folder: Path, tmp_path: Path
) -> None:
    """Also from a checkpoint of the same step as a validation, which was saved before it."""
    values = {2: (0.1, 2.5), 4: (0.5, 2.4), 6: (0.9, 1.9), 8: (0.4, 2.9)}
    saving = ModelCheckpoint(tmp_path / "all", "{step}", every_n_train_steps=1, save_top_k=-1)
    straight = best()
    settings = {"max_steps": 8, "enable_checkpointing": True} | options
    fit(teacher_folder, tmp_path, Script(values), straight, saving, **settings)
    assert straight.selection.kept is not None
    assert straight.selection.kept["step"] == 4
    for step in steps:
        resumed, file = best(), tmp_path / "all" / f"step={step}.ckpt"
        fit(
            teacher_folder, tmp_path, Script(values), resumed, max_steps=8, **options, ckpt_path=file, weights_only=True
        )
        assert resumed.selection.state_dict() == straight.selection.state_dict(), step
        assert equal(resumed.weights or {}, straight.weights or {}), step


@pytest.mark.parametrize("of", ["teacher", "start", "folder"])
def test_a_reference_is_the_value_of_the_same_prompts_before_training(
    of: str, teacher_folder: Path, tmp_path: Path
) -> None:
    """A model folder's own number of steps is used, not the student's."""
    embedder, module = ToyEmbedder(), distillation(teacher_folder, seed=0, teacher_steps=0)
    sampling = PromptSampling(num_samples=2, seed=3, steps=2)
    name, source = "val/metric/diversity", str(teacher_folder) if of == "folder" else of
    start, expected = of == "start", PromptDiversity()
    pipeline = module.pipeline() if start else TextToAudioPipeline.from_pretrained(teacher_folder)
    own = sampling if start else replace(sampling, steps=None)
    for sounds in FixedPrompts(CAPTIONS, own).sounds(pipeline):
        expected.update(embedder.embed(sounds.waveform, sounds.sample_rate), sounds.prompts)
    guard = BestUnderConstraints("val/loss", {name: Constraint(at_least=0.1, of=source)}, mode="min")
    metrics = SoundMetrics({"diversity": PromptDiversity()}, CAPTIONS, embedder, sampling=sampling)
    fit(teacher_folder, tmp_path, guard, metrics, module=module, max_steps=4)
    assert guard.selection.references == {name: pytest.approx(float(expected.compute()), rel=1e-4)}
    assert [entry["step"] for entry in guard.selection.history] == [2, 4]


def test_a_reference_must_be_positive(teacher_folder: Path, tmp_path: Path) -> None:
    metrics = SoundMetrics({"given": Given(-0.5)}, CAPTIONS)
    guard = BestUnderConstraints("val/loss", {"val/metric/given": Constraint(at_least=0.9, of="start")}, mode="min")
    with pytest.raises(ConfigurationError, match=r"val/metric/given.*-0\.5"):
        fit(teacher_folder, tmp_path, guard, metrics)


def test_the_validation_set_is_a_reference(teacher_folder: Path, tmp_path: Path) -> None:
    """Its recordings where the data have some."""
    callback = SoundMetrics({"n": Coverage(2, nearest=1)}, CAPTIONS, ToyEmbedder(), "validation")
    _, run = fit(teacher_folder, tmp_path, callback, max_steps=2)
    held, expected = data(num_clips=16), Coverage(2, nearest=1)
    batch = held.collate([held.val_dataset[index] for index in range(4)])
    expected.update(ToyEmbedder().embed_windows(batch.waveform, 16000).vectors.flatten(0, 1), real=True)
    for sounds in FixedPrompts(CAPTIONS).sounds(run.lightning_module.pipeline()):
        made = ToyEmbedder().embed_windows(sounds.waveform, sounds.sample_rate).vectors.flatten(0, 1)
        expected.update(made, real=False)
    for key, value in expected.compute().items():
        assert float(run.callback_metrics[f"val/metric/n/{key}"]) == pytest.approx(float(value), abs=1e-6)


def test_validations_without_metrics_are_passed_over(teacher_folder: Path, tmp_path: Path) -> None:
    sounds = SoundMetrics({"clap": CLAPScore(ToyEncoder())}, CAPTIONS, every_n_validations=2)
    guard = BestUnderConstraints("val/metric/clap", {"val/metric/clap": Constraint(at_least=-2)})
    fit(teacher_folder, tmp_path, guard, sounds)
    assert [entry["step"] for entry in guard.selection.history] == [2, 6]


def test_a_trained_decoder_is_kept_with_its_student(teacher_folder: Path, tmp_path: Path) -> None:
    losses = {"latent": LatentL2Loss(), "mel": MelL2Loss()}
    module = distillation(teacher_folder, losses=losses, train_decoder=True, ema_decay=0.5, teacher_steps=0)
    script = Script({2: (0.3, 2.4), 4: (0.9, 1.9)})
    fit(teacher_folder, tmp_path, script, best(), ExportFolder(str(tmp_path / "model")), module=module, max_steps=4)
    written = TextToAudioPipeline.from_pretrained(tmp_path / "model").vae.decoder.state_dict()
    prefix = "decoders.decoder.average.module.decoder."
    for step, same in ((2, True), (4, False)):
        state = script.averages[step]
        assert equal(written, {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}) == same


@pytest.mark.parametrize("name", list(MAKERS))
def test_the_copy_has_all_that_is_exported(name: str, teacher_folder: Path, tmp_path: Path) -> None:
    """Of every training: other averaged weights are exported as they were, once the copy is in their place."""
    module, _ = fit(teacher_folder, tmp_path, module=MAKERS[name](teacher_folder), max_steps=1, limit_val_batches=0)
    copy, before = exported_state(module), _weights(module)
    trained = {id(parameter) for learner in module.learners().values() for parameter in learner.module.parameters()}
    assert not copy.keys() & {key for key, value in module.state_dict(keep_vars=True).items() if id(value) in trained}
    assert not any(key.startswith("target.") for key in copy)
    fit(teacher_folder, tmp_path, module=module, max_steps=3, limit_val_batches=0)
    after = _weights(module)
    assert not equal(after, before)
    with replaced_state(module, copy):
        assert equal(_weights(module), before)
    assert equal(_weights(module), after)


def _weights(module: Any) -> dict[str, Tensor]:
    parts = module.pipeline().components
    return {
        f"{name}.{key}": value.clone()
        for name, part in parts.items()
        if isinstance(part, torch.nn.Module)
        for key, value in part.state_dict().items()
    }


def test_options_that_cannot_be_used_are_refused_before_training(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="most"):
        best(mode="most")
    with pytest.raises(ConfigurationError, match="0"):
        best(patience=0)
    relative = BestUnderConstraints(SCORE, {"val/metric/spread": Constraint(at_least=1, of="teacher")})
    with pytest.raises(ConfigurationError, match="spread"):
        fit(teacher_folder, tmp_path, relative)
    metrics = SoundMetrics({"spread": CLAPScore(ToyEncoder())}, CAPTIONS)
    with pytest.raises(ConfigurationError, match="teacher"):
        fit(teacher_folder, tmp_path, relative, metrics, module=MAKERS["diffusion"](teacher_folder))
    other = BestUnderConstraints(SCORE, {"val/metric/spreads": Constraint(at_least=1, of="start")})
    with pytest.raises(ConfigurationError, match="spreads"):
        fit(teacher_folder, tmp_path, other, metrics)
