"""Text encoder and codec in bfloat16, in whole trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from consistency_tta.losses import LatentL2Loss, MultiResolutionSTFTLoss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import ExportFolder, FrozenInBfloat16, LogSounds
from tests.training.runs import data, differences, diffusion, distillation, equal, trainer, vocoder


def run(folder: Path, module: Any, callbacks: list[Callback], **settings: Any) -> Any:
    """Train in bf16-mixed, and leave the last checkpoint and the model."""
    checkpoint = settings.pop("ckpt_path", None)
    own = [ExportFolder(str(folder / "model")), *callbacks]
    made = trainer(folder, precision="bf16-mixed", callbacks=own, **({"max_steps": 3} | settings))
    made.fit(module, data(2), ckpt_path=checkpoint)
    made.save_checkpoint(folder / "last.ckpt")
    return module


def state(folder: Path) -> dict[str, Any]:
    """Weights, averages and the optimizer's state of the last checkpoint."""
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    return {name: checkpoint[name] for name in ("state_dict", "optimizer_states")}


def test_a_training_is_what_it_was_and_exports_the_original_weights(teacher_folder: Path, tmp_path: Path) -> None:
    losses = {"latent": LatentL2Loss(), "stft": MultiResolutionSTFTLoss([64], [16], [64])}
    previews = {"limit_val_batches": 1, "val_check_interval": 3}
    for name, rounded in (("plain", []), ("rounded", [FrozenInBfloat16()])):
        callbacks = [LogSounds(1, teacher=False), *rounded]
        torch.manual_seed(0)  # of the student's new layers
        module = run(tmp_path / name, distillation(teacher_folder, losses=losses), callbacks, **previews)
    for held in (module.frozen.text, module.frozen.codec):
        assert torch.bfloat16 in {parameter.dtype for parameter in held.parameters()}
    assert not differences(state(tmp_path / "plain"), state(tmp_path / "rounded"))
    sounds = [sorted((tmp_path / name / "sounds").glob("*.wav")) for name in ("plain", "rounded")]
    assert len(sounds[0]) == 2  # the preview and the recording
    assert [file.read_bytes() for file in sounds[0]] == [file.read_bytes() for file in sounds[1]]
    models = [TextToAudioPipeline.from_pretrained(folder) for folder in (teacher_folder, tmp_path / "rounded/model")]
    for part in ("text_encoder", "vae", "vocoder"):
        assert equal(*(getattr(model, part).state_dict() for model in models))


def test_a_run_goes_on_exactly(teacher_folder: Path, tmp_path: Path) -> None:
    chosen = {"plain": [], "rounded": [FrozenInBfloat16(codec=False)]}
    run(tmp_path / "straight", diffusion(teacher_folder), [])
    for half, callbacks in chosen.items():
        run(tmp_path / half, diffusion(teacher_folder), callbacks, max_steps=1)
        resumed = tmp_path / f"{half} resumed"
        run(resumed, diffusion(teacher_folder), chosen["rounded"], ckpt_path=tmp_path / half / "last.ckpt")
        assert not differences(state(tmp_path / "straight"), state(resumed))
    models = [TextToAudioPipeline.from_pretrained(folder) for folder in (teacher_folder, resumed / "model")]
    assert equal(*(model.text_encoder.state_dict() for model in models))


def test_what_it_cannot_do_is_refused(teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither"):
        FrozenInBfloat16(text_encoder=False, codec=False)
    settings: dict[str, Any] = {"max_steps": 1, "callbacks": [FrozenInBfloat16()]}
    with pytest.raises(ConfigurationError, match="32-true"):
        trainer(tmp_path, **settings).fit(distillation(teacher_folder), data(2))
    with pytest.raises(ConfigurationError, match="VocoderTraining"):
        trainer(tmp_path, precision="bf16-mixed", **settings).fit(vocoder(teacher_folder), data(2))
