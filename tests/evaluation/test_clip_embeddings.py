"""However many pairs are read at a time, metrics are the same; and no more of them are read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation import clip_embeddings
from consistency_tta.evaluation.clip_embeddings import Collection, Material, collect
from consistency_tta.evaluation.metric_specs import METRICS, Kind

CLIPS, WINDOWS, WIDTH = 30, 2, 5


@pytest.fixture
def pairs() -> Collection:
    def embedding() -> AudioEmbedding:
        return AudioEmbedding(torch.randn(CLIPS, WINDOWS, WIDTH), torch.randn(CLIPS, 7))

    return collect(Material(embedding(), embedding(), torch.randn(CLIPS, WIDTH), torch.arange(CLIPS) // 2))


@pytest.fixture
def three_at_a_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(clip_embeddings, "CHUNK", 3 * WINDOWS * WIDTH + 1)
        yield


def test_chunks_are_all_pairs_in_order(pairs: Collection, three_at_a_time: None) -> None:
    drawn = pairs.draw(torch.tensor([4, 4, 1, 29, 0, 7, 8])).draw(torch.tensor([6, 0, 1, 2]))
    chunks = list(drawn.chunks())
    assert [len(chunk.prompts) for chunk in chunks] == [3, 1]
    assert len(drawn) == 4
    assert drawn.vectors == (8, WIDTH)
    whole, clips = drawn.whole(), torch.tensor([8, 4, 4, 1])
    for name in ("generated", "reference"):
        for part in ("vectors", "logits"):
            expected = getattr(getattr(pairs.source, name), part)[clips]
            assert torch.equal(getattr(getattr(whole, name), part), expected)
            assert torch.equal(torch.cat([getattr(getattr(chunk, name), part) for chunk in chunks]), expected)
    assert torch.equal(torch.cat([chunk.text for chunk in chunks if chunk.text is not None]), pairs.source.text[clips])
    assert whole.prompts.tolist() == [4, 2, 2, 0]


def test_one_pair_is_read_however_large(pairs: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_embeddings, "CHUNK", 1)
    assert [len(chunk.prompts) for chunk in pairs.chunks()] == CLIPS * [1]


@pytest.mark.filterwarnings("ignore:subsets of")
@pytest.mark.parametrize("name", [name for name, spec in METRICS.items() if spec.kind is not Kind.SOUND])
def test_metrics_do_not_depend_on_chunks(name: str, pairs: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"frechet_infinity": {"min_clips": 20, "num_sizes": 4}, "inception": {"splits": 2}}.get(name, {})
    spec, found = METRICS[name], []
    for chunk in (clip_embeddings.CHUNK, 3 * WINDOWS * WIDTH):
        monkeypatch.setattr(clip_embeddings, "CHUNK", chunk)
        if spec.kind is Kind.CLIP:
            found.append({"": spec.per_clip(pairs, **options)})
            assert found[-1][""].shape == (CLIPS,)
        else:
            found.append(spec.function(pairs, **options))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
