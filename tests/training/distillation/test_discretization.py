"""How the number of steps changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.cli import main
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import DiscretizationSchedule
from tests.toys import NUM_SAMPLES


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (10, 80, [10, 20, 40, 80, 80]),  # s_0 and s_1 of Song and Dhariwal are such a pair
        (4, 36, [4, 8, 16, 32, 36, 36]),
        (36, 4, [36, 18, 9, 4, 4]),
        (18, 18, [18, 18]),
    ],
)
def test_it_doubles_or_halves_until_the_end(start: int, end: int, expected: list[int]) -> None:
    steps = DiscretizationSchedule(start, end, every=100)
    assert [steps(100 * change) for change in range(len(expected))] == expected
    assert [steps(100 * change + 99) for change in range(len(expected))] == expected
    assert steps(10**9) == end
    assert steps.all() == list(dict.fromkeys(expected))


def test_impossible_numbers_are_named() -> None:
    with pytest.raises(ConfigurationError, match="num_discretization_steps"):
        DiscretizationSchedule(8, 1, 10)
    with pytest.raises(ConfigurationError, match="every"):
        DiscretizationSchedule(2, 8, 0)


def test_it_is_three_numbers_of_a_configuration(teacher_folder: Path, tmp_path: Path) -> None:
    arguments = ["fit", "--model", "Distillation", "--model.teacher", str(teacher_folder)]
    arguments += ["--model.losses", "{latent: {class_path: LatentHuberLoss}}"]
    arguments += ["--model.objective", "ConsistencyDistillation", "--model.objective.terminal_fraction", "0.5"]
    arguments += ["--model.objective.num_discretization_steps", "{start: 2, end: 8, every: 1}"]
    arguments += ["--data", "SyntheticDataModule", "--data.num_samples", str(NUM_SAMPLES), "--data.num_clips", "4"]
    arguments += ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--trainer.accelerator", "cpu"]
    arguments += ["--trainer.default_root_dir", str(tmp_path), "--trainer.logger", "false"]
    module = main(arguments).model
    assert module.objective.num_steps == DiscretizationSchedule(2, 8, 1)
    assert set(module.objective.times) == {2, 4, 8}
    [checkpoint] = tmp_path.rglob("*.ckpt")
    main(["export", str(checkpoint), "--output", str(tmp_path / "exported")])
    assert TextToAudioPipeline.from_pretrained(tmp_path / "exported").sampler.one_query
