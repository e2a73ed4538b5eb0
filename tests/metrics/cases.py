"""Each metric with a share of the same 24 clips, for what all metrics have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.metrics.lsd import LogSpectralDistance
from tests.toy_encoder import ToyEncoder

CLIPS, WIDTH = 24, 3
_SETS = torch.randn(2, CLIPS, WIDTH, generator=torch.Generator().manual_seed(0)) + torch.tensor([[[0.0]], [[0.5]]])
_SOUNDS = torch.randn(2, CLIPS, 1000, generator=torch.Generator().manual_seed(1))
_PROMPTS = torch.arange(CLIPS) % 7  # sounds of one prompt come to several processes
_CAPTIONS = [str(15 * index) for index in range(CLIPS)]


@dataclass(frozen=True)
class Case:
    """A metric, and how clips ``first`` to ``last`` get into it."""

    make: Callable[[], Metric]
    feed: Callable[[Metric, int, int], None]
    #: Whether memory stays the same however many clips there are.
    constant: bool

    def of(self, *shares: tuple[int, int]) -> Metric:
        metric = self.make()
        for first, last in shares:
            self.feed(metric, first, last)
        return metric


def _sets(metric: Metric, first: int, last: int) -> None:
    metric.update(_SETS[0, first:last], real=True)
    metric.update(_SETS[1, first:last], real=False)


def _pairs(tensors: Tensor, *more: int) -> Callable[[Metric, int, int], None]:
    return lambda metric, first, last: metric.update(tensors[1, first:last], tensors[0, first:last], *more)


CASES: dict[str, Case] = {
    "frechet": Case(lambda: FrechetDistance(WIDTH), _sets, constant=True),
    "frechet_infinity": Case(lambda: FrechetInfinity(WIDTH, min_clips=8, num_sizes=3), _sets, constant=False),
    "kad": Case(lambda: KernelAudioDistance(WIDTH), _sets, constant=False),
    "kid": Case(lambda: KernelDistance(WIDTH), _sets, constant=False),
    "coverage": Case(lambda: Coverage(WIDTH), _sets, constant=False),
    "kl_softmax": Case(SoftmaxDivergence, _pairs(_SETS), constant=True),
    "kl_sigmoid": Case(SigmoidDivergence, _pairs(_SETS), constant=True),
    "inception": Case(
        lambda: InceptionScore(WIDTH, splits=2),
        lambda metric, first, last: metric.update(_SETS[1, first:last]),
        constant=False,
    ),
    "diversity": Case(
        PromptDiversity,
        lambda metric, first, last: metric.update(_SETS[1, first:last], _PROMPTS[first:last]),
        constant=False,
    ),
    "lsd": Case(lambda: LogSpectralDistance(8000), _pairs(_SOUNDS), constant=True),
    "clap": Case(
        lambda: CLAPScore(ToyEncoder()),
        lambda metric, first, last: metric.update(_SOUNDS[0, first:last], _CAPTIONS[first:last], 16000),
        constant=True,
    ),
    "clap_audio": Case(lambda: CLAPAudioScore(ToyEncoder()), _pairs(_SOUNDS, 16000), constant=True),
}


def scalars(value: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    """What compute gave, by name."""
    return value if isinstance(value, dict) else {"": value}
