"""Moving averages against their closed formula."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.ema import ExponentialMovingAverage


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_closed_formula_over_five_updates(dtype: torch.dtype) -> None:
    source = nn.Linear(3, 2, dtype=dtype)
    weights = [source.weight.detach().clone()]
    average = ExponentialMovingAverage(source, 0.8)
    for _ in range(5):
        nn.init.normal_(source.weight)
        weights.append(source.weight.detach().clone())
        average.update(source)
    expected = 0.8**5 * weights[0] + sum(0.2 * 0.8 ** (5 - k) * weights[k] for k in range(1, 6))
    torch.testing.assert_close(average.module.weight, expected)
    assert torch.equal(source.weight, weights[5])
    assert torch.equal(average.module.bias, source.bias)


def test_warm_up_forgets_the_untrained_network_and_survives_a_checkpoint() -> None:
    source = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(source, 0.3, warm_up=True)
    value = source.weight.item()
    for update in range(1, 9):
        nn.init.normal_(source.weight)
        if update == 4:  # a new process goes on where the old one stopped
            state = average.state_dict()
            average = ExponentialMovingAverage(source, 0.3, warm_up=True)
            average.load_state_dict(state)
        average.update(source)
        decay = min(0.3, update / (update + 9))  # 0.3 from the fourth update on
        value = decay * value + (1 - decay) * source.weight.item()
        assert average.module.weight.item() == pytest.approx(value, rel=1e-5)


def test_a_skipped_step_changes_neither_average_nor_count() -> None:
    source = nn.Linear(3, 2)
    average, expected = (ExponentialMovingAverage(source, 0.5, warm_up=True) for _ in range(2))
    for taken in (1.0, 0.0, 1.0):
        nn.init.normal_(source.weight)
        average.update(source, torch.tensor(taken))
        if taken:
            expected.update(source)
    assert torch.equal(average.module.weight, expected.module.weight)
    saved = average.get_extra_state()
    average.update(source)
    assert (saved, average.get_extra_state()) == (2, 3)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_networks_of_the_older_weight_norm_are_averaged() -> None:
    """Which keep a weight with a gradient, that cannot be copied."""
    source = nn.utils.weight_norm(nn.Linear(3, 2))
    source.register_forward_pre_hook(lambda *_: None)
    example = torch.randn(4, 3)
    source(example)
    average = ExponentialMovingAverage(source, 0.0)
    nn.init.normal_(source.weight_v)
    average.update(source)
    torch.testing.assert_close(average.module(example), source(example))


def test_decay_0_is_a_copy() -> None:
    source = nn.Linear(3, 2)
    average = ExponentialMovingAverage(source, 0.0)
    nn.init.normal_(source.weight)
    average.update(source)
    assert torch.equal(average.module.weight, source.weight)


def test_buffers_are_copied_whatever_their_type() -> None:
    source = nn.BatchNorm1d(2)
    average = ExponentialMovingAverage(source, 0.9)
    source(torch.randn(8, 2))
    average.update(source)
    assert average.module.num_batches_tracked == 1
    assert torch.equal(average.module.running_mean, source.running_mean)


def test_is_never_trained_nor_in_training_mode_but_saved() -> None:
    owner = nn.Module()
    owner.average = ExponentialMovingAverage(nn.Sequential(nn.Linear(3, 2), nn.Dropout()), 0.9)
    owner.train()
    assert not owner.average.module.training
    assert not owner.average.module[1].training
    assert not any(parameter.requires_grad for parameter in owner.parameters())
    assert set(owner.state_dict()) == {
        "average.module.0.weight",
        "average.module.0.bias",
        "average._extra_state",
    }


@pytest.mark.parametrize("copy", [deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_and_pickles_go_on_averaging(copy: object) -> None:
    source = nn.Linear(3, 2)
    average = ExponentialMovingAverage(source, 0.5)
    other = copy(average)
    nn.init.ones_(source.weight)
    average.update(source)
    other.update(source)
    assert torch.equal(other.module.weight, average.module.weight)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_wrong_decays_are_named(decay: float) -> None:
    with pytest.raises(ConfigurationError, match="decay"):
        ExponentialMovingAverage(nn.Linear(1, 1), decay)


def test_what_is_not_trained_is_shared() -> None:
    source = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3).requires_grad_(False))
    average = ExponentialMovingAverage(source, 0.5)
    assert average.module[1].weight is source[1].weight
    assert average.module[0].weight is not source[0].weight
    start, frozen = source[0].weight.detach().clone(), source[1].weight.clone()
    with torch.no_grad():
        source[0].weight += 1
    average.update(source)
    torch.testing.assert_close(average.module[0].weight, start + 0.5)
    assert torch.equal(average.module[1].weight, frozen)
