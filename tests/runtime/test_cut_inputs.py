"""Input that a network cuts is warned of, once."""

from __future__ import annotations

import logging

import pytest
import torch

from consistency_tta.components.clap_model import load_clap
from consistency_tta.components.text import ByteTextEncoder
from consistency_tta.runtime import cut_inputs


@pytest.fixture(autouse=True)
def nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(cut_inputs, "_warned", set())
    caplog.set_level(logging.WARNING)


def test_a_caption_of_too_many_tokens_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    encoder = ByteTextEncoder(width=8, num_layers=1, num_heads=2, max_length=10)
    encoder(["123456789", "short"])  # and the token that ends a caption: 10
    assert not caplog.messages
    for _ in range(2):
        encoder(["1234567890", "short"])
    (message,) = caplog.messages
    assert "11" in message
    assert "1234567890" in message


def test_a_clap_warns_of_long_captions_and_sounds(caplog: pytest.LogCaptureFixture) -> None:
    clap = load_clap("tiny-clap")
    limit = clap.front_end.max_samples
    clap.embed_audio(torch.randn(1, limit))
    clap.embed_text(["A dog barks"])
    assert not caplog.messages
    for _ in range(2):
        clap.embed_audio(torch.randn(1, limit + 1600))
        clap.embed_text(["A dog barks " * 300])
    assert len(caplog.messages) == 2
    rate = clap.front_end.sample_rate
    assert f"{(limit + 1600) / rate:.2f} s are cut to {limit / rate:.2f} s" in caplog.messages[0]
