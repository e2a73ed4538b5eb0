"""What the module hands to an objective, and what it makes of its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.contracts import Learner, Networks, Objective, Prediction, Schedule, Step
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import Distillation, StudentConfig
from tests.toys import toy_parts
from tests.training.recorded_encoder import AudioEmbedding
from tests.training.runs import adversary, batch, data, in_training, rng, trainer


class Noted(Objective):
    """Notes what it is given. The student answers at the top time; the target is the clean latent.

    Args:
        options: of its predictions.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.built: list[Networks] = []
        self.calls: list[tuple[Step, Networks]] = []
        self.measured: list[Networks] = []

    def build(self, networks: Networks, schedule: Schedule) -> None:
        self.built.append(networks)

    def forward(self, step: Step, networks: Networks) -> Prediction:
        self.calls.append((step, networks))
        made = step.generate(networks)
        return Prediction(made.latent, step.clean_latent, step.clean_latent, made.t, made.t, **self.options)

    def metrics(self, step: Step, networks: Networks) -> dict[str, Tensor]:
        self.measured.append(networks)
        return {"size": step.clean_latent.abs().mean()}


class Rival(Noted):
    """Has a network of its own, which learns in turn with the student.

    Args:
        name: of the network.
    """

    def __init__(self, name: str = "rival") -> None:
        super().__init__()
        self.name = name
        self.network = nn.Linear(1, 1)

    def learners(self) -> dict[str, Learner]:
        return {self.name: Learner(self.network)}

    def active(self, step: int) -> set[str]:
        return {"rival"} if step % 2 else {"student"}


@pytest.fixture(scope="module")
def teacher() -> TextToAudioPipeline:
    torch.manual_seed(0)
    return TextToAudioPipeline(**toy_parts())


def weight_of(value: float) -> Any:
    return lambda t, schedule: torch.full_like(t, value)


def module_of(objective: Objective, teacher: TextToAudioPipeline, **options: Any) -> Distillation:
    return Distillation(teacher, objective, **({"losses": {"latent": LatentL2Loss()}, "seed": 0} | options))


def losses_of(objective: Objective, teacher: TextToAudioPipeline, folder: Path, **options: Any) -> dict[str, Tensor]:
    """What a training step logs; ``returned`` is its loss."""
    module, logged = in_training(module_of(objective, teacher, **options), folder), {}
    module.log_losses = lambda losses, batch_size: logged.update(losses | {"batch_size": batch_size})
    return {"returned": module.loss(batch(3), rng())} | logged


def test_it_is_built_with_the_networks_that_learn(teacher: TextToAudioPipeline) -> None:
    module = module_of(objective := Noted(), teacher)
    [networks] = objective.built
    assert networks.student is module.student
    assert networks.teacher is module.frozen.teacher
    assert networks.target is None


def test_validation_queries_the_average_and_measures_its_first_batch(
    teacher: TextToAudioPipeline, tmp_path: Path
) -> None:
    module, sounds = module_of(objective := Noted(), teacher), data()
    sounds.val_batch_size = 2
    run = trainer(tmp_path, max_steps=1, val_check_interval=1, limit_val_batches=2)
    run.fit(module, sounds)
    assert [step.training for step, _ in objective.calls] == [True, False, False]
    students = [networks.student for _, networks in objective.calls]
    assert students[0] is module.student
    assert students[1] is students[2] is objective.measured[0].student is module.average.module
    assert len(objective.measured) == 1
    first = objective.calls[1][0].clean_latent
    torch.testing.assert_close(run.callback_metrics["val/size"], first.abs().mean())
    assert "val/loss" in run.callback_metrics


def test_a_step_says_how_long_its_sounds_are(teacher: TextToAudioPipeline, tmp_path: Path) -> None:
    step = in_training(module_of(Noted(), teacher), tmp_path).step(batch(3), rng())
    seconds = step.conditioning.scalars
    assert seconds["seconds_start"].tolist() == [0, 0, 0]
    torch.testing.assert_close(seconds["seconds_total"], torch.full((3,), 8 * 4 * 160 / 16000))
    assert not step.sharded


def test_losses_read_the_guidance_scale_of_the_step(teacher: TextToAudioPipeline, tmp_path: Path) -> None:
    objective, outputs = Noted(), AudioEmbedding()
    losses_of(objective, teacher, tmp_path, losses={"sound": outputs})
    [out], [(step, _)] = outputs.seen, objective.calls
    assert torch.equal(out.guidance_scale, step.guidance_scale)
    assert len(out.guidance_scale.unique()) == 3


@pytest.mark.parametrize(
    ("own", "predictions", "expected"), [(7.0, 0.5, 0.5), (7.0, None, 7.0), (None, 0.5, 0.5), (None, None, 1.0)]
)
def test_the_weighting_is_the_predictions_or_else_the_objectives(
    own: float | None, predictions: float | None, expected: float, teacher: TextToAudioPipeline, tmp_path: Path
) -> None:
    objective = Noted(weighting=None if predictions is None else weight_of(predictions))
    if own is not None:
        objective.weighting = weight_of(own)
    logged = losses_of(objective, teacher, tmp_path)
    torch.testing.assert_close(logged["loss"], expected * logged["loss/latent"])


def test_losses_of_the_objective_are_added_as_they_are(teacher: TextToAudioPipeline, tmp_path: Path) -> None:
    objective = Noted(losses={"own": torch.tensor([1.0, 2.0, 6.0])}, latent_weight=2.0, weighting=weight_of(0.5))
    logged = losses_of(objective, teacher, tmp_path, loss_weights={"latent": 5.0})
    torch.testing.assert_close(logged["loss"], 2 * 0.5 * 5 * logged["loss/latent"] + 3)
    assert logged["loss/own"] == 3
    assert logged["returned"] is logged["loss"]
    assert logged["batch_size"] == 3


@pytest.mark.parametrize("optional", [False, True])
def test_latents_need_a_loss_unless_they_are_optional(
    optional: bool, teacher: TextToAudioPipeline, tmp_path: Path
) -> None:
    objective = Noted(losses={"own": torch.full((3,), 4.0)}, latents_optional=optional)
    both = losses_of(objective, teacher, tmp_path)
    torch.testing.assert_close(both["loss"], both["loss/latent"] + 4)
    if optional:
        assert losses_of(objective, teacher, tmp_path, losses=None)["loss"] == 4
    else:
        with pytest.raises(ConfigurationError, match="none"):
            losses_of(objective, teacher, tmp_path, losses=None)


def test_without_latents_its_own_losses_are_all(teacher: TextToAudioPipeline, tmp_path: Path) -> None:
    class Own(Noted):
        def forward(self, step: Step, networks: Networks) -> Prediction:
            return Prediction(losses={"one": torch.ones(3), "two": torch.full((3,), 2.0)})

    logged = losses_of(Own(), teacher, tmp_path)
    assert logged.keys() == {"returned", "loss", "loss/one", "loss/two", "batch_size"}
    assert logged["loss"] == 3


def test_who_learns_is_the_objectives_choice_and_losses_learn_with_the_student(
    teacher: TextToAudioPipeline, tmp_path: Path
) -> None:
    losses = {"latent": LatentL2Loss(), "adversary": adversary()}
    module = in_training(module_of(Rival(), teacher, losses=losses), tmp_path)
    assert module.learners().keys() == {"student", "rival", "loss/adversary"}
    assert module.active(0) == {"student", "loss/adversary"}
    assert module.active(1) == {"rival"}
    assert module.step(batch(2), rng()).active == {"student", "loss/adversary"}
    module.trainer.training = False
    assert module.step(batch(2), rng()).active == {"student", "rival", "loss/adversary"}


def test_names_that_clash_or_name_nothing_are_refused(teacher: TextToAudioPipeline) -> None:
    for name in ("student", "loss/adversary"):
        module = module_of(Rival(name), teacher, losses={"adversary": adversary()})
        with pytest.raises(ConfigurationError, match=name):
            module.learners()
    with pytest.raises(ConfigurationError, match="rival"):
        module_of(Rival("other"), teacher).active(1)


def test_the_stages_before_are_those_of_what_the_student_starts_from(teacher: TextToAudioPipeline) -> None:
    start = module_of(Noted(), teacher).pipeline()
    start.register_to_config(training=[{"steps": 7}])
    module = module_of(Noted(), teacher, student=StudentConfig(start))
    assert list(module.earlier_stages) == [{"steps": 7}]
    assert list(module_of(Noted(), teacher).earlier_stages) == []
