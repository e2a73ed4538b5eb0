"""What all metrics have in common: states, processes, types."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from consistency_tta.metrics.states import combine, moments
from tests.metrics.cases import CASES, CLIPS, Case, scalars

ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
#: A metric of each kind of state: sums, moments, lists.
KINDS = ("kl_softmax", "frechet", "coverage", "inception", "diversity")


def test_moments_of_parts_combine_to_those_of_all() -> None:
    rows = 5 * torch.randn(30, 4, dtype=torch.float64) + 100
    whole = moments(rows)
    assert whole[0, 0] == 30
    torch.testing.assert_close(whole[0, 1:], rows.mean(0))
    torch.testing.assert_close(whole[1:, 1:] / 29, rows.T.cov())
    parts = torch.stack([moments(part) for part in (rows[:1], rows[:0], rows[1:12], rows[12:])])
    torch.testing.assert_close(combine(parts), whole, rtol=1e-12, atol=1e-10)
    nothing = moments(rows[:0])
    assert not combine(torch.stack([nothing, nothing])).any()


@ALL
def test_values_are_scalars_in_float64_whatever_the_batches(case: Case) -> None:
    whole = scalars(case.of((0, CLIPS)).compute())
    parts = scalars(case.of((0, 1), (1, 20), (20, CLIPS)).compute())
    for name, value in whole.items():
        assert value.dtype == torch.float64
        assert value.shape == ()
        assert value.isfinite()
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-9)


@ALL
def test_a_reset_forgets(case: Case) -> None:
    metric = case.of((0, 15))
    metric.reset()
    case.feed(metric, 5, CLIPS)
    assert scalars(metric.compute()) == scalars(case.of((5, CLIPS)).compute())


def stored(case: Case, shares: int) -> int:
    metric = case.of(*[(0, CLIPS)] * shares)
    states = [getattr(metric, name) for name in metric._defaults]
    tensors = [tensor for state in states for tensor in (state if isinstance(state, list) else [state])]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@ALL
def test_memory_stays_the_same_or_grows_by_an_embedding_a_clip(case: Case) -> None:
    assert stored(case, 5) == (stored(case, 1) if case.constant else 5 * stored(case, 1))


def two_processes(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=2, timeout=timedelta(minutes=5))
    values: dict[str, list[dict[str, Tensor]]] = {}
    for name, case in CASES.items():
        # Unequal shares, and then nothing for the second process.
        for cut in (CLIPS - 7, CLIPS) if name in KINDS else (CLIPS - 7,):
            share = [(0, cut), (cut, CLIPS)][rank]
            metric = case.of(*[share] if share[0] < share[1] else [])
            metric._update_count = 1  # silences the warning of a process without clips
            values.setdefault(name, []).append(scalars(metric.compute()))
    torch.save(values, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    mp.start_processes(two_processes, (tmp_path,), nprocs=2, start_method="fork")  # spares each seconds of imports
    for rank in range(2):
        for name, found in torch.load(tmp_path / f"{rank}.pt").items():
            alone = scalars(CASES[name].of((0, CLIPS)).compute())
            assert len(found) == 1 + (name in KINDS)
            for values in found:
                assert values.keys() == alone.keys()
                for key, value in values.items():
                    torch.testing.assert_close(value, alone[key], rtol=1e-6, atol=1e-9, msg=f"{name} {key} {rank}")
