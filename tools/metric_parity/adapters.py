"""Our metrics and those of torchmetrics as functions of two sets of clips, with stand-ins for their networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric

from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.clap import CLAPScore
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.inception import InceptionScore

Values = dict[str, float]
#: Of what one gives two sets (N, D) or pairs (B, samples): real, generated -> values by name.
MetricFunction = Callable[[Tensor, Tensor], Values]
SAMPLE_RATE, SPLITS = 16_000, 10


class Unchanged(nn.Module):
    """Stands for the network in torchmetrics' metrics of images."""

    num_features = 64

    def forward(self, x: Tensor) -> Tensor:
        """The same."""
        return x


class Spectra(AudioEncoder):
    """Stands for a CLAP: magnitudes of a sound's spectrum; of a caption, which is a number, a random vector."""

    sample_rate = SAMPLE_RATE
    num_features = SAMPLE_RATE // 2 + 1

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """(B, samples) -> (B, samples // 2 + 1)."""
        return F.normalize(torch.fft.rfft(waveform).abs(), dim=1)

    def embed_text(self, captions: object) -> Tensor:
        """B captions -> (B, 4001)."""
        assert isinstance(captions, list)
        vectors = [torch.randn(4001, generator=torch.Generator().manual_seed(int(each))) for each in captions]
        return F.normalize(torch.stack(vectors), dim=1)


def values(result: Tensor | dict[str, Tensor]) -> Values:
    """What compute gave, by name."""
    return {name: float(x) for name, x in (result.items() if isinstance(result, dict) else [("", result)])}


def of_sets(metric: Metric, double: bool = False) -> MetricFunction:
    """A metric that takes real and generated clips, in batches."""

    def compute(real: Tensor, generated: Tensor) -> Values:
        metric.reset()
        for rows, is_real in ((real, True), (generated, False)):
            for batch in rows.split(70):
                metric.update(batch.double() if double else batch, real=is_real)
        result = metric.compute()
        return values(result[0] if isinstance(result, tuple) else result)

    return compute


def of_pairs(metric: Metric, *more: int) -> MetricFunction:
    """A metric of pairs."""

    def compute(real: Tensor, generated: Tensor) -> Values:
        metric.reset()
        metric.update(generated, real, *more)
        return values(metric.compute())

    return compute


def our_inception(real: Tensor, generated: Tensor) -> Values:
    """Of the generated clips' logits alone."""
    metric = InceptionScore(generated.shape[1], SPLITS, seed=0)
    metric.update(generated)
    return values(metric.compute())


def our_clap(real: Tensor, generated: Tensor) -> Values:
    """Captions are numbers."""
    metric = CLAPScore(Spectra())
    metric.update(generated, [str(number) for number in range(len(generated))], SAMPLE_RATE)
    return values(metric.compute())


def our_diversity(real: Tensor, generated: Tensor) -> Values:
    """Three sounds of each prompt."""
    metric = PromptDiversity()
    metric.update(generated, torch.arange(len(generated)) // 3)
    return values(metric.compute())
