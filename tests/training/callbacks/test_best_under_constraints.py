"""Training with constraints: which weights are exported, when it stops, references, and resuming."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.metrics.clap import CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import BestUnderConstraints, Constraint, ExportFolder, SoundMetrics
from consistency_tta.training.callbacks import best_under_constraints
from consistency_tta.training.callbacks.best_under_constraints import exported_weights
from consistency_tta.training.callbacks.kept_weights import exported_state
from consistency_tta.training.callbacks.prompts import FixedPrompts, PromptSampling
from consistency_tta.training.fully_sharded import FullySharded
from tests.meta_device import META
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


def run_of(*callbacks: Any, step: int = 0, fn: TrainerFn = TrainerFn.FITTING, **more: Any) -> Any:
    """A run at its end of a validation."""
    settings: dict[str, Any] = {"callbacks": list(callbacks), "global_step": step, "callback_metrics": {}}
    settings |= {"state": SimpleNamespace(fn=fn), "sanity_checking": False, "should_stop": False, "strategy": None}
    return SimpleNamespace(**(settings | more))


@pytest.fixture
def module(teacher_folder: Path) -> Any:
    return MAKERS["diffusion"](teacher_folder)


def validate(guard: BestUnderConstraints, module: Any, step: int, score: float, diversity: float, **more: Any) -> Any:
    metrics = {SCORE: torch.tensor(score), DIVERSITY: torch.tensor(diversity)}
    run = run_of(Callback(), guard, step=step, callback_metrics=metrics, **more)
    guard.on_validation_end(run, module)
    return run


@pytest.mark.parametrize(("mode", "kept"), [("max", 4), ("min", 3)])
def test_the_best_validation_within_the_bounds_is_kept(mode: Any, kept: int, module: Any) -> None:
    """Not the sanity check, and nothing outside of a training."""
    guard, states = best(mode=mode), {}
    for step, score, diversity in ((1, 0.5, 2.5), (2, 0.9, 1.0), (3, 0.1, 2.5), (4, 0.7, 2.0), (5, 0.6, 9.0)):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(1)
        states[step] = exported_state(module)
        assert not validate(guard, module, step, score, diversity).should_stop
    validate(guard, module, 6, 0.99, 2.5, sanity_checking=True)
    validate(guard, module, 7, 0.0, 2.5, fn=TrainerFn.VALIDATING)
    assert [entry["step"] for entry in guard.selection.history] == [1, 2, 3, 4, 5]
    assert guard.selection.kept is not None
    assert guard.selection.kept["step"] == kept
    assert equal(guard.weights or {}, states[kept])
    assert guard.values[SCORE] == pytest.approx({4: 0.7, 3: 0.1}[kept])
    with exported_weights(run_of(best(), guard), module):
        assert equal(exported_state(module), states[kept])
    assert equal(exported_state(module), states[5])
    with exported_weights(run_of(best()), module):
        assert equal(exported_state(module), states[5])


@pytest.mark.parametrize(("patience", "stops"), [(None, 9), (1, 2), (2, 5)])
def test_training_stops_after_as_many_failures_in_a_row(
    patience: int | None, stops: int, module: Any, caplog: pytest.LogCaptureFixture
) -> None:
    guard = best(patience=patience)
    with caplog.at_level("INFO"):
        for step, diversity in enumerate((9, 1, 9, 1, 1, 1), start=1):
            assert validate(guard, module, step, 0.5, diversity).should_stop == (step >= stops)
            if step >= stops:
                break
    assert bool([text for text in caplog.messages if f"in {patience} validations" in text]) == (patience is not None)


@pytest.mark.parametrize("computed", [True, False])
def test_a_validation_without_metrics_decides_nothing(computed: bool, module: Any) -> None:
    sounds = SoundMetrics({"clap": CLAPScore(ToyEncoder())}, CAPTIONS)
    sounds.computed = computed
    guard = best()
    metrics = {SCORE: torch.tensor(0.5), DIVERSITY: torch.tensor(3.0)}
    guard.on_validation_end(run_of(sounds, guard, step=1, callback_metrics=metrics), module)
    assert bool(guard.selection.history) == computed


@pytest.mark.parametrize("kept", [True, False])
def test_the_end_of_a_training_says_what_is_kept(
    kept: bool, module: Any, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    guard = best()
    validate(guard, module, 7, 0.5, 2.5 if kept else 1.5)
    with caplog.at_level("INFO"):
        guard.on_train_end(run_of(guard), module)
    said, warned = caplog.messages, [str(warning.message) for warning in recwarn]
    assert [text for text in (said if kept else warned) if "7" in text]
    assert not (warned if kept else said)


def test_sharded_weights_are_refused(module: Any) -> None:
    run = run_of(strategy=object.__new__(FullySharded))
    with pytest.raises(ConfigurationError, match="fsdp2"):
        best().setup(run, module, "fit")
    best().setup(run_of(), module, "fit")


def relative(of: str | None, metric: str = "given") -> BestUnderConstraints:
    return BestUnderConstraints(SCORE, {f"val/metric/{metric}": Constraint(at_least=0.5, of=of)})


@pytest.mark.parametrize(
    ("of", "name", "metric", "refused"),
    [
        (None, "diffusion", "other", None),
        ("start", "diffusion", "given", None),
        ("start", "diffusion", "given/mean", None),
        ("folder", "diffusion", "given", None),
        ("teacher", "distillation", "given", None),
        ("teacher", "diffusion", "given", "teacher"),
        ("start", "distillation", "other", "other"),
    ],
)
def test_a_reference_needs_its_metric_and_a_teacher(
    of: str | None, name: str, metric: str, refused: str | None, teacher_folder: Path
) -> None:
    sounds = SoundMetrics({"given": Given()}, CAPTIONS)
    with pytest.raises(ConfigurationError, match=refused) if refused else nullcontext():
        relative(of, metric).setup(run_of(Callback(), sounds), MAKERS[name](teacher_folder), "fit")


class Computed:
    """In the place of an evaluation: notes of what it computes."""

    def __init__(self, **values: float) -> None:
        self.values = {name.replace("_", "/"): torch.tensor(value) for name, value in values.items()}
        self.calls: list[tuple[Any, Any]] = []

    def __call__(self, trainer: Any, pipeline: Any, sampling: Any = None) -> dict[str, Tensor]:
        assert isinstance(trainer, SimpleNamespace)
        self.calls.append((pipeline, sampling))
        return self.values


def measured(computed: Computed, *names: str) -> SoundMetrics:
    sounds = SoundMetrics({name: Given() for name in names}, CAPTIONS, sampling=PromptSampling(steps=7, seed=3))
    sounds.evaluation.compute = computed  # type: ignore[method-assign, assignment]
    return sounds


def test_references_are_computed_once_of_each_model(teacher_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of the teacher and of folders with their own number of steps. A resumed run has them."""
    module, computed = distillation(teacher_folder), Computed(a=2.0, b_mean=0.5)
    sounds = measured(computed, "a", "b")
    constraints = {
        "val/metric/a": Constraint(at_least=0.5, of="teacher"),
        "val/metric/b/mean": Constraint(at_most=2, of="teacher"),
        SCORE: Constraint(at_least=0),
    }
    guard = BestUnderConstraints(SCORE, constraints)
    with caplog.at_level("INFO"):
        guard.on_train_start(run_of(sounds), module)
    assert guard.selection.references == {"val/metric/a": 2.0, "val/metric/b/mean": 0.5}
    ((pipeline, sampling),) = computed.calls
    assert equal(pipeline.unet.state_dict(), TextToAudioPipeline.from_pretrained(teacher_folder).unet.state_dict())
    assert sampling == PromptSampling(steps=None, seed=3)
    assert [text for text in caplog.messages if "val/metric/b/mean of teacher: 0.5" in text]
    resumed = BestUnderConstraints(SCORE, constraints)
    resumed.load_state_dict(guard.state_dict())
    resumed.on_train_start(run_of(sounds), module)
    assert len(computed.calls) == 1
    assert resumed.selection.references == guard.selection.references


@pytest.mark.parametrize("of", ["start", "folder"])
def test_a_reference_is_the_student_as_it_is_or_a_folder(of: str, teacher_folder: Path, tmp_path: Path) -> None:
    module, computed = distillation(teacher_folder), Computed(given=1.0)
    for parameter in module.average.module.parameters():
        parameter.data.add_(1)
    module.pipeline().save_pretrained(tmp_path / "model")
    guard = relative(of if of == "start" else str(tmp_path / "model"))
    guard.on_train_start(run_of(measured(computed, "given")), module)
    ((pipeline, sampling),) = computed.calls
    assert equal(pipeline.unet.state_dict(), module.pipeline().unet.state_dict())
    assert sampling == (None if of == "start" else PromptSampling(steps=None, seed=3))


def test_another_models_reference_is_computed_on_the_device(
    teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, computed = distillation(teacher_folder), Computed(given=1.0)
    monkeypatch.setattr(type(module), "device", META)
    relative("teacher").on_train_start(run_of(measured(computed, "given")), module)
    assert computed.calls[0][0].unet.device == META


@pytest.mark.parametrize(
    ("value", "positive"), [(0.5, True), (0.0, False), (-1.0, False), (float("inf"), False), (None, False)]
)
def test_a_reference_is_a_positive_number(value: float | None, positive: bool, module: Any) -> None:
    computed = Computed(other=1.0) if value is None else Computed(given=value)
    with nullcontext() if positive else pytest.raises(ConfigurationError, match="val/metric/given of start"):
        relative("start").on_train_start(run_of(measured(computed, "given")), module)


def test_checkpoints_of_before_have_no_values(module: Any) -> None:
    guard, resumed = best(), best()
    validate(guard, module, 1, 0.5, 2.5)
    state = guard.state_dict()
    resumed.load_state_dict(state)
    assert resumed.values == guard.values
    assert resumed.selection.kept == guard.selection.kept
    assert equal(resumed.weights or {}, guard.weights or {})
    del state["values"]
    resumed.load_state_dict(state)
    assert resumed.values == {}


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({}, True),
        ({"check": False}, False),
        ({"fn": TrainerFn.VALIDATING}, False),
        ({"fetcher": None}, False),  # before and after the epochs
        ({"ready": 0, "processed": 0}, False),  # before the first batch
        ({"ready": 2}, False),  # within a batch
        ({"ready": 2, "processed": 2}, True),
    ],
    ids=str,
)
def test_a_validation_is_due_after_a_batch_where_lightning_says_so(
    change: dict[str, Any], due: bool, module: Any
) -> None:
    state = {"fn": TrainerFn.FITTING, "fetcher": object(), "ready": 1, "processed": 1, "check": True} | change
    current = SimpleNamespace(ready=state["ready"], processed=state["processed"])
    loop = SimpleNamespace(batch_progress=SimpleNamespace(current=current))
    loop._should_check_val_fx = lambda fetcher: state["check"] and fetcher is state["fetcher"]
    fit_loop = SimpleNamespace(_data_fetcher=state["fetcher"], epoch_loop=loop)
    best().on_save_checkpoint(run_of(fn=state["fn"], fit_loop=fit_loop, step=1), module, checkpoint := {})
    assert list(checkpoint.values()) == [due]


@pytest.mark.parametrize("step", [0, 1])
def test_a_checkpoint_says_whether_it_precedes_a_validation(
    step: int, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_under_constraints, "_is_validation_due", lambda trainer: trainer.due)
    guard, saved = best(), []
    for due in (False, True):
        checkpoint: dict[str, Any] = {}
        guard.on_save_checkpoint(run_of(step=step, due=due), module, checkpoint)
        saved.append(checkpoint)
    validate(guard, module, step, 0.5, 2.5)
    guard.on_save_checkpoint(run_of(step=step, due=True), module, after := {})
    saved.append(after)
    assert [list(checkpoint.values()) for checkpoint in saved] == [[False], [True], [False]]
    for checkpoint, fn, catches_up in (
        (saved[0], TrainerFn.FITTING, False),
        (saved[1], TrainerFn.FITTING, True),
        (saved[1], TrainerFn.VALIDATING, False),
        ({}, TrainerFn.FITTING, False),
    ):
        resumed, validated = best(), []
        loop = SimpleNamespace(restarting=True)
        run = run_of(fn=fn, fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=loop)), training=True)
        loop.run = lambda run=run, loop=loop, validated=validated: validated.append((run.validating, loop.restarting))
        resumed.on_load_checkpoint(run, module, checkpoint)
        for _ in range(2):
            run.training = False
            resumed.on_train_start(run, module)
        assert validated == [(True, False)] * catches_up
        run.training = False
        resumed.on_load_checkpoint(run, module, checkpoint)
        resumed.on_train_start(run, module)
        assert run.training == catches_up
