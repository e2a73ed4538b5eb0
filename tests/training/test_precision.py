"""Every training in every precision: it trains, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.trainer.states import TrainerFn

from consistency_tta.components import blocked_attention
from consistency_tta.datamodules import LatentsDataModule
from consistency_tta.encode import encode
from consistency_tta.losses import LatentL2Loss, MelL2Loss
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import Distillation, placed_networks
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.optimizer import trainable_parameters
from consistency_tta.training.precision import REFUSED, check_precision
from tests.training.runs import MAKERS, Losses, data, distillation, trainer


def audio(folder: Path) -> Distillation:
    """Stage 3: losses of sound, and a decoder that is trained along; the teacher also makes start latents."""
    return distillation(
        folder,
        losses={"latent": LatentL2Loss(), "mel": MelL2Loss()},
        train_decoder=True,
        crop_frames=16,
        teacher_trajectory_fraction=0.3,
        teacher_steps=2,
        num_discretization_steps=4,
    )


STAGES: dict[str, Callable[[Path], TrainingModule]] = {**MAKERS, "audio": audio}


@pytest.fixture(scope="module")
def latents(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded beforehand."""
    return encode(data(), str(teacher_folder), tmp_path_factory.mktemp("encoded") / "latents", device="cpu")


def float16_mixed() -> dict[str, Any]:
    """As on a GPU: Lightning's own option takes bfloat16 on a CPU. The scale starts where few steps are skipped."""
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)  # type: ignore[attr-defined]
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


@pytest.mark.parametrize("name", list(STAGES))
def test_16_mixed_trains_every_stage(name: str, teacher_folder: Path, latents: Path, tmp_path: Path) -> None:
    """``test_base.py`` has 32-true and bf16-mixed; the distillations read latents encoded beforehand here."""
    module, losses = STAGES[name](teacher_folder), Losses()
    trained = [p for learner in module.learners().values() for p in trainable_parameters(learner.module)]
    before = [parameter.detach().clone() for parameter in trained]
    run = trainer(
        tmp_path, max_steps=2, val_check_interval=2, limit_val_batches=1, callbacks=[losses], **float16_mixed()
    )
    encoded = LatentsDataModule(str(latents), str(latents), batch_size=4)
    run.fit(module, encoded if name in ("guidance", "distillation", "audio") else data())
    assert torch.tensor(losses.values).isfinite().all()
    assert run.callback_metrics["val/loss"].isfinite()
    assert run.callback_metrics["train/skipped_steps"] == 0
    unchanged = [new for new, old in zip(trained, before, strict=True) if torch.equal(new, old)]
    assert len(unchanged) < 0.1 * len(trained)
    assert {parameter.dtype for parameter in trained} == {torch.float32}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", ["guidance", "distillation", "audio"])
def test_stages_train_from_encoded_latents(
    name: str, precision: Any, teacher_folder: Path, latents: Path, tmp_path: Path
) -> None:
    run = trainer(tmp_path, max_steps=2, precision=precision, val_check_interval=2, limit_val_batches=1)
    run.fit(STAGES[name](teacher_folder), LatentsDataModule(str(latents), str(latents), batch_size=4))
    assert run.callback_metrics["train/loss"].isfinite()
    assert run.callback_metrics["val/loss"].isfinite()


def test_other_precisions_are_refused_before_the_first_step(teacher_folder: Path, tmp_path: Path) -> None:
    for make in STAGES.values():
        module = make(teacher_folder)
        for precision in REFUSED:
            run = trainer(tmp_path, max_steps=1, precision=precision)
            with pytest.raises(ConfigurationError, match=precision):
                run.fit(module, data())
            assert run.global_step == 0


@pytest.mark.parametrize("what", [TrainerFn.FITTING, TrainerFn.VALIDATING, TrainerFn.PREDICTING])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", *REFUSED])
def test_sounds_are_predicted_in_any_precision(what: TrainerFn, precision: str) -> None:
    run: Any = SimpleNamespace(precision=precision, state=SimpleNamespace(fn=what))
    refused = precision in REFUSED and what != TrainerFn.PREDICTING
    with pytest.raises(ConfigurationError, match=precision) if refused else nullcontext():
        check_precision(run)


def test_an_average_in_bfloat16_stands_still() -> None:
    """The reason for which bf16-true is refused."""
    source = torch.nn.Linear(1, 1, bias=False)
    for dtype, moves in ((torch.float32, True), (torch.bfloat16, False)):
        torch.nn.init.ones_(source.to(dtype).weight)
        average = ExponentialMovingAverage(source, 0.999)
        torch.nn.init.constant_(source.weight, 2.0)
        for _ in range(100):
            average.update(source)
        assert bool(next(average.module.parameters()) > 1.05) == moves


def test_bf16_on_a_cpu_attends_in_blocks_where_that_is_faster(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked_attention, "SHORTEST", 8)  # the toys attend to few positions

    def blocks(faster: bool, precision: Any) -> tuple[set[str], list[float]]:
        """Which networks attend in blocks, and the loss of a step."""
        monkeypatch.setattr(placed_networks, "faster_in_blocks", lambda: faster)
        module, losses = distillation(teacher_folder), Losses()
        trainer(tmp_path, max_steps=1, precision=precision, callbacks=[losses]).fit(module, data())
        networks = {
            "student": module.student,
            "average": module.average,
            "target": module.target,
            "teacher": module.frozen.teacher,
        }
        found = {
            name
            for name, network in networks.items()
            if any(isinstance(layer, blocked_attention.BlockedAttention) for layer in network.modules())
        }
        return found, losses.values

    none, plain = blocks(False, "bf16-mixed")
    with mock.patch.object(
        blocked_attention, "blocked_attention", wraps=blocked_attention.blocked_attention
    ) as computed:
        everything, losses = blocks(True, "bf16-mixed")
    assert computed.called
    assert not none
    assert everything == {"student", "average", "target", "teacher"}
    none, exact = blocks(True, "32-true")
    assert not none
    assert plain == pytest.approx(exact, rel=0.02)
    assert losses == pytest.approx(exact, rel=0.02)
