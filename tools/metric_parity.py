"""Our metrics against independent implementations, on the same embeddings, logits and sounds.

    python tools/metric_parity.py

prints docs/evaluation.md's table of the largest relative differences over a few random draws. Needs scipy. The others'
arithmetic is called where a package can be had, and written out plainly, on whole matrices, where not; the row of
``frechet_audio_distance`` appears where that package is installed (the extra ``laion``).
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import torch
from scipy.spatial.distance import cdist, pdist
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchmetrics import CosineSimilarity, Metric
from torchmetrics.image import fid, inception, kid

from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.clap import CLAPAudioScore, CLAPScore
from consistency_tta.metrics.coverage import Coverage
from consistency_tta.metrics.divergence import SigmoidDivergence, SoftmaxDivergence
from consistency_tta.metrics.diversity import PromptDiversity
from consistency_tta.metrics.frechet import FrechetDistance
from consistency_tta.metrics.frechet_infinity import FrechetInfinity
from consistency_tta.metrics.inception import InceptionScore
from consistency_tta.metrics.kernel import KernelAudioDistance, KernelDistance
from consistency_tta.metrics.lsd import LogSpectralDistance

Values = dict[str, float]
#: Of what one gives two sets (N, D) or pairs (B, samples): real, generated -> values by name.
MetricSpec = Callable[[Tensor, Tensor], Values]
SAMPLE_RATE, NEAREST, SPLITS, SMALLEST, SIZES = 16_000, 5, 10, 100, 5


class Row(NamedTuple):
    """A metric of ours and an independent one, with their common input."""

    ours: str
    theirs: str
    our_measure: MetricSpec
    their_measure: MetricSpec
    sounds: bool = False


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


def of_sets(metric: Metric, double: bool = False) -> MetricSpec:
    """A metric that takes real and generated clips, in batches."""

    def measure(real: Tensor, generated: Tensor) -> Values:
        metric.reset()
        for rows, is_real in ((real, True), (generated, False)):
            for batch in rows.split(70):
                metric.update(batch.double() if double else batch, real=is_real)
        result = metric.compute()
        return values(result[0] if isinstance(result, tuple) else result)

    return measure


def of_pairs(metric: Metric, *more: int) -> MetricSpec:
    """A metric of pairs."""

    def measure(real: Tensor, generated: Tensor) -> Values:
        metric.reset()
        metric.update(generated, real, *more)
        return values(metric.compute())

    return measure


def frechet_by_scipy(real: Tensor, generated: Tensor) -> Values:
    """|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^1/2) with numpy's moments and scipy's root."""
    (mean_1, covariance_1), (mean_2, covariance_2) = (
        (x.mean(0), np.cov(x, rowvar=False)) for x in (real.double().numpy(), generated.double().numpy())
    )
    root = scipy.linalg.sqrtm(covariance_1 @ covariance_2).real
    return {"": float(((mean_1 - mean_2) ** 2).sum() + np.trace(covariance_1 + covariance_2 - 2 * root))}


def frechet_by_package(real: Tensor, generated: Tensor) -> Values:
    """The value of ``frechet_audio_distance``, whose arithmetic published values were computed with."""
    from consistency_tta.components.laion_package import import_laion

    import_laion()  # which frechet_audio_distance would import with all that it fetches
    theirs = importlib.import_module("frechet_audio_distance").FrechetAudioDistance
    package = theirs.__new__(theirs)  # making one would download weights
    sets = [package.calculate_embd_statistics(clips.double().numpy()) for clips in (real, generated)]
    return {"": float(package.calculate_frechet_distance(*sets[0], *sets[1]))}


def infinity_by_numpy(real: Tensor, generated: Tensor) -> Values:
    """The same subsets, scipy's distances, numpy's line."""
    sizes = np.linspace(SMALLEST, len(generated), SIZES).astype(int)
    order = torch.Generator().manual_seed(0)
    subsets = [generated[torch.randperm(len(generated), generator=order)[:size]] for size in sizes]
    distances = [frechet_by_scipy(real, subset)[""] for subset in subsets]
    return {
        "distance": np.polyfit(1 / sizes, distances, 1)[1],
        "r_squared": np.corrcoef(1 / sizes, distances)[0, 1] ** 2,
    }


def kad_by_scipy(real: Tensor, generated: Tensor) -> Values:
    """Means of whole kernel matrices; numpy's median is that of torch where the number of pairs is odd."""
    x, y = real.double().numpy(), generated.double().numpy()
    bandwidth = np.sort(pdist(x))[(len(x) * (len(x) - 1) // 2 - 1) // 2]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-(cdist(a, b) ** 2) / (2 * bandwidth**2))

    within = sum(kernel(a, a)[~np.eye(len(a), dtype=bool)].mean() for a in (x, y))
    return {"": float(100 * (within - 2 * kernel(x, y).mean()))}


def coverage_by_scipy(real: Tensor, generated: Tensor) -> Values:
    """The definitions, on whole matrices of distances."""
    x, y = real.double().numpy(), generated.double().numpy()
    apart = cdist(x, y)
    in_real = apart < np.sort(cdist(x, x))[:, NEAREST][:, None]
    in_generated = apart < np.sort(cdist(y, y))[:, NEAREST]
    return {
        "precision": in_real.any(0).mean(),
        "recall": in_generated.any(1).mean(),
        "density": in_real.mean() * len(x) / NEAREST,
        "coverage": in_real.any(1).mean(),
    }


def divergence_by_torch(activation: Callable[[Tensor], Tensor]) -> MetricSpec:
    """``kl_div`` called as audioldm_eval does."""

    def measure(real: Tensor, generated: Tensor) -> Values:
        log_q, p = (activation(generated.double()) + 1e-6).log(), activation(real.double())
        return {"": float(F.kl_div(log_q, p, reduction="sum") / len(real))}

    return measure


def our_inception(real: Tensor, generated: Tensor) -> Values:
    """Of the generated clips' logits alone."""
    metric = InceptionScore(generated.shape[1], SPLITS, seed=0)
    metric.update(generated)
    return values(metric.compute())


def inception_by_torchmetrics(real: Tensor, generated: Tensor) -> Values:
    """It shuffles with the common generator."""
    metric = inception.InceptionScore(nn.Identity(), SPLITS)
    metric.update(generated.double())
    torch.manual_seed(0)
    mean, std = metric.compute()
    return values({"mean": mean, "std": std})


def lsd_by_numpy(real: Tensor, generated: Tensor) -> Values:
    """The formula of ssr_eval."""
    n_fft, hop = int(2048 / (44100 / SAMPLE_RATE)), int(SAMPLE_RATE / 100)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)

    def magnitudes(waveform: Tensor) -> np.ndarray:
        padded = np.pad(waveform.double().numpy(), [(0, 0), (n_fft // 2, n_fft // 2)], mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::hop]
        return np.abs(np.fft.rfft(frames * window))

    ratio = np.log10(magnitudes(real) ** 2 / (magnitudes(generated) + 1e-12) ** 2 + 1e-12)
    return {"": float(np.sqrt((ratio**2).mean(-1)).mean())}


def our_clap(real: Tensor, generated: Tensor) -> Values:
    """Captions are numbers."""
    metric = CLAPScore(Spectra())
    metric.update(generated, [str(number) for number in range(len(generated))], SAMPLE_RATE)
    return values(metric.compute())


def clap_by_torchmetrics(real: Tensor, generated: Tensor) -> Values:
    """Cosines with the captions' vectors."""
    spectra = torch.fft.rfft(generated.double()).abs()
    captions = [torch.randn(4001, generator=torch.Generator().manual_seed(number)) for number in range(len(real))]
    return values(CosineSimilarity("mean")(spectra, torch.stack(captions).double()))


def our_diversity(real: Tensor, generated: Tensor) -> Values:
    """Three sounds of each prompt."""
    metric = PromptDiversity()
    metric.update(generated, torch.arange(len(generated)) // 3)
    return values(metric.compute())


def diversity_by_scipy(real: Tensor, generated: Tensor) -> Values:
    """The mean of the prompts' mean distances."""
    prompts = generated.double().numpy().reshape(-1, 3, generated.shape[1])
    return {"": float(np.mean([pdist(prompt).mean() for prompt in prompts]))}


def clap_audio_by_torchmetrics(real: Tensor, generated: Tensor) -> Values:
    """Cosines of two sounds' vectors."""
    spectra = [torch.fft.rfft(waveform.double()).abs() for waveform in (generated, real)]
    return values(CosineSimilarity("mean")(*spectra))


def rows(width: int = Unchanged.num_features, clips: int = 300) -> list[Row]:
    """All comparisons, for embeddings (clips, width)."""
    frechet = of_sets(FrechetDistance(width))
    found = [
        Row("FrechetDistance", "scipy, formula with `sqrtm`", frechet, frechet_by_scipy),
        Row(
            "FrechetDistance",
            "torchmetrics, `FrechetInceptionDistance`",
            frechet,
            of_sets(fid.FrechetInceptionDistance(Unchanged()), double=True),
        ),
        Row(
            "FrechetInfinity",
            "scipy, numpy `polyfit` on the same subsets",
            of_sets(FrechetInfinity(width, SMALLEST, SIZES)),
            infinity_by_numpy,
        ),
        Row("KernelAudioDistance", "scipy, whole matrices", of_sets(KernelAudioDistance(width)), kad_by_scipy),
        Row(
            "KernelDistance",
            "torchmetrics, `KernelInceptionDistance`",
            of_sets(KernelDistance(width)),
            of_sets(kid.KernelInceptionDistance(Unchanged(), subsets=1, subset_size=clips), double=True),
        ),
        Row("Coverage", "scipy, whole matrices", of_sets(Coverage(width, NEAREST)), coverage_by_scipy),
        Row(
            "SoftmaxDivergence",
            "torch, `kl_div` as in audioldm_eval",
            of_pairs(SoftmaxDivergence()),
            divergence_by_torch(lambda logits: logits.softmax(1)),
        ),
        Row(
            "SigmoidDivergence",
            "torch, `kl_div` as in audioldm_eval",
            of_pairs(SigmoidDivergence()),
            divergence_by_torch(torch.sigmoid),
        ),
        Row("PromptDiversity", "scipy, `pdist`", our_diversity, diversity_by_scipy),
        Row("InceptionScore", "torchmetrics, `InceptionScore`", our_inception, inception_by_torchmetrics),
        Row(
            "LogSpectralDistance",
            "numpy, formula of ssr_eval",
            of_pairs(LogSpectralDistance(SAMPLE_RATE)),
            lsd_by_numpy,
            sounds=True,
        ),
        Row("CLAPScore", "torchmetrics, `CosineSimilarity`", our_clap, clap_by_torchmetrics, sounds=True),
        Row(
            "CLAPAudioScore",
            "torchmetrics, `CosineSimilarity`",
            of_pairs(CLAPAudioScore(Spectra()), SAMPLE_RATE),
            clap_audio_by_torchmetrics,
            sounds=True,
        ),
    ]
    if importlib.util.find_spec("frechet_audio_distance"):
        found.insert(1, Row("FrechetDistance", "frechet_audio_distance", frechet, frechet_by_package))
    return found


def draw(sounds: bool, seed: int, width: int = Unchanged.num_features, clips: int = 300) -> tuple[Tensor, Tensor]:
    """Real and generated: correlated embeddings far from zero (clips, width), or half a second of noises (8, 8000)."""
    random = torch.Generator().manual_seed(seed)
    if sounds:
        return 0.3 * torch.randn(8, 8000, generator=random), 0.1 * torch.randn(8, 8000, generator=random)
    real, generated, mix = (torch.randn(n, width, generator=random) for n in (clips, clips, width))
    return (real @ mix + 10).relu(), (1.1 * generated @ mix + 11).relu()


def largest_difference(row: Row, draws: int = 3) -> float:
    """Of all values of a row, relative to theirs, over some draws."""
    largest = 0.0
    for seed in range(draws):
        clips = draw(row.sounds, seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*will save all extracted features")
            ours, theirs = row.our_measure(*clips), row.their_measure(*clips)
        if ours.keys() != theirs.keys():
            raise ValueError(f"expected the values {list(theirs)} of {row.ours}, got {list(ours)}")
        largest = max(largest, *(abs(ours[name] - theirs[name]) / abs(theirs[name]) for name in theirs))
    return largest


def main() -> None:
    """Print the table."""
    print("| ours | against | largest relative difference |\n|---|---|---|")
    for row in rows():
        print(f"| `{row.ours}` | {row.theirs} | {largest_difference(row):.0e} |")


if __name__ == "__main__":
    main()
