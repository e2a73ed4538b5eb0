"""Text encoders from checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from consistency_tta.convert.text import t5_encoder, text_parts
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError
from tests.convert.published import SMALL_T5, filled, t5

WEIGHTS = filled(t5(**SMALL_T5))
WEIGHTS["encoder.embed_tokens.weight"] = WEIGHTS["shared.weight"]


@torch.no_grad()
@pytest.mark.parametrize("left_out", [None, "shared.weight", "encoder.embed_tokens.weight"])
def test_the_form_of_a_t5_is_read_from_its_weights(left_out: str | None) -> None:
    config = T5Config(
        vocab_size=384, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    reference = T5EncoderModel(config).eval()
    reference.load_state_dict(WEIGHTS)
    encoder = t5_encoder({name: tensor for name, tensor in WEIGHTS.items() if name != left_out}, "x")
    ids = torch.randint(0, 384, (2, 7))
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    expected = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(encoder(input_ids=ids, attention_mask=mask).last_hidden_state, expected)
    assert encoder.get_input_embeddings().weight is encoder.shared.weight


def test_what_does_not_fit_is_said(text_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="--text_encoder"):
        text_parts({}, "google/flan-t5-large", 16, "x.bin")
    with pytest.raises(ConfigurationError, match=r"x\.bin .*nowhere"):
        text_parts(WEIGHTS, "nowhere", 16, "x.bin")
    with pytest.raises(ConfigurationError, match="1024"):
        text_parts({}, str(text_folder), 1024, "x.bin")
    few = filled(t5(**SMALL_T5 | {"words": 64}))
    with pytest.raises(ConfigurationError, match=r"64 .*259"):
        text_parts(few, str(text_folder), 16, "x.bin")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight"):
        t5_encoder(WEIGHTS | {"lm_head.weight": torch.ones(1)}, "x.bin")


def test_at_full_size_it_is_flan_t5_large() -> None:
    """The numbers are those of google/flan-t5-large's config.json, of which TANGO's checkpoint has the encoder."""
    shapes = t5(words=32128, width=1024, hidden=2816, layers=24, heads=16, head_width=64)
    with torch.device("meta"):
        config = T5Config(
            vocab_size=32128,
            d_model=1024,
            d_kv=64,
            d_ff=2816,
            num_layers=24,
            num_heads=16,
            feed_forward_proj="gated-gelu",
        )
        reference = T5EncoderModel(config)
    assert {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()} == shapes
    encoder = t5_encoder({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, "x")
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 341_231_104
    for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj"):
        assert getattr(encoder.config, name) == getattr(config, name)
