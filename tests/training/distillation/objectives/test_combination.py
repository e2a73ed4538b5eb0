"""Objectives together: sums, weights, shared queries, networks that take turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from consistency_tta.contracts import FinalPhase, Learner, Networks, Objective, Optimization, Prediction, Step
from consistency_tta.diffusion.weighting import MinSNR, Uniform
from consistency_tta.losses import LatentL2Loss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import (
    AdversarialDistillation,
    Anchor,
    CombinedObjective,
    ConsistencyDistillation,
    ContinuousConsistency,
    Distillation,
    DistributionMatching,
    GuidanceDistillation,
    MeanFlow,
    Ramp,
)
from tests.diffusion.conftest import SCHEDULES
from tests.training.distillation.objectives.steps import AffineStudent, conditioning, gaussian_step
from tests.training.runs import FAST, Losses, batch, data, equal, in_training, query_sizes, rng, snapshot, trainer


class SampleNorm(Objective):
    """The squares of what the student generates, times a factor that learns along in turn."""

    needs_teacher = False

    def __init__(self, turns: int = 1) -> None:
        super().__init__()
        self.factor = torch.nn.Linear(1, 1, bias=False)
        self.turns = turns
        self.seen: list[frozenset[str]] = []

    def learners(self) -> dict[str, Learner]:
        """The factor."""
        return {"factor": Learner(self.factor)}

    def active(self, step: int) -> set[str]:
        """The student at every ``turns``-th step."""
        return {"factor", "student"} if step % self.turns == 0 else {"factor"}

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One shared query."""
        self.seen.append(step.active)
        sample = step.generate(networks).latent
        sample = sample if "student" in step.active else sample.detach()
        return Prediction(losses={"norm": self.factor.weight.sum() * sample.square().flatten(1).mean(1)})


def both(**options: object) -> CombinedObjective:
    parts = {"matching": DistributionMatching(), "norm": SampleNorm()}
    return CombinedObjective(parts, **options)


class Reporting(SampleNorm):
    """Has a sampler and a metric, which are its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.built = name, []

    def build(self, networks: Networks, schedule: Any) -> None:
        self.built.append((networks, schedule))

    def sampler(self) -> str:
        return self.name

    def metrics(self, step: Step, networks: Networks) -> dict[str, Any]:
        return {self.name: (step, networks)}


def test_its_parts_are_built_and_report() -> None:
    parts = {"plain": SampleNorm(), "one": Reporting("first"), "other": Reporting("second")}
    objective, schedule = CombinedObjective(parts), SCHEDULES["rectified_flow"]()
    networks: Any = Networks(AffineStudent(schedule, torch.ones(1), torch.ones(1)))
    step = gaussian_step(schedule, torch.zeros(1, 1, 1), conditioning(torch.zeros(1), 1))
    objective.build(networks, schedule)
    assert [parts[name].built for name in ("one", "other")] == [[(networks, schedule)]] * 2
    assert objective.sampler() == "first"
    assert objective.metrics(step, networks) == dict.fromkeys(("first", "second"), (step, networks))
    assert not objective.needs_teacher
    assert objective.weights == dict.fromkeys(parts, 1.0)
    assert CombinedObjective({"plain": SampleNorm(), "matching": DistributionMatching()}).needs_teacher


def test_the_student_is_queried_once_for_all(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(Distillation(str(teacher_folder), both(), optimization=FAST), tmp_path)
    sizes = query_sizes(module.student)
    module.loss(batch(), rng())
    assert sizes == [4]


def test_losses_add_with_their_weights(teacher_folder: Path, tmp_path: Path) -> None:
    """The combination's loss is the weighted sum of what each says of the same step."""
    objective = both(weights={"matching": 0.5, "norm": Ramp(0.0, 4.0, steps=2)})
    module = in_training(Distillation(str(teacher_folder), objective, optimization=FAST), tmp_path)
    step = module.step(batch(), rng())
    step.global_step = 1
    losses = objective(step, module.networks(averaged=False)).losses
    assert list(losses) == ["matching/fake", "matching/distribution", "norm/norm"]
    sample, weight = step.generate(module.networks(averaged=False)).latent, objective.objectives["norm"].factor.weight
    torch.testing.assert_close(losses["norm/norm"], 2.0 * weight.sum() * sample.square().flatten(1).mean(1))
    alone = objective.objectives["matching"].fake_loss(module.step(batch(), rng()), sample.detach())
    assert alone.shape == losses["matching/fake"].shape
    module.log_losses = lambda losses, _: module.__dict__.update(logged=losses)
    total = module.loss(batch(), rng())
    logged = {name: value for name, value in module.__dict__["logged"].items() if name != "loss"}
    torch.testing.assert_close(total.detach(), sum(logged.values()))


def test_a_weight_is_applied_to_the_loss_plugins_of_latents(teacher_folder: Path, tmp_path: Path) -> None:
    def loss(weight: float) -> Tensor:
        torch.manual_seed(0)
        objective = CombinedObjective({"consistency": ConsistencyDistillation()}, {"consistency": weight})
        module = Distillation(str(teacher_folder), objective, {"latent": LatentL2Loss()}, optimization=FAST)
        return in_training(module, tmp_path).loss(batch(), rng())

    torch.testing.assert_close(loss(0.25), loss(1.0) / 4)


def test_one_objective_in_a_combination_is_that_objective(teacher_folder: Path, tmp_path: Path) -> None:
    """Bit for bit, target network and weighting included."""
    runs = []
    for combine in (False, True):
        torch.manual_seed(0)
        alone = ConsistencyDistillation(weighting=MinSNR(), terminal_fraction=0.3, target_ema_decay=0.5)
        objective = CombinedObjective({"only": alone}) if combine else alone
        losses = Losses()
        module = Distillation(str(teacher_folder), objective, {"latent": LatentL2Loss()}, optimization=FAST)
        trainer(tmp_path, max_steps=4, callbacks=[losses]).fit(module, data())
        runs.append(losses.values)
    assert runs[0] == runs[1]


def test_networks_take_turns_as_each_objective_says(teacher_folder: Path, tmp_path: Path) -> None:
    norm = SampleNorm(turns=2)
    objective = CombinedObjective({"matching": DistributionMatching(warmup_steps=3), "norm": norm})
    assert [sorted(objective.active(step)) for step in range(4)] == [
        ["matching/fake", "norm/factor", "student"],
        ["matching/fake", "norm/factor"],
        ["matching/fake", "norm/factor", "student"],
        ["matching/fake", "norm/factor", "student"],
    ]
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    run = trainer(tmp_path, max_steps=4)
    run.fit(module, data())
    assert [sorted(active) for active in norm.seen] == [["factor", "student"], ["factor"]] * 2
    assert [group["name"] for group in run.optimizers[0].param_groups] == ["student", "matching/fake", "norm/factor"]


def test_only_objectives_that_update_the_student_give_it_gradients() -> None:
    schedule = SCHEDULES["rectified_flow"]().double()
    student = AffineStudent(schedule, torch.ones(2).double(), torch.ones(2).double())
    mean = torch.zeros(2).double()
    objective = CombinedObjective({"norm": SampleNorm(turns=2).double()})
    for number, learns in ((0, True), (1, False)):
        active = frozenset(objective.active(number))
        step = gaussian_step(schedule, torch.zeros(4, 2, 3).double(), conditioning(mean, 4), number, active=active)
        student.shift.grad = None
        sum(loss.sum() for loss in objective(step, Networks(student)).losses.values()).backward()
        assert (student.shift.grad is not None) == learns


def test_the_student_may_learn_only_where_all_objectives_update_it(teacher_folder: Path, tmp_path: Path) -> None:
    """At the other steps those that update nothing else are not computed; one of weight 0 does not count."""
    norms = {"norm": SampleNorm(turns=2), "late": SampleNorm(turns=3)}
    parts = {"consistency": ConsistencyDistillation(target_ema_decay=None), **norms}
    objective = CombinedObjective(parts, {"late": Ramp(0.0, 1.0, steps=1, begin=3)}, student_updates="all")
    learns = [step for step in range(13) if "student" in objective.active(step)]
    assert learns == [0, 2, 6, 12]
    assert objective.active(4) == {"norm/factor", "late/factor"}
    losses = {"latent": LatentL2Loss()}
    module = in_training(Distillation(str(teacher_folder), objective, losses, optimization=FAST), tmp_path)
    for number in (0, 4):
        step = module.step(batch(), rng())
        step.global_step, step.active = number, frozenset(objective.active(number))
        assert (objective(step, module.networks(averaged=False)).student_latent is not None) == (number == 0)
    with pytest.raises(ConfigurationError, match="some"):
        CombinedObjective(norms, student_updates="some")


def test_a_flow_map_may_be_matched_as_a_distribution(teacher_folder: Path, tmp_path: Path) -> None:
    """MeanFlow reads a second time; what it generates, at s = 0, is shared."""
    objective = CombinedObjective({"flow": MeanFlow(), "distribution": DistributionMatching()})
    assert objective.second_time
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    run = trainer(tmp_path, max_steps=2)
    run.fit(module, data())
    assert {"train/loss/flow/mean_flow", "train/loss/distribution/distribution"} <= run.callback_metrics.keys()
    assert module.pipeline()(["a tone"], guidance_scale=2.0, num_inference_steps=2).queries == 2


def three(folder: Path) -> Distillation:
    """Consistency, distribution matching and an adversary, three optimizers that take turns."""
    objectives = {
        "consistency": ConsistencyDistillation(terminal_fraction=0.3),
        "distribution": DistributionMatching(
            Optimization(learning_rate=1e-3, betas=(0.0, 0.9)),
            fake_steps=2,
            alternating=True,
            guidance_share=Ramp(0.5, 1.0, steps=1, begin=4),
            max_queries=2,
        ),
        "adversarial": AdversarialDistillation(Optimization(learning_rate=2e-3, warmup_steps=3), warmup_steps=1),
    }
    objective = CombinedObjective(objectives, {"distribution": Ramp(0.0, 2.0, steps=3, begin=1)})
    phases = replace(FAST, final_phase=FinalPhase(4, 1e-3, warmup_steps=2))
    return Distillation(str(folder), objective, {"latent": LatentL2Loss()}, optimization=phases)


def rcm(folder: Path) -> Distillation:
    """The student and the fake score take turns after the warm-up of the tangent."""
    objectives = {
        "continuous": ContinuousConsistency(tangent_warmup_steps=2),
        "distribution": DistributionMatching(fake_steps=2, alternating=True, max_queries=2),
    }
    weights = {"distribution": Ramp(0.0, 1.0, steps=1, begin=1)}
    objective = CombinedObjective(objectives, weights, student_updates="all")
    return Distillation(str(folder), objective, {"latent": LatentL2Loss()}, optimization=FAST)


@pytest.mark.parametrize(("make", "stops"), [(three, (2,)), (three, (3, 5)), (rcm, (1, 4))])
def test_several_optimizers_resume_bit_for_bit(
    make: Callable[[Path], Distillation], stops: tuple[int, ...], teacher_folder: Path, tmp_path: Path
) -> None:
    straight, values, checkpoint = Losses(), [], None
    module = make(teacher_folder)
    run = trainer(tmp_path, max_steps=8, callbacks=[straight])
    run.fit(module, data())
    for number, stop in enumerate((*stops, 8)):
        torch.manual_seed(number)
        part, again = Losses(), make(teacher_folder)
        saver = ModelCheckpoint(tmp_path / str(number), save_last=True, every_n_train_steps=stop)
        rerun = trainer(tmp_path, max_steps=stop, callbacks=[part, saver], enable_checkpointing=True)
        rerun.fit(again, data(), ckpt_path=checkpoint, weights_only=True)
        values, checkpoint = values + part.values, str(tmp_path / str(number) / "last.ckpt")
    assert values == straight.values
    assert equal(snapshot(module, run), snapshot(again, rerun))


def test_a_ramp_is_linear_and_validation_has_its_end() -> None:
    ramp = Ramp(1.0, 3.0, steps=4, begin=2)
    assert [ramp(step) for step in (0, 2, 3, 4, 6, 100)] == [1.0, 1.0, 1.5, 2.0, 3.0, 3.0]
    objective = CombinedObjective({"norm": SampleNorm()}, {"norm": ramp})
    assert objective.weight("norm", 3) == 1.5
    assert objective.weight("norm", 3, training=False) == 3.0
    Ramp(0.0, 1.0, steps=1, begin=0)
    for wrong in ({"steps": 0}, {"steps": 1, "begin": -1}):
        with pytest.raises(ConfigurationError, match=str(list(wrong.values())[-1])):
            Ramp(0.0, 1.0, **wrong)


def test_an_objective_of_weight_0_is_not_computed_and_its_networks_wait(teacher_folder: Path, tmp_path: Path) -> None:
    late = SampleNorm()
    objective = CombinedObjective(
        {"matching": DistributionMatching(), "late": late}, {"late": Ramp(0.0, 1.0, 1, begin=2)}
    )
    module = Distillation(str(teacher_folder), objective, optimization=FAST)
    before = late.factor.weight.detach().clone()
    trainer(tmp_path, max_steps=3).fit(module, data())
    assert late.seen == []
    assert torch.equal(late.factor.weight, before)
    assert [("late/factor" in objective.active(step)) for step in range(5)] == [False, False, False, True, True]
    trainer(tmp_path, max_steps=4).fit(module, data())  # from step 0 again: the third is the last without it
    assert len(late.seen) == 1


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        CombinedObjective({})
    with pytest.raises(ConfigurationError, match="norn"):
        CombinedObjective({"norm": SampleNorm()}, {"norn": 1.0})
    for weight in (0.0, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match=str(weight)):
            CombinedObjective({"norm": SampleNorm()}, {"norm": weight})
    CombinedObjective({"norm": SampleNorm(), "none": SampleNorm()}, {"none": 0.0})
    CombinedObjective({"norm": SampleNorm()}, {"norm": Ramp(0.0, 1.0, steps=1)})
    with pytest.raises(ConfigurationError, match="one_query"):
        CombinedObjective({"guidance": GuidanceDistillation(), "norm": SampleNorm()})
    one, other = (ConsistencyDistillation(target_ema_decay=decay) for decay in (0.9, 0.5))
    with pytest.raises(ConfigurationError, match="target_ema_decay"):
        CombinedObjective({"one": one, "other": other})


class Compared(Objective):
    """Latents that differ by ``size``, for the loss plugins alone."""

    needs_teacher = False

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size, self.weighting = size, Uniform()

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The difference is that of ``size``, whatever the student returns."""
        made = step.generate(networks)
        target = (made.latent - self.size).detach()
        return Prediction(made.latent, target, step.clean_latent, made.t, torch.zeros_like(made.t))


def distil(objective: Objective, folder: Path, tmp_path: Path, losses: bool = True) -> Distillation:
    plugins = {"latent": LatentL2Loss()} if losses else None
    return in_training(Distillation(str(folder), objective, plugins, optimization=FAST), tmp_path)


@pytest.mark.parametrize("names", [["anchor", "compared"], ["compared", "anchor"]])
def test_latents_that_need_it_are_compared_in_any_order(names: list[str], teacher_folder: Path, tmp_path: Path) -> None:
    parts = {"anchor": Anchor(), "compared": Compared(2.0)}
    objective = CombinedObjective({name: parts[name] for name in names}, {"compared": 0.5})
    module = distil(objective, teacher_folder, tmp_path)
    torch.testing.assert_close(module.loss(batch(), rng()), torch.tensor(0.5 * 4.0))  # the anchor's distance is 0
    step = module.step(batch(), rng())
    prediction = objective(step, module.networks(averaged=False))
    assert prediction.weighting is parts["compared"].weighting
    assert list(prediction.losses) == ["anchor/distance"]


def test_latents_that_nothing_compares_are_refused(teacher_folder: Path, tmp_path: Path) -> None:
    """Of two objectives all but one would be lost; without loss plugins all."""
    two = CombinedObjective({"one": Compared(1.0), "other": Compared(2.0)})
    with pytest.raises(ConfigurationError, match="one and other"):
        distil(two, teacher_folder, tmp_path).loss(batch(), rng())
    mixed = CombinedObjective({"compared": Compared(1.0), "norm": SampleNorm()})
    with pytest.raises(ConfigurationError, match="losses"):
        distil(mixed, teacher_folder, tmp_path, losses=False).loss(batch(), rng())


def test_it_declares_what_its_parts_need() -> None:
    consistency = ConsistencyDistillation(weighting=Uniform(), target_ema_decay=0.9)
    objective = CombinedObjective({"norm": SampleNorm(), "consistency": consistency})
    assert (objective.needs_teacher, objective.one_query, objective.second_time) == (True, True, False)
    assert objective.target_ema_decay == 0.9
    assert not CombinedObjective({"norm": SampleNorm()}).needs_teacher
