import pytest
import torch

from consistency_tta.metrics import pairs
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.runtime.errors import ConfigurationError, DataError


def fed(real, generated, nearest=5):
    metric = Coverage(real.shape[1], nearest)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return {name: value.item() for name, value in metric.compute().items()}


@pytest.mark.parametrize("nearest", [3, 5])
def test_blocks_do_not_matter(nearest, monkeypatch):
    real, generated = torch.randn(60, 6), 1.3 * torch.randn(45, 6) + 0.4
    whole = fed(real, generated, nearest)
    monkeypatch.setattr(pairs, "BLOCK", 100)
    assert fed(real, generated, nearest) == whole
    assert 0 < whole["coverage"] < 1


def test_equal_sets_cover_each_other_and_disjoint_ones_do_not():
    rows = torch.randn(50, 6)
    assert set(fed(rows, rows[torch.randperm(50)]).values()) == {1.0}
    assert set(fed(rows, rows + 100).values()) == {0.0}


def test_one_distribution_has_the_values_it_should():
    found = fed(torch.randn(1000, 6), torch.randn(1000, 6))
    assert found["density"] == pytest.approx(1, abs=0.1)
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)


@pytest.mark.parametrize("nearest", [1, 3])
def test_the_values_are_the_definitions_also_on_the_surface_of_a_ball(nearest):
    """Whole numbers, of which many are exactly as far away as a neighbour."""
    real, generated = (torch.randint(0, 40, (count, 1)).float() for count in (30, 20))

    def inside(point, balls):
        radii = [sorted(abs(one - other).item() for other in balls)[nearest] for one in balls]
        return [abs(point - one).item() < radius for one, radius in zip(balls, radii, strict=True)]

    of_real, of_generated = [inside(g, real) for g in generated], [inside(r, generated) for r in real]
    assert fed(real, generated, nearest) == pytest.approx(
        {
            "precision": sum(map(any, of_real)) / 20,
            "recall": sum(map(any, of_generated)) / 30,
            "density": sum(map(sum, of_real)) / (nearest * 20),
            "coverage": sum(map(any, zip(*of_real, strict=True))) / 30,
        }
    )


def test_a_lost_mode_costs_recall_and_coverage_and_a_new_one_precision_and_density():
    modes = torch.randn(40, 6), torch.randn(40, 6) + 50
    lost, new = fed(torch.cat(modes), modes[0]), fed(modes[0], torch.cat(modes))
    assert (lost["precision"], lost["recall"], lost["coverage"]) == (1, 0.5, 0.5)
    assert (new["precision"], new["recall"], new["density"]) == (0.5, 1, 0.5)


def test_errors_say_what_to_do():
    with pytest.raises(ConfigurationError, match="nearest"):
        Coverage(4, 0)
    with pytest.raises(DataError, match="real"):
        fed(torch.randn(5, 4), torch.randn(9, 4))
