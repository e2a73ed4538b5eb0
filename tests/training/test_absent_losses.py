"""Checkpoints of losses whose packages are not installed."""

from __future__ import annotations

from typing import Any

import pytest

from consistency_tta.training.absent_losses import without_absent_losses

HERE, ABSENT = {"class_path": "consistency_tta.losses.LatentL2Loss"}, {"class_path": "not_installed_here.losses.Mine"}


def checkpoint(losses: Any, **arguments: Any) -> dict[str, Any]:
    return {"epoch": 3, "hyper_parameters": {"losses": losses, "seed": 1} | arguments, "state_dict": {}}


def test_absent_losses_their_weights_and_their_state_are_left_out() -> None:
    content = checkpoint({"latent": HERE, "mine.own": ABSENT}, loss_weights={"latent": 1.0, "mine.own": 2.0})
    own, others = "losses.learnable.loss mine_own.scale", ["losses.learnable.loss mine.scale", "student.weight"]
    content["state_dict"] = dict.fromkeys((own, *others), 0)
    found, absent = without_absent_losses(content)
    assert absent == ["mine.own"]
    assert found == checkpoint({"latent": HERE}, loss_weights={"latent": 1.0}) | {
        "state_dict": dict.fromkeys(others, 0)
    }
    assert content["hyper_parameters"]["losses"].keys() == {"latent", "mine.own"}
    assert without_absent_losses(checkpoint({"mine": ABSENT["class_path"]}))[0] == checkpoint({})


@pytest.mark.parametrize(
    "losses",
    [
        None,
        [ABSENT],
        {},
        {"latent": HERE, "bare": "LatentL2Loss", "also bare": {"class_path": "LatentL2Loss"}},
        {"no path": {"init_args": {}}, "a number": 3, "nothing": {"class_path": None}},  # refused elsewhere
        {"no name": ".losses.Mine", "no package": "not a name.Mine"},
    ],
    ids=str,
)
def test_other_losses_stay(losses: Any) -> None:
    content = checkpoint(losses)
    assert without_absent_losses(content)[0] is content
    assert without_absent_losses(content)[1] == []


@pytest.mark.parametrize("arguments", [{}, {"hyper_parameters": None}])
def test_a_checkpoint_without_settings_stays(arguments: dict[str, Any]) -> None:
    assert without_absent_losses(arguments) == (arguments, [])
