"""One optimizer for several networks: settings, idle networks, clipping, skipped steps, resuming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from consistency_tta.contracts import DistillationOutput, FinalPhase, Learner, Networks, Optimization, Prediction, Step
from consistency_tta.losses import LatentL2Loss
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError
from consistency_tta.training import AdversarialDistillation, Distillation
from consistency_tta.training.optimizer import build_optimizer, can_fuse, check_loaded_state, clip_each, is_learnable
from tests.training.matching import FAKE, DistributionMatching
from tests.training.runs import BrokenLoss, Losses, data, distil, equal, snapshot, trainer

STUDENT = Optimization(learning_rate=3e-3, weight_decay=0.1)


def matching(folder: Path, alternate: bool = True, **kwargs: Any) -> Distillation:
    """A student and a fake-score network."""
    return distil(
        lambda: DistributionMatching(alternate),  # type: ignore[arg-type]  # called as the class is
        folder,
        **({"optimization": STUDENT, "ema_decay": 0.5} | kwargs),
    )


class States(Callback):
    """What each network and its optimizer state are, before training and after each optimizer step."""

    def __init__(self) -> None:
        self.states: list[dict[str, dict[str, Tensor]]] = []

    def note(self, run: Trainer, module: Any) -> None:
        """One more state of each network."""
        optimizer, state = run.optimizers[0], {}
        for name, learner in module.learners().items():
            state[name] = {key: value.detach().clone() for key, value in learner.module.named_parameters()}
            for key, parameter in learner.module.named_parameters():
                for entry, value in optimizer.state.get(parameter, {}).items():
                    state[name][f"{key}: {entry}"] = torch.as_tensor(value).clone()
        state["average"] = {key: value.detach().clone() for key, value in module.average.module.named_parameters()}
        self.states.append(state)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.note(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == len(self.states):
            self.note(trainer, pl_module)

    def moved(self) -> list[set[str]]:
        """What each step changed."""
        return [
            {name for name in after if not equal(before[name], after[name])}
            for before, after in zip(self.states, self.states[1:], strict=False)
        ]


def test_each_network_has_its_group_and_settings(teacher_folder: Path, tmp_path: Path) -> None:
    module = matching(teacher_folder)
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    groups = {group["name"]: group for group in run.optimizers[0].param_groups}
    assert list(groups) == ["student", "fake"]
    for name, settings, network in (("student", STUDENT, module.student), ("fake", FAKE, module.objective.fake)):
        group = groups[name]
        assert (group["initial_lr"], group["weight_decay"], group["betas"]) == (
            settings.learning_rate,
            settings.weight_decay,
            settings.betas,
        )
        assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    student, fake = run.lr_scheduler_configs[0].scheduler.lr_lambdas
    assert [student(step) for step in range(4)] == [1] * 4
    assert [fake(step) for step in range(4)] == pytest.approx([0, 0.5, 1, 1])


def test_a_parameter_of_two_networks_is_refused() -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(ConfigurationError, match="other"):
        build_optimizer({"one": Learner(network), "other": Learner(nn.Sequential(network))}, STUDENT, None)


def test_a_network_without_trainable_parameters_gets_no_group() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    built = build_optimizer({"frozen": Learner(frozen), "one": Learner(nn.Linear(2, 2), FAKE)}, STUDENT, None)
    [group] = built["optimizer"].param_groups
    assert group["name"] == "one"
    # Its own schedule, not that of the group left out.
    assert built["lr_scheduler"]["scheduler"].lr_lambdas[0](1) == 0.5


@pytest.mark.parametrize("accumulated", [1, 2])
def test_an_idle_network_keeps_weights_and_optimizer_state(
    accumulated: int, teacher_folder: Path, tmp_path: Path
) -> None:
    """The student's average moves with the student alone."""
    states = States()
    settings = {"accumulate_grad_batches": accumulated, "gradient_clip_val": 1.0}
    run = trainer(tmp_path, max_steps=6, callbacks=[states], **settings)
    run.fit(matching(teacher_folder), data())
    assert states.moved() == [{"student", "average"}, {"fake"}] * 3
    for name in ("student", "fake"):
        entries = {key.split(": ")[-1] for key in states.states[-1][name] if ": " in key}
        assert entries == {"step", "exp_avg", "exp_avg_sq"}
        steps = {float(value) for key, value in states.states[-1][name].items() if key.endswith(": step")}
        assert steps == {3.0}


class LeakingGradients(DistributionMatching):
    """Its losses have gradients of both networks at every step, whichever of them is idle."""

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """Adds to the losses the sum of all parameters."""
        prediction = super().forward(step, networks)
        parameters = [*cast(nn.Module, networks.student).parameters(), *self.fake.parameters()]
        leak = torch.stack([parameter.sum() for parameter in parameters]).sum().expand(len(step))
        return replace(prediction, losses={**prediction.losses, "leak": leak})


def test_gradients_of_an_idle_network_are_dropped(teacher_folder: Path, tmp_path: Path) -> None:
    states = States()
    run = trainer(tmp_path, max_steps=4, callbacks=[states])
    run.fit(distil(LeakingGradients, teacher_folder, optimization=STUDENT, ema_decay=0.5), data())
    assert states.moved() == [{"student", "average"}, {"fake"}] * 2


def test_both_learn_at_every_step_where_the_objective_says_so(teacher_folder: Path, tmp_path: Path) -> None:
    states = States()
    run = trainer(tmp_path, max_steps=3, callbacks=[states])
    run.fit(matching(teacher_folder, alternate=False), data())
    assert states.moved() == [{"student", "average", "fake"}] * 3
    assert "train/loss/fake" in run.callback_metrics


class Gradients(Callback):
    """Gradients of each parameter group before clipping, and after the step."""

    def __init__(self) -> None:
        self.before: list[list[Tensor]] = []
        self.after: list[list[Tensor]] = []

    @staticmethod
    def gradients(run: Trainer) -> list[list[Tensor]]:
        return [[p.grad.clone() for p in group["params"]] for group in run.optimizers[0].param_groups]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        self.before = self.gradients(trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.after = self.gradients(trainer)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_each_network_is_clipped_by_itself(algorithm: str, teacher_folder: Path, tmp_path: Path) -> None:
    gradients, limit = Gradients(), 1e-3
    settings: dict[str, Any] = {"gradient_clip_val": limit, "gradient_clip_algorithm": algorithm}
    run = trainer(tmp_path, max_steps=1, callbacks=[gradients], **settings)
    run.fit(matching(teacher_folder, alternate=False), data())
    clip = nn.utils.clip_grad_norm_ if algorithm == "norm" else nn.utils.clip_grad_value_
    for before, after in zip(gradients.before, gradients.after, strict=True):
        parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in before]
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient.clone()
        clip(parameters, limit)
        assert any(not torch.equal(p.grad, g) for p, g in zip(parameters, before, strict=True))  # it had to be clipped
        for parameter, gradient in zip(parameters, after, strict=True):
            torch.testing.assert_close(gradient, parameter.grad)


def test_a_module_is_learnable_if_some_of_its_weights_are() -> None:
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    assert is_learnable(network)
    assert not is_learnable(network.requires_grad_(False))
    assert not is_learnable(nn.ReLU())


def test_a_group_without_gradients_is_left_alone() -> None:
    one, other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer({"one": Learner(one), "other": Learner(other)}, STUDENT, None)["optimizer"]
    one.weight.grad = torch.full((2, 2), 4.0)
    clip_each(optimizer, 1.0, "norm")
    torch.testing.assert_close(one.weight.grad, torch.full((2, 2), 0.5))
    assert other.weight.grad is None


@pytest.mark.parametrize("entry", [0.0, 1e-8, 0.4])
def test_gradients_below_the_limit_are_not_made_longer(entry: float) -> None:
    network = nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer({"model": Learner(network)}, STUDENT, None)["optimizer"]
    for algorithm in ("norm", "value"):
        network.weight.grad = torch.full((2, 2), -entry)
        clip_each(optimizer, 1.0, algorithm)
        assert torch.equal(network.weight.grad, torch.full((2, 2), -entry))


@pytest.mark.parametrize("alternate", [False, True])
def test_a_step_that_is_not_finite_leaves_all_networks_alone(
    alternate: bool, teacher_folder: Path, tmp_path: Path
) -> None:
    """The second call of the loss is the second step, or the third where the student has every other."""
    states = States()
    module = matching(teacher_folder, alternate, losses={"latent": BrokenLoss({1})})
    trainer(tmp_path, max_steps=5, callbacks=[states]).fit(module, data())
    both, student, fake = {"student", "average", "fake"}, {"student", "average"}, {"fake"}
    expected = [student, fake, set(), fake, student] if alternate else [both, set(), both, both, both]
    assert states.moved() == expected


def adversarial(folder: Path) -> Distillation:
    """A student and a discriminator, which learns alone at first, and then at every step."""
    objective = AdversarialDistillation(FAKE, contrastive_weight=1.0, discriminator_steps=2, warmup_steps=1)
    return Distillation(str(folder), objective, optimization=STUDENT, ema_decay=0.5)


@pytest.mark.parametrize(
    ("make", "learner", "stopped"),
    [
        (matching, "fake", 3),
        (matching, "fake", 4),
        (adversarial, "discriminator", 3),
        (adversarial, "discriminator", 4),
    ],
)
def test_it_resumes_bit_for_bit_wherever_the_alternation_is(
    make: Callable[[Path], Distillation], learner: str, stopped: int, teacher_folder: Path, tmp_path: Path
) -> None:
    straight, resumed = Losses(), Losses()
    module = make(teacher_folder)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=stopped, save_top_k=-1)
    run = trainer(tmp_path, max_steps=7, callbacks=[straight, saver], enable_checkpointing=True)
    run.fit(module, data())
    torch.manual_seed(1234)
    again = make(teacher_folder)
    rerun = trainer(tmp_path, max_steps=7, callbacks=[resumed])
    rerun.fit(again, data(), ckpt_path=str(tmp_path / f"step={stopped}.ckpt"), weights_only=True)
    assert resumed.values == straight.values[stopped:]
    state = snapshot(module, run)
    assert equal(state, snapshot(again, rerun))
    assert any(name.startswith(f"objective.{learner}.") for name in state)
    assert run.lr_scheduler_configs[0].scheduler.state_dict() == rerun.lr_scheduler_configs[0].scheduler.state_dict()


class LearntScale(LatentL2Loss):
    """A loss with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, out: DistillationOutput) -> Tensor:
        return self.scale * super().forward(out)


class Naming(DistributionMatching):
    """Gives its network, or the network that a step updates, a wrong name."""

    def __init__(self, learner: str, active: str) -> None:
        super().__init__()
        self.learner, self.named = learner, active

    def learners(self) -> dict[str, Learner]:
        return {self.learner: Learner(self.fake)}

    def active(self, step: int) -> set[str]:
        return {self.named}


@pytest.mark.parametrize(
    ("learner", "active", "named"),
    [("student", "student", "student"), ("loss/latent", "student", "loss/latent"), ("fake", "studnet", "studnet")],
)
def test_names_of_networks_must_be_right(
    learner: str, active: str, named: str, teacher_folder: Path, tmp_path: Path
) -> None:
    module = Distillation(str(teacher_folder), Naming(learner, active), {"latent": LearntScale()})
    with pytest.raises(ConfigurationError, match=named):
        trainer(tmp_path, max_steps=1).fit(module, data())


class Poisoned(DistributionMatching):
    """Leaves gradients that are not finite on the network that is idle."""

    def forward(self, step: Step, networks: Networks) -> Prediction:
        prediction = super().forward(step, networks)
        if "student" in step.active:
            weight = next(self.fake.parameters())
            prediction.losses["poison"] = (
                (0 * weight.flatten()[:1]).abs().sqrt().expand(len(step))
            )  # slope 0 x infinity
        return prediction


def test_an_idle_networks_gradients_are_not_looked_at(teacher_folder: Path, tmp_path: Path) -> None:
    module = distil(Poisoned, teacher_folder)
    before = {name: value.detach().clone() for name, value in module.student.named_parameters()}
    run = trainer(tmp_path, max_steps=3)
    run.fit(module, data())
    assert run.callback_metrics["train/skipped_steps"] == 0
    assert any(not torch.equal(value, before[name]) for name, value in module.student.named_parameters())


@pytest.mark.parametrize(
    ("device", "precision", "fused"),
    [("cpu", "32-true", True), ("cpu", "bf16-mixed", True), ("cpu", "16-mixed", False), ("meta", "32-true", False)],
)
def test_one_kernel_updates_all_where_torch_has_it_and_nothing_scales(device: str, precision: str, fused: bool) -> None:
    assert can_fuse(torch.device(device), precision) is fused


@pytest.mark.parametrize("fused", [True, False])
def test_a_checkpoint_of_the_other_kind_of_adamw_is_resumed(fused: bool) -> None:
    def stepped(fused: bool) -> tuple[nn.Module, Any]:
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        optimizer = build_optimizer({"model": Learner(network)}, STUDENT, 10, fused)["optimizer"]
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return network, optimizer

    (network, resumed), (other, saved) = stepped(fused), stepped(not fused)
    resumed.load_state_dict(saved.state_dict())
    assert resumed.param_groups[0]["fused"] is fused
    for optimizer in (resumed, saved):
        optimizer.step()
    torch.testing.assert_close(network.weight, other.weight)


def test_a_state_that_does_not_fit_is_refused() -> None:
    parameter, other, idle = (nn.Parameter(torch.ones(size)) for size in (3, 2, 1))  # idle never had a gradient
    optimizer = torch.optim.AdamW([{"params": [parameter, other, idle], "name": "student"}])
    (parameter.sum() + other.sum()).backward()
    optimizer.step()
    check_loaded_state(optimizer, "last.ckpt")
    state = optimizer.state_dict()
    for value in (torch.ones(1), torch.full_like(parameter, torch.nan), None):
        optimizer.load_state_dict(state | {"state": state["state"] | {0: state["state"][0] | {"exp_avg": value}}})
        with pytest.raises(CheckpointError, match=r"last\.ckpt.* exp_avg "):
            check_loaded_state(optimizer, "last.ckpt")
    without = {name: value for name, value in state["state"][1].items() if name != "exp_avg"}
    optimizer.load_state_dict(state | {"state": state["state"] | {1: without}})
    with pytest.raises(CheckpointError, match=r"last\.ckpt.* exp_avg "):
        check_loaded_state(optimizer, "last.ckpt")


def test_a_resumed_run_has_the_settings_of_its_configuration() -> None:
    def stepped(settings: Optimization, steps: int) -> tuple[Any, Any]:
        network = nn.Linear(3, 2)
        built = build_optimizer({"model": Learner(network)}, settings, 10)
        optimizer, scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]
        for _ in range(steps):
            network(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            scheduler.step()
        return optimizer, scheduler

    now = Optimization(0.5, weight_decay=0.1, betas=(0.8, 0.9), schedule="linear")
    (saved, at), (resumed, scheduler), (straight, expected) = stepped(STUDENT, 4), stepped(now, 0), stepped(now, 4)
    resumed.load_state_dict(saved.state_dict())
    scheduler.load_state_dict(at.state_dict())
    [group], [want] = resumed.param_groups, straight.param_groups
    assert {name: group[name] for name in group if name != "params"} == {
        name: want[name] for name in want if name != "params"
    }
    assert scheduler.get_last_lr() == [0.5 * 0.6] == expected.get_last_lr()
    assert resumed.state_dict()["state"].keys() == saved.state_dict()["state"].keys()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5 * 0.5]


@pytest.mark.parametrize("change", [torch.Tensor.long, torch.Tensor.to_sparse])
def test_moments_in_a_format_that_would_be_rounded_are_refused(change: Any) -> None:
    network = nn.Linear(3, 2)
    optimizer = build_optimizer({"model": Learner(network)}, STUDENT, 10)["optimizer"]
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"] = change(state["state"][0]["exp_avg"])
    with pytest.raises(CheckpointError, match="exp_avg"):
        optimizer.load_state_dict(state)


def test_moments_of_other_shapes_than_adams_are_taken() -> None:
    parameter = nn.Parameter(torch.ones(3, 2))
    optimizer = torch.optim.Adafactor([parameter])
    parameter.sum().backward()
    optimizer.step()
    check_loaded_state(optimizer, "last.ckpt")
    optimizer.state[parameter]["row_var"].fill_(torch.nan)
    with pytest.raises(CheckpointError, match=r"last\.ckpt.* row_var "):
        check_loaded_state(optimizer, "last.ckpt")


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup"])
def test_a_final_phase_has_a_schedule_and_a_learning_rate_of_its_own(schedule: str) -> None:
    """As two trainings one after the other, each with its own warm-up and end."""

    def rates(settings: Optimization, steps: int) -> list[float]:
        built = build_optimizer({"network": Learner(nn.Linear(1, 1))}, settings, steps)
        optimizer, found = built["optimizer"], []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            built["lr_scheduler"]["scheduler"].step()
        return found

    whole = Optimization(3e-3, warmup_steps=2, schedule=schedule, final_phase=FinalPhase(8, 1e-3, warmup_steps=1))
    first, last = replace(whole, final_phase=None), Optimization(1e-3, warmup_steps=1, schedule=schedule)
    assert rates(whole, 12) == pytest.approx(rates(first, 8) + rates(last, 4))


def test_a_final_phase_needs_something_before_it() -> None:
    with pytest.raises(ConfigurationError, match="begin=0"):
        FinalPhase(0, 1e-3)
    with pytest.raises(ConfigurationError, match="learning_rate"):
        Optimization(0.0, final_phase=FinalPhase(2, 1e-3))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("betas", {"betas": (0.9, 1.0)}),
        ("betas", {"betas": (-0.1, 0.9)}),
        ("betas", {"betas": (2.0, 3.0)}),
        ("weight_decay", {"weight_decay": -0.1}),
        ("learning_rate", {"learning_rate": -1e-3}),
        ("warmup_steps", {"warmup_steps": -1}),
    ],
)
def test_settings_that_no_adamw_has_are_named(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Optimization(**settings)
    Optimization(learning_rate=0.0, weight_decay=0.0, betas=(0.0, 0.0), warmup_steps=0)
