import pytest
import torch

from consistency_tta.metrics.diversity import PromptDiversity, mean_pairwise_distance
from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError


def test_of_a_known_triangle():
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert mean_pairwise_distance(corners).item() == pytest.approx(4.0)  # sides 3, 4, 5


def test_is_zero_for_a_collapsed_model_and_scales_with_the_spread():
    sounds = torch.randn(6, 16, generator=torch.manual_seed(0))
    assert mean_pairwise_distance(sounds[:1].expand(6, 16)) == 0
    torch.testing.assert_close(mean_pairwise_distance(3 * sounds + 5), 3 * mean_pairwise_distance(sounds))


def test_prompts_are_averaged_whatever_the_batches_and_singles_do_not_count():
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    pair = torch.tensor([[1.0, 1.0], [1.0, 3.0]])
    metric = PromptDiversity()
    metric.update(torch.cat([corners[:2], pair[:1]]), torch.tensor([7, 7, 2]))
    metric.update(torch.cat([pair[1:], corners[2:], torch.full((1, 2), 100.0)]), torch.tensor([2, 7, 9]))
    assert metric.compute().item() == pytest.approx((4 + 2) / 2)


def test_a_prompt_may_be_spread_over_processes():
    left, right = PromptDiversity(), PromptDiversity()
    left.update(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
    right.update(torch.tensor([[0.0, 5.0]]), torch.tensor([0]))
    left.merge_state(right)
    assert left.compute().item() == pytest.approx(5.0)


def test_errors_say_what_to_do():
    with pytest.raises(DataError):
        mean_pairwise_distance(torch.zeros(1, 4))
    metric = PromptDiversity()
    with pytest.raises(ShapeError):
        metric.update(torch.zeros(2, 4), torch.zeros(3, dtype=torch.long))
    with pytest.raises(DataError):
        metric.update(torch.full((2, 4), torch.nan), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ShapeError):
        metric.update(torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(ConfigurationError, match="16777217"):
        metric.update(torch.zeros(2, 4), torch.tensor([0, 2**24 + 1]))
    with pytest.raises(DataError):
        metric.compute()
    metric.update(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(DataError):
        metric.compute()
