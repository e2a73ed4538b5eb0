"""The objectives without a grid, named in configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from consistency_tta.cli import main
from tests.test_cli import distillation_config

TIMES = {"mean": 0.7, "std": 1.6, "terminal_fraction": 0.1}


@pytest.mark.parametrize(
    "objective",
    [
        {
            "class_path": "consistency_tta.training.ConsistencyTraining",
            "init_args": {
                "times": TIMES,
                "pairs": {"class_path": "TighteningPairs", "init_args": {"every": 1, "base": 4.0}},
                "weighting": {"class_path": "consistency_tta.diffusion.weighting.InverseGap"},
            },
        },
        {
            "class_path": "consistency_tta.training.ConsistencyTraining",
            "init_args": {
                "pairs": {
                    "class_path": "GridPairs",
                    "init_args": {"num_discretization_steps": {"start": 4, "end": 8, "every": 1}},
                },
                "guided": True,
                "target_ema_decay": 0.9,
            },
        },
        {
            "class_path": "ContinuousConsistency",
            "init_args": {"times": TIMES, "tangent_warmup_steps": 2, "normalisation": None, "data_std": 0.5},
        },
    ],
    ids=["tightening", "grid", "continuous"],
)
def test_a_configuration_trains(objective: dict[str, Any], teacher_folder: Path, tmp_path: Path) -> None:
    config = distillation_config(teacher_folder, tmp_path / "run", max_steps=2)
    config["model"]["init_args"]["objective"] = objective
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "config.yaml")])
