"""Metrics of waveforms may compute on any device."""

from __future__ import annotations

from pathlib import Path

import torch

from consistency_tta.evaluation.clips import Pair
from consistency_tta.evaluation.embedding_cache import EmbeddingCache
from consistency_tta.evaluation.extraction import EmbeddingExtractor
from consistency_tta.evaluation.protocol import AudioSettings
from tests.evaluation.cases import RATE, write_sounds
from tests.meta_device import META, watched


def test_a_metric_on_a_device_without_float64(tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "generated")
    pairs = [Pair(file.stem, "rain", file, file) for file in sorted(folder.glob("*.wav"))]
    extractor = EmbeddingExtractor(
        AudioSettings(RATE, "", 0.25), {}, EmbeddingCache(tmp_path / "cache"), 4, torch.device("cpu")
    )
    with watched() as faults:
        result = extractor.extract(pairs, {"energy": lambda generated, *_: generated.to(META).square().mean(1)})
    assert result.values["energy"].dtype == torch.float64
    assert result.values["energy"].shape == (len(pairs),)
    assert {fault.partition(" in ")[0] for fault in faults.found} == {"blocking copy to the device", "copy to the CPU"}
