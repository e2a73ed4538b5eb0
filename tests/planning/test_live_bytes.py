"""Bytes of live tensors."""

from __future__ import annotations

import torch

from consistency_tta.planning.live_bytes import LiveBytes


def test_storages_are_counted_once_and_until_they_are_freed() -> None:
    given = torch.zeros(1000)
    with LiveBytes() as live:
        live.add([given, given[:10]])
        assert live.current == 4000
        made = given + 1
        view = made.view(10, 100).T
        assert live.current == 8000
        del made
        assert live.current == 8000  # its view is there
        del view
        assert live.current == 4000
        assert live.peak == 8000
        live.reset_peak()
        assert live.peak == 4000


def test_what_autograd_keeps_is_alive_until_backward() -> None:
    weight = torch.zeros(1000, requires_grad=True)
    with LiveBytes() as live:
        loss = weight.exp().exp().sum()
        kept = live.current
        assert kept == 4000 * 2 + 4  # both results, which the derivatives are made of, and the sum
        loss.backward()
        assert live.current == 4000 + 4  # the gradient
