"""The distillation step: what it queries, what it equals; it can be stopped, resumed and spread over processes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from consistency_tta.contracts import Batch, Conditioning, DistillationOutput, Loss, Networks
from consistency_tta.diffusion.grid import KarrasGrid
from consistency_tta.diffusion.solve import DDIM, Heun
from consistency_tta.diffusion.weighting import MinSNR, Uniform
from consistency_tta.losses import LatentL2Loss, LatentPseudoHuberLoss, MelL2Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import ConsistencyDistillation, DiscretizationSchedule, Distillation
from consistency_tta.training.step_rng import StepRNG
from tests.training.distillation.gaussian import GaussianStudent, distance_to, learn, teacher
from tests.training.distillation.objectives.steps import gaussian_step
from tests.training.runs import Losses, batch, data, distillation, in_training, inputs, query_sizes, rng, trainer

#: Everything that draws, or that changes with the step.
OPTIONS: dict[str, Any] = {
    "num_discretization_steps": DiscretizationSchedule(2, 16, every=3),
    "terminal_fraction": 0.3,
    "teacher_trajectory_fraction": 0.3,
    "teacher_steps": 2,
    "caption_dropout": 0.3,
}


class Outputs(Loss):
    """Keeps what losses are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[DistillationOutput] = []

    def forward(self, out: DistillationOutput) -> torch.Tensor:
        self.seen.append(out)
        return out.student_latent.flatten(1).sum(1)


def test_at_s_0_the_target_is_z_0_and_nothing_is_queried(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    query_sizes: list[int] = []
    for network in (module.frozen.teacher, module.target.module):
        network.register_forward_hook(lambda _m, inputs, _out: query_sizes.append(len(inputs[0])))
    z_0, _, conditioning = inputs(module, 3)
    z_t = torch.randn_like(z_0)
    step = gaussian_step(module.schedule, z_0, conditioning)
    none = torch.empty(0, dtype=torch.long)
    networks, objective = module.networks(averaged=False), module.objective
    target = objective.target_latent(step, networks, z_0, z_t, torch.full((3,), 60.0), torch.zeros(3), none)
    assert torch.equal(target, z_0)
    assert query_sizes == []
    s = torch.tensor([0.0, 500.0, 0.0])
    target = objective.target_latent(step, networks, z_0, z_t, s + 60, s, torch.tensor([1]))
    assert torch.equal(target[[0, 2]], z_0[[0, 2]])
    assert not torch.equal(target[1], z_0[1])
    assert set(query_sizes) == {1}  # only the one row


def test_a_student_learns_the_closed_form() -> None:
    """The ends of the teacher's trajectories, which a Gaussian has in closed form."""
    guide = teacher()
    student = GaussianStudent(guide.schedule)
    assert distance_to(student, guide) > 0.3
    objective = ConsistencyDistillation(Heun(), num_discretization_steps=32, terminal_fraction=0.3)
    objective.build(Networks(student, guide, student), guide.schedule)
    learn(student, objective, guide)
    assert distance_to(student, guide) < 0.03


def test_the_student_starts_at_the_teachers_conditional_denoiser(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    z_t, t, conditioning = inputs(module)
    expected = module.frozen.teacher.denoiser(z_t, t, Conditioning(conditioning.text))
    torch.testing.assert_close(module.student(z_t, t, conditioning), expected)


def test_the_student_reads_the_guidance_scale_after_a_step(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder)
    trainer(tmp_path, max_steps=2).fit(module, data())
    z_t, t, conditioning = inputs(module)
    other = Conditioning(conditioning.text, torch.full((2,), 0.5))
    assert not torch.allclose(module.student(z_t, t, conditioning), module.student(z_t, t, other), atol=1e-6)


def test_the_top_step_is_pure_noise(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    z_0, epsilon = torch.randn(2, 3, 4, 8, 4)
    t = torch.tensor([1000.0, 999.0, 500.0])
    z_t = module.add_noise(z_0, epsilon, t)
    sigma = module.schedule.sigma(torch.tensor(1000.0))
    torch.testing.assert_close(z_t[0], sigma * epsilon[0])
    torch.testing.assert_close(z_t[1:], module.schedule.add_noise(z_0[1:], epsilon[1:], t[1:]))


def test_audio_losses_reach_the_student_and_are_exempt_from_noise_weighting(
    teacher_folder: Path, tmp_path: Path
) -> None:
    losses = {"latent": LatentPseudoHuberLoss(), "mel": MelL2Loss(), "stft": MultiResolutionSTFTLoss()}
    module = distillation(
        teacher_folder, losses=losses, loss_weights={"latent": 0.0, "mel": 0.0}, weighting=MinSNR(gamma=1e-9)
    )
    run = trainer(tmp_path, max_steps=2)  # warm-up begins at a learning rate of 0
    before = module.student.unet.conv_in.weight.detach().clone()
    run.fit(module, data())
    # A weighting of next to nothing and latent weights of 0 leave the STFT loss alone, unweighted.
    torch.testing.assert_close(run.callback_metrics["train/loss"], run.callback_metrics["train/loss/stft"])
    assert not torch.equal(module.student.unet.conv_in.weight, before)


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
def test_a_run_that_had_ended_can_be_made_longer(options: dict[str, Any], teacher_folder: Path, tmp_path: Path) -> None:
    """Nine steps straight equal four (inside the first epoch), the checkpoint left at the end, and five more."""
    straight, resumed = Losses(), Losses()
    module = distillation(teacher_folder, **options)
    again = deepcopy(module)
    trainer(tmp_path, max_steps=9, callbacks=[straight]).fit(module, data())
    saver = ModelCheckpoint(tmp_path, save_last=True, every_n_train_steps=100)
    trainer(tmp_path, max_steps=4, callbacks=[saver], enable_checkpointing=True).fit(again, data())
    rerun = trainer(tmp_path, max_steps=9, callbacks=[resumed])
    rerun.fit(distillation(teacher_folder, **options), data(), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    assert resumed.ids == straight.ids[4:]
    assert resumed.values == straight.values[4:]


def test_resume_is_bit_identical(teacher_folder: Path, tmp_path: Path) -> None:
    """40 steps straight equal 20, and 20 more from a checkpoint inside the fourth epoch (6 steps each)."""
    straight, resumed = Losses(), Losses()
    module = distillation(teacher_folder)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=20, save_top_k=-1)
    run = trainer(tmp_path, max_steps=40, callbacks=[straight, saver], enable_checkpointing=True)
    run.fit(module, data())

    torch.manual_seed(1234)  # another process would start with another global state
    again = distillation(teacher_folder)
    rerun = trainer(tmp_path, max_steps=40, callbacks=[resumed])
    rerun.fit(again, data(), ckpt_path=str(tmp_path / "step=20.ckpt"), weights_only=True)

    assert resumed.ids == straight.ids[20:]
    assert resumed.values == straight.values[20:]
    assert len({tuple(ids) for ids in straight.ids}) > 30
    expected, got = module.state_dict(), again.state_dict()
    assert expected.keys() == got.keys()
    for prefix in ("student.", "target.", "average."):
        assert any(key.startswith(prefix) for key in expected)
    for key, value in expected.items():
        assert torch.equal(value, got[key]), key
    optimizer_state = rerun.optimizers[0].state_dict()["state"]
    for name, state in run.optimizers[0].state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(value, optimizer_state[name][key]), (name, key)
    assert run.lr_scheduler_configs[0].scheduler.state_dict() == rerun.lr_scheduler_configs[0].scheduler.state_dict()


def test_checkpoints_hold_what_is_trained_only(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder)
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    run.save_checkpoint(tmp_path / "it.ckpt")
    checkpoint = torch.load(tmp_path / "it.ckpt", weights_only=True)
    assert {key.split(".")[0] for key in checkpoint["state_dict"]} == {"student", "target", "average"}
    loaded = Distillation.load_from_checkpoint(
        tmp_path / "it.ckpt", objective=ConsistencyDistillation(), losses={"latent": LatentL2Loss()}, weights_only=True
    )
    state = loaded.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_two_ranks_draw_what_one_process_with_twice_the_batch_draws() -> None:
    def draws(rank: int, world_size: int, batch_size: int) -> tuple[torch.Tensor, ...]:
        rng = StepRNG(7, 2, 5, torch.device("cpu"), rank, world_size)
        example = torch.empty(batch_size, 3, 2)
        return (
            rng.normal_like(example),
            rng.integers(18, batch_size),
            rng.uniform(batch_size),
            rng.normal_like(example),
        )

    whole = draws(0, 1, 6)
    for rank in range(2):
        for part, all_rows in zip(draws(rank, 2, 3), whole, strict=True):
            assert torch.equal(part, all_rows[rank::2])
    assert not torch.equal(whole[0], whole[3])


def test_a_guidance_scale_may_be_fixed(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, guidance_scale=3.0)
    seen = []
    module.student.register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[2].guidance_scale))
    trainer(tmp_path, max_steps=1).fit(module, data())
    assert torch.equal(seen[0], torch.full((4,), 3.0))


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_students_of_every_prediction_type_survive_export(
    prediction_type: str, teacher_folder: Path, tmp_path: Path
) -> None:
    module = distillation(teacher_folder, prediction_type=prediction_type)
    trainer(tmp_path, max_steps=2).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "student")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "student").denoiser
    z_t, t, conditioning = inputs(module)
    torch.testing.assert_close(loaded(z_t, t, conditioning), module.average.module(z_t, t, conditioning))
    raw = loaded.predict(z_t, t, conditioning)
    assert torch.equal(raw, loaded(z_t, t, conditioning)) == (prediction_type == "sample")


def test_wrong_settings_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="latnet"):
        distillation(teacher_folder, loss_weights={"latnet": 1.0})
    with pytest.raises(ConfigurationError, match="losses"):
        in_training(distillation(teacher_folder, losses={}), tmp_path).loss(batch(), rng())
    with pytest.raises(ConfigurationError, match=r"3\.0, 1\.0"):
        distillation(teacher_folder, guidance_scale=(3.0, 1.0))
    with pytest.raises(ConfigurationError, match="epsilon"):
        distillation(teacher_folder, prediction_type="epsilon")
    with pytest.raises(ConfigurationError, match="1"):
        distillation(teacher_folder, num_discretization_steps=1)
    with pytest.raises(ConfigurationError, match="terminal_fraction"):
        distillation(teacher_folder, terminal_fraction=0.6, teacher_trajectory_fraction=0.5)
    with pytest.raises(ConfigurationError, match="teacher_steps"):
        distillation(teacher_folder, teacher_trajectory_fraction=0.1, teacher_steps=0)
    with pytest.raises(ConfigurationError, match="caption_dropout"):
        distillation(teacher_folder, caption_dropout=1.0)


def test_the_weighting_is_uniform_if_not_given() -> None:
    weighting = MinSNR()
    assert ConsistencyDistillation(weighting=weighting).weighting is weighting
    assert isinstance(ConsistencyDistillation().weighting, Uniform)


def test_the_least_that_is_possible_is_accepted() -> None:
    ConsistencyDistillation(teacher_steps=0)
    ConsistencyDistillation(terminal_fraction=0.5, teacher_trajectory_fraction=0.5, teacher_steps=1)
    for wrong in ({"teacher_steps": -1}, {"terminal_fraction": -1.0}):
        with pytest.raises(ConfigurationError, match="-1"):
            ConsistencyDistillation(**wrong)


@pytest.mark.parametrize(
    ("steps", "expected"), [((2, 9, 2), [2, 2, 4, 4, 8, 8, 9, 9]), ((9, 2, 3), [9, 9, 9, 4, 4, 4, 2, 2])]
)
def test_the_number_of_steps_follows_the_optimizer_step(
    steps: tuple[int, int, int], expected: list[int], teacher_folder: Path, tmp_path: Path
) -> None:
    outputs = Outputs()
    module = distillation(
        teacher_folder,
        losses={"latent": outputs},
        num_discretization_steps=DiscretizationSchedule(*steps),
        teacher_steps=0,
        grid=KarrasGrid(),
    )
    trainer(tmp_path, max_steps=8, limit_val_batches=1, val_check_interval=2).fit(module, data())
    training = [out for out in outputs.seen if out.student_latent.requires_grad]
    validation = [out for out in outputs.seen if not out.student_latent.requires_grad]
    assert [module.objective.num_steps(step) for step in range(8)] == expected
    for out, number in zip(training, expected, strict=True):
        times = KarrasGrid()(module.schedule, number).float()
        index = (out.t[:, None] == times).nonzero()[:, 1]
        assert len(index) == 4  # all of them are times of the grid
        assert torch.equal(out.s, times[index + 1])
    assert len(validation) == 4
    assert all(torch.equal(out.t, validation[0].t) for out in validation)  # curves that can be compared
    assert torch.isin(validation[0].t, KarrasGrid()(module.schedule, steps[1]).float()).all()


def test_a_share_of_the_examples_is_at_the_top(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(
        distillation(
            teacher_folder, num_discretization_steps=100, terminal_fraction=0.3, teacher_trajectory_fraction=0.2
        ),
        tmp_path,
    )

    def share() -> tuple[float, float]:
        step = module.step(batch(100), rng())
        drawn = [module.objective.draw_times(replace(step, rng=rng(k))) for k in range(20)]
        for t, s, whole in drawn:
            assert torch.equal(whole, (t - s == 1000).nonzero()[:, 0])
            assert (s < t).all()
        return float(torch.cat([t for t, _, _ in drawn]).eq(1000).float().mean()), sum(len(w) for *_, w in drawn) / 2000

    assert share() == pytest.approx((0.5 + 0.5 / 100, 0.2), abs=0.03)
    module.trainer.training = False
    assert share() == pytest.approx((0.01, 0), abs=0.01)


@pytest.mark.parametrize("solver", [DDIM(), Heun()])
def test_the_target_of_a_trajectory_is_where_the_teacher_ends(
    solver: Any, teacher_folder: Path, tmp_path: Path
) -> None:
    outputs = Outputs()
    module = distillation(
        teacher_folder,
        losses={"latent": outputs},
        teacher_trajectory_fraction=1.0,
        teacher_steps=3,
        solver=solver,
        guidance_scale=3.0,
    )
    queries = query_sizes(module.frozen.teacher)
    target = query_sizes(module.target.module)
    in_training(module, tmp_path).loss(batch(4), rng())
    assert queries == [4] * 3 * solver.queries_per_step
    assert target == []
    [out] = outputs.seen
    assert torch.equal(out.t, torch.full((4,), 1000.0))
    assert torch.equal(out.s, torch.zeros(4))

    again = rng()  # the same draws, in the same order
    module.latents(batch(4), again)
    epsilon = again.normal_like(out.target_latent)
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    teacher.set_progress_bar_config(disable=True)
    expected, _ = teacher.sample(batch(4).captions, 3.0, 3, solver, latents=epsilon)
    torch.testing.assert_close(out.target_latent, expected)
    # The student is queried at the noise that this trajectory starts from.
    at_the_noise = module.student(
        module.schedule.prior(epsilon), out.t, Conditioning(module.embed(batch(4)), out.guidance_scale)
    )
    torch.testing.assert_close(out.student_latent, at_the_noise)


def test_only_some_examples_follow_a_whole_trajectory(teacher_folder: Path, tmp_path: Path) -> None:
    outputs = Outputs()
    module = distillation(
        teacher_folder,
        losses={"latent": outputs},
        teacher_trajectory_fraction=0.5,
        teacher_steps=3,
        num_discretization_steps=50,
    )
    queries, target = query_sizes(module.frozen.teacher), query_sizes(module.target.module)
    in_training(module, tmp_path).loss(batch(16), rng())
    [out] = outputs.seen
    whole = int((out.t - out.s == 1000).sum())
    assert 0 < whole < 16
    noisy = int((out.s > 0).sum())
    assert queries == [whole] * 6 + [noisy] * 2  # Heun's three steps, and one
    assert target == [noisy]
    ended = out.s == 0
    assert torch.equal(out.target_latent[ended], out.clean_latent[ended])


def test_the_gap_to_the_teacher(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, teacher_steps=4, solver=DDIM())
    figures = [trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)[0] for _ in range(2)]
    assert figures[0] == figures[1]
    assert 0 < figures[0]["val/teacher_distance"] < 10
    queries = query_sizes(module.frozen.teacher)
    for error, gap in ((0.0, 0.0), (-1.0, 1.0), (0.5, 0.5)):

        def student(
            z_t: torch.Tensor, t: torch.Tensor, conditioning: Conditioning, error: float = error
        ) -> torch.Tensor:
            assert torch.equal(t, torch.full((4,), 1000.0))
            epsilon = z_t / module.schedule.sigma(t)[:, None, None, None]
            return (1 + error) * module.objective.teacher_latent(module.networks(averaged=True), epsilon, conditioning)

        module.average.module.forward = student
        in_training(module, tmp_path).trainer.training = False
        with torch.no_grad():
            measured = module.objective.metrics(module.step(batch(4), rng()), module.networks(averaged=True))
        assert float(measured["teacher_distance"]) == pytest.approx(gap, abs=1e-4)
    assert queries == [4] * 4 * 2 * 3


def test_no_teacher_steps_no_gap(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, teacher_steps=0)
    [figures] = trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)
    assert "val/teacher_distance" not in figures
    assert "val/loss" in figures


def test_validation_shows_losses_by_time(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, num_discretization_steps=2)
    [figures] = trainer(tmp_path, limit_val_batches=1).validate(module, data(), verbose=False)
    by_time = {name: value for name, value in figures.items() if "_t/" in name}
    assert by_time.keys() == {"val/loss/latent_t/1000", "val/loss/latent_t/0250-0500"}
    # The mean of all lies between those of the two times there are.
    assert min(by_time.values()) < figures["val/loss/latent"] < max(by_time.values())


def test_dropped_captions_teach_the_unguided_answer_to_no_caption(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(distillation(teacher_folder, caption_dropout=0.25), tmp_path)
    rain = Batch(["rain on a roof"] * 50, [""] * 50)
    masks = [module.embed(rain, rng(k)).mask for k in range(20)]
    dropped = torch.cat([mask.sum(1) == 1 for mask in masks])  # only the end is left
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.05)
    # Whatever w, guidance from no caption to no caption is no guidance.
    z_t, t, _ = inputs(module)
    empty = module.embed(Batch([""] * 2, [""] * 2))
    guided = module.frozen.teacher(z_t, t, Conditioning(empty, torch.tensor([0.0, 5.0])))
    torch.testing.assert_close(guided, module.frozen.teacher.denoiser(z_t, t, Conditioning(empty)))
    module.trainer.training = False
    assert (module.embed(rain, rng()).mask.sum(1) > 1).all()
