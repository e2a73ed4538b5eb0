"""The Python of the README runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.cli import main
from tests.toys import NUM_SAMPLES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_loss_and_the_objective_train(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in BLOCKS:
        if name := re.match(r"# (\w+)\.py", block):
            (tmp_path / f"{name[1]}.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    (loud,) = (block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "my_losses" in block)
    (tmp_path / "loud.yaml").write_text(loud)
    options = {
        "model.teacher": teacher_folder,
        "model.objective": "my_objectives.ConsistencyTraining",
        "data": "SyntheticDataModule",
        "data.num_clips": 4,
        "data.num_samples": NUM_SAMPLES,
        "data.batch_size": 2,
        "trainer.max_steps": 2,
        "trainer.accelerator": "cpu",
        "trainer.logger": "false",
        "trainer.default_root_dir": tmp_path,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    run: Any = main(["fit", "--config", str(tmp_path / "loud.yaml"), *arguments])
    assert torch.isfinite(run.trainer.callback_metrics["train/loss/loudness"])
    assert type(run.model.objective).__name__ == "ConsistencyTraining"


def test_python_makes_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in BLOCKS if "dog.wav" in block)
    found: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), found)
    sound = found["sound"]
    assert (sound.audios.shape[0], sound.sample_rate, sound.queries) == (1, 16000, 1)
    assert sound.audios.abs().max() <= 1
    assert (tmp_path / "dog.wav").is_file()


def test_python_trains(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in BLOCKS if "pl.Trainer" in block)
    # A smaller teacher, and shorter sounds: training the bundled one takes half a minute.
    block = block.replace('"tiny-teacher"', repr(str(teacher_folder))).replace("81920", str(NUM_SAMPLES))
    assert str(teacher_folder) in block
    found: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), found)
    assert found["trainer"].global_step == 2
    assert found["student"].sampler.one_query
    assert (tmp_path / "student" / "model_index.json").is_file()
