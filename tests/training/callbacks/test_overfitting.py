"""The guard warns when the reward rises while the independent score falls, and not otherwise."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from consistency_tta.components.reward_lineage import EncoderFingerprint, RewardLineage
from consistency_tta.contracts import AudioEncoder, Optimization
from consistency_tta.losses import CLAPLoss, LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training import OverfittingGuard, SoundMetrics
from consistency_tta.training.callbacks import overfitting
from consistency_tta.training.callbacks.prompt_scores import PromptScores, paired_change
from consistency_tta.training.callbacks.prompts import Sounds
from consistency_tta.training.weighted_losses import WeightedLosses
from tests.meta_device import META
from tests.training.runs import data, distillation, trainer


class Loud(AudioEncoder):
    """Every caption asks for loud sounds, or (``sign`` -1) for soft ones."""

    sample_rate = 16000
    num_features = 2

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(sign))

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        level = waveform.square().mean(1).add(1e-9).log() / 10 + 1
        angle = torch.pi / 2 + self.sign * torch.pi / 2 * level.tanh()
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        return torch.tensor([[-1.0, 0.0]], device=self.sign.device).expand(len(captions), 2)


def signature(encoder: AudioEncoder) -> list[float]:
    return list(EncoderFingerprint.of(encoder).signature or ())


def fit(teacher: Path, folder: Path, guard: OverfittingGuard, steps: int = 8, **kwargs: Any) -> Trainer:
    """Training by the reward alone: sounds become loud."""
    torch.manual_seed(0)
    reward = CLAPLoss(Loud(1.0), audio_weight=0.0)
    module = distillation(
        teacher,
        losses={"latent": LatentL2Loss(), "clap": reward},
        loss_weights={"latent": 0.0},
        optimization=Optimization(learning_rate=3e-2),
        ema_decay=0.0,
        seed=0,
        teacher_steps=0,
    )
    callback = SoundMetrics({}, ["a", "b", "c", "d"], guard=guard)
    settings: dict[str, Any] = {"max_steps": steps, "limit_val_batches": 1, "val_check_interval": 2}
    run = trainer(folder, callbacks=[callback], **settings)
    run.fit(module, data(num_clips=16), **kwargs)
    return run


def test_a_reward_that_rises_while_the_independent_score_falls_is_reported_once(
    teacher_folder: Path, tmp_path: Path
) -> None:
    # A toy learns slowly, and four prompts are few.
    guard = OverfittingGuard(Loud(-1.0), margin=1e-4, z=1.0)
    with pytest.warns(UserWarning, match="since step") as warned:
        run = fit(teacher_folder, tmp_path, guard, steps=12)
    assert len([w for w in warned if "since step" in str(w.message)]) == 1
    report = json.loads((tmp_path / "overfitting.json").read_text())
    assert report["networks_differ"]
    expected = {"network": "Loud", "sha256_of_file": None, "signature": signature(Loud(1.0))}
    assert report["reward"] == expected
    assert report["judge"] == expected | {"signature": signature(Loud(-1.0))}
    assert [point["step"] for point in report["curves"]] == [2, 4, 6, 8, 10, 12]
    parted = [point["parted"] for point in report["curves"]]
    second = next(i for i in range(1, len(parted)) if parted[i - 1] and parted[i])
    assert report["diverged_at_step"] == report["curves"][second]["step"]
    last = report["curves"][-1]
    assert last["reward_change"] > 0 > last["judge_change"]
    assert float(run.callback_metrics["val/guard/judge"]) == pytest.approx(last["judge"], abs=1e-6)
    assert float(run.callback_metrics["val/guard/reward"]) == pytest.approx(last["reward"], abs=1e-6)


def test_a_judge_that_agrees_gives_no_warning_also_in_a_resumed_run(
    teacher_folder: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    half = fit(teacher_folder, tmp_path / "half", OverfittingGuard(Loud(0.9)), steps=4)
    half.save_checkpoint(tmp_path / "half.ckpt")
    fit(teacher_folder, tmp_path, OverfittingGuard(Loud(0.9)), ckpt_path=tmp_path / "half.ckpt")
    report = json.loads((tmp_path / "overfitting.json").read_text())
    assert [point["step"] for point in report["curves"]] == [2, 4, 6, 8]
    assert report["diverged_at_step"] is None
    assert not [w for w in recwarn if "since step" in str(w.message)]


def parted(judge: list[list[float]], **settings: Any) -> list[bool]:
    """The verdicts on a reward that rises by 0.1 each time."""
    guard = OverfittingGuard(Loud(1.0), **settings)
    for step, values in enumerate(judge):
        reward = torch.full((len(values),), 0.1 * step)
        guard.append(step, torch.stack([reward, torch.tensor(values)], dim=1).double())
    return [point["parted"] for point in guard.curves]


def test_the_rule_depends_on_prompts_errors_and_margin() -> None:
    # Prompts differ by far more than the fall, which all of them share: pairs tell.
    spread = [0.9, 0.1, -0.5, 0.4]
    assert parted([spread, [value - 0.05 for value in spread]]) == [False, True]
    assert parted([spread, [value - 0.05 for value in spread]], margin=0.06) == [False, False]
    # The same mean fall, made by one prompt alone, is within two standard errors.
    assert parted([spread, [spread[0] - 0.2, *spread[1:]]]) == [False, False]
    # Compared with the best independent score, not with its beginning.
    assert parted([[0.0, 0.1], [0.5, 0.6], [0.3, 0.4]]) == [False, False, True]
    mean, error = paired_change(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0.0, 1.0, 2.0]))
    assert (mean, error) == (pytest.approx(1.0), pytest.approx(1 / 3**0.5))


def test_scores_are_means_of_each_prompts_sounds() -> None:
    scores = PromptScores()
    scores.update(torch.tensor([2, 0]), torch.tensor([[1.0, 10.0], [2.0, 20.0]]))
    scores.update(torch.tensor([2, 1]), torch.tensor([[3.0, 30.0], [1 / 3, 7.0]]))
    third = torch.tensor(1 / 3).double().item()  # the mean of float32 is computed in float64
    assert scores.compute().tolist() == [[2.0, 20.0], [third, 7.0], [2.0, 20.0]]
    assert scores.compute().dtype == torch.float64


def test_the_rule_may_be_as_strict_as_can_be() -> None:
    assert OverfittingGuard(Loud(-1.0), margin=0, z=0, patience=1).rule == {"margin": 0, "z": 0, "patience": 1}


def verdicts(*scores: tuple[list[float], list[float]], **settings: Any) -> list[tuple[bool, int]]:
    """Of rewards and independent scores: whether they diverge, and which validation was the best so far."""
    guard = OverfittingGuard(Loud(1.0), **settings)
    for step, pair in enumerate(scores):
        guard.append(step, torch.tensor(pair).double().T)
    return [(point["parted"], point["compared_with"]) for point in guard.curves]


def test_a_change_must_exceed_its_bound_and_an_equal_score_is_not_better() -> None:
    rises, falls = [0.0, 0.0], [1.0, 1.0]
    for reward, judge, diverge in ((0.5, 0.25, True), (0.0, 0.25, False), (0.5, 0.5, False), (0.5, 1.0, False)):
        found = verdicts((rises, falls), ([reward] * 2, [judge] * 2), margin=0.5, z=0)
        assert found == [(False, 0), (diverge, 0)]
    # A reward of one prompt alone is within its error; other prompts have another best validation.
    assert verdicts((rises, falls), ([1.0, 0.0], [0.0, 0.0]))[1] == (False, 0)
    assert verdicts((rises, falls), ([1.0] * 3, [0.0] * 3))[1] == (False, 1)
    # The least difference of rewards that three standard errors allow, and of scores beyond the margin.
    assert verdicts((rises, falls), ([0.1, 0.3], [0.0] * 2), z=1.9)[1][0]
    assert not verdicts((rises, falls), ([0.1, 0.3], [0.0] * 2), z=2.1)[1][0]
    assert verdicts((rises, falls), ([0.5] * 2, [0.7, 0.9]), z=1.0, margin=0.05)[1][0]
    assert not verdicts((rises, falls), ([0.5] * 2, [0.7, 0.9]), z=1.0, margin=0.15)[1][0]


def logging(module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What a module logs, alike in all processes."""
    logged: dict[str, Tensor] = {}

    def log(name: str, value: Tensor, sync_dist: bool) -> None:
        assert sync_dist
        logged[name] = value

    monkeypatch.setattr(module, "log", log, raising=False)
    return logged


def attached(**settings: Any) -> OverfittingGuard:
    guard = OverfittingGuard(Loud(-1.0), **settings)
    losses = WeightedLosses({"clap": CLAPLoss(Loud(1.0))})
    guard.attach(SimpleNamespace(losses=losses, pipeline=lambda: SimpleNamespace(rewards=RewardLineage())))
    return guard


def validate(guard: OverfittingGuard, module: Any, folder: Path, step: int, level: float, **more: Any) -> None:
    """Two prompts with two sounds each, in two batches."""
    for scale in (1.0, 1.1):
        sounds = Sounds(level * scale * torch.tensor([[1.0] * 4, [0.9] * 4]), 16000, ["a", "b"], torch.tensor([0, 1]))
        guard.update(sounds.waveform, sounds)
    settings = {"log_dir": str(folder), "is_global_zero": True, "global_step": step}
    guard.compute_and_log(SimpleNamespace(**(settings | more)), module)


def score(sign: float, level: float) -> float:
    """The mean score of a validation."""
    levels = [level * scale * prompt for scale in (1.0, 1.1) for prompt in (1.0, 0.9)]
    vectors = Loud(sign).embed(torch.tensor(levels)[:, None].expand(4, 4), 16000)
    return float(-vectors[:, 0].mean())


def test_each_validations_own_scores_are_logged_compared_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, module = attached(margin=1e-4, z=1.0), SimpleNamespace(device=torch.device("cpu"))
    logged = logging(module, monkeypatch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, level in enumerate((0.1, 0.2, 0.1, 0.2, 0.3, 0.4)):
            validate(guard, module, tmp_path / "run", step, level)
            for name, sign in (("reward", 1.0), ("judge", -1.0)):
                value = logged[f"val/guard/{name}"]
                assert (value.dtype, value.ndim) == (torch.float32, 0)
                assert float(value) == pytest.approx(score(sign, level), abs=1e-6)
                assert guard.curves[-1][name] == pytest.approx(score(sign, level), abs=1e-6)
    assert [point["parted"] for point in guard.curves] == [False, True, False, True, True, True]
    assert guard.diverged_at == 4
    (said,) = [str(warning.message) for warning in caught if "since step" in str(warning.message)]
    assert f"by {guard.curves[4]['reward_change']:.3g} " in said
    report = json.loads((tmp_path / "run" / "overfitting.json").read_text(encoding="utf-8"))
    assert (report["curves"], report["diverged_at_step"]) == (guard.curves, 4)
    for name, sign in (("reward", 1.0), ("judge", -1.0)):
        assert report[name]["signature"] == pytest.approx(signature(Loud(sign)))


def test_a_resumed_run_goes_on_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(device=torch.device("cpu"))
    logging(module, monkeypatch)
    whole, first, second = (attached(margin=1e-4, z=1.0, patience=3) for _ in range(3))
    for step, level in enumerate((0.1, 0.2, 0.3)):
        validate(whole, module, tmp_path, step, level)
        if step == 2:
            second.load_state_dict(first.state_dict())
        validate(first if step < 2 else second, module, tmp_path, step, level)
    for guard in (whole, second):
        with pytest.warns(UserWarning, match="since step"):
            validate(guard, module, tmp_path, 3, 0.4)
    assert second.curves == whole.curves
    assert second.diverged_at == whole.diverged_at == 3


def test_a_run_may_be_stopped_before_its_first_validation() -> None:
    guard, resumed = attached(), attached()
    resumed.load_state_dict(guard.state_dict())
    assert resumed.state_dict() == guard.state_dict()


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"z": -1}, {"patience": 0}], ids=str)
def test_a_rule_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(options.values())))):
        OverfittingGuard(Loud(-1.0), **options)


def test_the_first_process_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(device=torch.device("cpu"))
    logging(module, monkeypatch)
    validate(attached(), module, tmp_path, 0, 0.1, is_global_zero=False)
    assert not list(tmp_path.iterdir())


def test_scores_are_on_the_device_where_it_has_float64_and_values_on_the_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overfitting, "exact_device", lambda device: META)  # as of Apple's GPUs the CPU
    for waveform in (torch.ones(2, 4), torch.ones(2, 4, device=META)):
        guard = attached()
        guard.reward.to(waveform.device)  # which is the loss's own
        guard.update(waveform, Sounds(torch.ones(2, 4), 16000, ["a", "b"], torch.tensor([0, 1])))
        assert guard.judge.sign.device == waveform.device
        assert guard.scores.device == META
        assert all(tensor.is_meta for tensor in guard.scores.prompts + guard.scores.scores)
    module = SimpleNamespace(device=META)
    logged = logging(module, monkeypatch)
    monkeypatch.undo()
    logged = logging(module, monkeypatch)
    validate(attached(), module, tmp_path, 0, 0.1)
    assert all(value.is_meta for value in logged.values())


class Deaf(AudioEncoder):
    """Embeds no captions."""

    sample_rate, num_features = 16000, 2

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return waveform[:, :2]


@pytest.mark.parametrize("name", ["reward", "judge"])
def test_both_networks_embed_captions(name: str) -> None:
    guard = OverfittingGuard(Deaf() if name == "judge" else Loud(-1.0))
    loss = CLAPLoss(Loud(1.0))
    if name == "reward":
        loss.frozen = Frozen(encoder=Deaf())
    with pytest.raises(ConfigurationError, match=f"{name}.*Deaf"):
        guard.attach(SimpleNamespace(losses=WeightedLosses({"clap": loss})))


@pytest.mark.parametrize("module", [SimpleNamespace(), SimpleNamespace(losses=nn.ModuleDict())])
def test_a_training_without_such_losses_is_refused(module: Any) -> None:
    with pytest.raises(ConfigurationError, match="none"):
        OverfittingGuard(Loud(-1.0)).attach(module)


@pytest.mark.parametrize("name", ["one", "other"])
def test_the_reward_is_the_encoder_of_the_loss_that_is_named(name: str) -> None:
    losses = WeightedLosses({"one": CLAPLoss(Loud(1.0)), "other": CLAPLoss(Loud(2.0)), "latent": LatentL2Loss()})
    module: Any = SimpleNamespace(losses=losses, pipeline=lambda: SimpleNamespace(rewards=RewardLineage()))
    guard = OverfittingGuard(Loud(-1.0), loss=name)
    guard.attach(module)
    assert guard.reward is losses[name].encoder
    for loss in ("latent", "another", None):
        with pytest.raises(ConfigurationError, match="latent"):
            OverfittingGuard(Loud(-1.0), loss=loss).attach(module)


def test_the_independent_network_is_not_trained() -> None:
    judge = OverfittingGuard(Loud(-1.0)).judge
    assert not judge.training
    assert not judge.sign.requires_grad


def test_judge_and_reward_must_differ(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="allow_same"):
        fit(teacher_folder, tmp_path, OverfittingGuard(Loud(1.0)))
    fit(teacher_folder, tmp_path, OverfittingGuard(Loud(1.0), allow_same=True), steps=2)
    assert not json.loads((tmp_path / "overfitting.json").read_text())["networks_differ"]
    guard = OverfittingGuard(Loud(-1.0))
    with pytest.raises(ConfigurationError, match="latent"):
        guard.attach(distillation(teacher_folder))
    two = distillation(teacher_folder, losses={name: CLAPLoss(Loud(2.0)) for name in ("one", "other")})
    with pytest.raises(ConfigurationError, match=r"one.*other"):
        guard.attach(two)
    OverfittingGuard(Loud(-1.0), loss="other").attach(two)
    with pytest.raises(ConfigurationError, match="patience"):
        OverfittingGuard(Loud(-1.0), patience=0)
    with pytest.raises(ConfigurationError, match="1"):
        guard.append(0, torch.zeros(1, 2))


def test_a_judge_that_was_the_reward_of_an_earlier_stage_is_warned_of(teacher_folder: Path, tmp_path: Path) -> None:
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    teacher.register_to_config(rewards=RewardLineage((EncoderFingerprint("earlier", ()),), complete=True).to_dict())
    teacher.save_pretrained(tmp_path / "teacher")
    guard = OverfittingGuard(Loud(-1.0))
    for checksum, folder, was_reward in (
        ("earlier", tmp_path / "teacher", True),
        ("another", tmp_path / "teacher", False),
        ("another", teacher_folder, None),  # of which nothing is known
    ):
        guard.judge.checksum = checksum
        reward = CLAPLoss(Loud(1.0))
        reward.encoder.checksum = "now"
        module = distillation(folder, losses={"clap": reward})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            guard.attach(module)
        assert any("earlier stage" in str(warning.message) for warning in caught) == bool(was_reward)
        report = tmp_path / "some" / "run" / "overfitting.json"
        guard.write(report)
        assert json.loads(report.read_text())["judge_taught_an_earlier_stage"] is was_reward


def test_one_network_in_two_files_is_the_same(teacher_folder: Path) -> None:
    """Nor by two packages, which name its tensors differently."""
    guard = OverfittingGuard(Loud(1.0))
    guard.judge.checksum = "one file"
    reward = CLAPLoss(Loud(1.0))
    reward.encoder.checksum = "another"
    with pytest.raises(ConfigurationError, match="allow_same"):
        guard.attach(distillation(teacher_folder, losses={"clap": reward}))
    other = CLAPLoss(Loud(2.0))
    other.encoder.checksum = "one file"
    with pytest.raises(ConfigurationError, match="allow_same"):
        guard.attach(distillation(teacher_folder, losses={"clap": other}))
