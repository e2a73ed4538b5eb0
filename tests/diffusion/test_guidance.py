import pytest
import torch

from consistency_tta.contracts import Conditioning, Denoiser, TextEmbedding
from consistency_tta.diffusion.guidance import CFGDenoiser, same_length
from consistency_tta.diffusion.noise import expand
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


def empty_prompt(mean, tokens=1, width=2):
    """The empty prompt of a Gaussian teacher, whose mean is the mean of the unmasked tokens."""
    return TextEmbedding(torch.full((1, tokens, width), mean, dtype=torch.float64), torch.ones(1, tokens).bool())


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("caption_tokens", [1, 3])
def test_guidance_is_one_query_and_equals_two(teacher, noise, conditioning, tokens, caption_tokens):
    embedding = conditioning.text.embedding * torch.arange(1, caption_tokens + 1).reshape(1, -1, 1)
    text = TextEmbedding(embedding, torch.arange(caption_tokens) < torch.tensor([[1], [3], [2]]))
    empty, t = empty_prompt(-0.4, tokens), torch.tensor([10.0, 300.0, 1000.0])
    scale = torch.tensor([1.0, 3.0, 5.5])
    guided = CFGDenoiser(teacher, empty)(noise, t, Conditioning(text, scale))

    [(_, _, given)] = teacher.queries
    assert given.guidance_scale is None
    assert given.text.embedding.shape == (6, max(tokens, caption_tokens), 2)
    assert not given.text.embedding[:3, tokens:].any()
    assert not given.text.embedding[3:, caption_tokens:].any()
    assert given.text.mask[:3].sum(1).tolist() == [tokens] * 3
    assert torch.equal(given.text.mask[3:].sum(1), text.mask.sum(1))

    unconditional = teacher(
        noise, t, Conditioning(TextEmbedding(empty.embedding.expand(3, -1, -1), empty.mask.expand(3, -1)))
    )
    conditional = teacher(noise, t, Conditioning(text))
    w = expand(scale, noise)
    torch.testing.assert_close(guided, unconditional + w * (conditional - unconditional))
    assert torch.equal(guided[0], unconditional[0] + (conditional[0] - unconditional[0]))


def test_a_fixed_scale_replaces_the_conditioning(teacher, noise, conditioning):
    t = torch.tensor([10, 300, 1000])
    fixed = CFGDenoiser(teacher, empty_prompt(0.0), guidance_scale=2.5)
    free = CFGDenoiser(teacher, empty_prompt(0.0))
    expected = free(noise, t, Conditioning(conditioning.text, torch.full((3,), 2.5)))
    assert torch.equal(fixed(noise, t, Conditioning(conditioning.text, torch.zeros(3))), expected)
    assert torch.equal(fixed(noise, t, conditioning), expected)


def test_guidance_on_top_of_learnt_guidance_passes_its_scale_on(teacher, noise, conditioning):
    t, learnt = torch.tensor([10, 300, 1000]), torch.tensor([0.5, 2.0, 4.0])
    CFGDenoiser(teacher, empty_prompt(0.0), guidance_scale=2.5)(noise, t, Conditioning(conditioning.text, learnt))
    [(_, _, given)] = teacher.queries
    assert torch.equal(given.guidance_scale, torch.cat([learnt, learnt]))


def test_texts_of_several_lengths_are_padded_to_the_longest():
    texts = [TextEmbedding(torch.randn(rows, n, 2), torch.ones(rows, n).bool()) for rows, n in ((1, 2), (3, 5), (2, 1))]
    for text, padded in zip(texts, same_length(*texts), strict=True):
        tokens = text.mask.shape[1]
        assert padded.embedding.shape == (len(text.mask), 5, 2)
        assert torch.equal(padded.embedding[:, :tokens], text.embedding)
        assert padded.mask.dtype == torch.bool
        assert padded.mask.sum(1).tolist() == [tokens] * len(text.mask)


def test_guidance_of_equal_variances_moves_the_mean_exactly(teacher, noise, conditioning):
    t = torch.tensor([10.0, 300.0, 1000.0])
    guided = CFGDenoiser(teacher, empty_prompt(-0.4), guidance_scale=3.0)(noise, t, conditioning)
    moved = TextEmbedding(-0.4 + 3.0 * (conditioning.text.embedding + 0.4), conditioning.text.mask)
    torch.testing.assert_close(guided, teacher(noise, t, Conditioning(moved)))


def test_the_empty_prompt_moves_with_the_module_but_is_not_saved(teacher):
    guided = CFGDenoiser(teacher, empty_prompt(0.0))
    assert guided.schedule is teacher.schedule
    assert guided.state_dict() == {}
    assert guided.to("meta").unconditional_embedding.is_meta
    assert guided.unconditional_mask.is_meta


def test_the_empty_prompt_is_a_copy_of_what_was_given(teacher):
    given = empty_prompt(0.5)
    given.embedding.requires_grad_()
    guided = CFGDenoiser(teacher, given)
    with torch.no_grad():
        given.embedding.zero_()
        given.mask.zero_()
    assert (guided.unconditional_embedding == 0.5).all()
    assert not guided.unconditional_embedding.requires_grad
    assert guided.unconditional_mask.all()


def test_half_precision_guidance_is_combined_in_float32(teacher, noise, conditioning):
    class Rounded(type(teacher)):
        def forward(self, z_t, t, conditioning):
            assert z_t.dtype == conditioning.text.embedding.dtype == torch.bfloat16
            return super().forward(z_t, t, conditioning).bfloat16()

    inner, t = Rounded(teacher.schedule), torch.tensor([10.0, 300.0, 1000.0])
    text = TextEmbedding(conditioning.text.embedding.bfloat16(), conditioning.text.mask)
    guided = CFGDenoiser(inner, empty_prompt(0.0), guidance_scale=3.0)(noise.bfloat16(), t, Conditioning(text))
    assert guided.dtype == torch.float32
    assert not torch.equal(guided, guided.bfloat16().float())


class Recorder(Denoiser):
    """Keeps what it was given; reads a second time."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, z_t, t, conditioning, s=None):
        self.given = (t, conditioning, s)
        return z_t


def test_the_second_time_is_passed_through(schedule, noise, conditioning):
    inner, t, s = Recorder(schedule), torch.tensor([10.0, 300.0, 1000.0]), torch.tensor([0.0, 20.0, 900.0])
    guided = CFGDenoiser(inner, empty_prompt(0.0), guidance_scale=2.0)
    guided(noise, t, conditioning, s)
    assert torch.equal(inner.given[0], torch.cat([t, t]))
    assert torch.equal(inner.given[2], torch.cat([s, s]))
    guided(noise, t, conditioning)
    assert inner.given[2] is None


def test_texts_vectors_and_scalars_are_doubled(schedule, noise, conditioning):
    text = TextEmbedding(torch.randn(3, 4, 5), torch.ones(3, 4).bool())
    vector, seconds = torch.randn(3, 6), torch.tensor([1.0, 2.0, 3.0])
    given = Conditioning(
        conditioning.text, texts={"clap": text}, vectors={"pooled": vector}, scalars={"seconds_total": seconds}
    )
    inner, empty = Recorder(schedule), empty_prompt(-0.4, width=5)
    CFGDenoiser(inner, empty_prompt(0.0), 2.0, {"clap": empty})(noise, torch.ones(3), given)
    both = inner.given[1]
    assert torch.equal(both.texts["clap"].embedding[3:], text.embedding)
    assert torch.equal(both.texts["clap"].embedding[:3, :1], empty.embedding.float().expand(3, -1, -1))
    assert both.texts["clap"].mask[:3].sum(1).tolist() == [1, 1, 1]
    assert torch.equal(both.vectors["pooled"], torch.cat([vector, vector]))
    assert torch.equal(both.scalars["seconds_total"], torch.cat([seconds, seconds]))
    with pytest.raises(ConfigurationError, match="clap"):
        CFGDenoiser(inner, empty_prompt(0.0), 2.0)(noise, torch.ones(3), given)


def test_refuses_a_query_without_a_scale_and_texts_of_other_shapes(teacher, noise, conditioning):
    t = torch.ones(3)
    with pytest.raises(ConfigurationError):
        CFGDenoiser(teacher, empty_prompt(0.0))(noise, t, conditioning)
    with pytest.raises(ShapeError, match="7"):
        CFGDenoiser(teacher, empty_prompt(0.0, width=7), guidance_scale=3.0)(noise, t, conditioning)
    with pytest.raises(ShapeError, match="2"):
        CFGDenoiser(teacher, conditioning.text.rows(torch.arange(2)), guidance_scale=3.0)(noise, t, conditioning)
    with pytest.raises(ShapeError):
        CFGDenoiser(teacher, TextEmbedding(conditioning.text.embedding, conditioning.text.mask[:1]))


def test_each_caption_is_led_away_from_a_negative_prompt_of_its_own(teacher, noise, conditioning):
    t, negative = torch.full((3,), 500.0), conditioning.text.rows(torch.tensor([2, 0, 1]))
    guided = CFGDenoiser(teacher, negative, guidance_scale=3.0)(noise, t, Conditioning(conditioning.text))
    towards = teacher(noise, t, Conditioning(conditioning.text))
    away = teacher(noise, t, Conditioning(negative))
    torch.testing.assert_close(guided, away + 3.0 * (towards - away))
