"""Settings of a checkpoint that the configuration has otherwise."""

from __future__ import annotations

from consistency_tta.cli.changed_settings import changed_settings


def test_classes_come_first_and_what_only_one_version_knows_is_left_out() -> None:
    before = {
        "_class_path": "Distillation",
        "teacher": "one",
        "betas": (0.9, 0.999),
        "gone": 1,
        "objective": {"class_path": "A", "init_args": {"steps": 18}},
        "losses": {"latent": {"class_path": "L"}},
    }
    now = {
        "teacher": "other",
        "betas": [0.9, 0.999],
        "new": 2,
        "objective": {"class_path": "B", "init_args": {"steps": 18, "grid": None}},
        "losses": {"latent": {"class_path": "L"}, "mel": {"class_path": "M"}},
    }
    assert changed_settings(before, now) == [
        "model.objective.class_path: A -> B",
        "model.losses.mel.class_path: None -> M",
        "model.teacher: one -> other",
    ]
    assert changed_settings(now, now) == []


def test_groups_that_come_or_go_and_weights_are_compared() -> None:
    before = {"lora": None, "average": {"decay": 0.9}, "loss_weights": {"latent": 1.0}}
    now = {"lora": {"rank": 2}, "average": None, "loss_weights": {"latent": 1.0, "mel": 0.5}}
    assert changed_settings(before, now) == [
        "model.average.decay: 0.9 -> None",
        "model.loss_weights: {'latent': 1.0} -> {'latent': 1.0, 'mel': 0.5}",
        "model.lora.rank: None -> 2",
    ]
    assert changed_settings(now, now) == []
    assert changed_settings({}, now) == []
