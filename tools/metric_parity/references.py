"""The same metrics by scipy, numpy, torch, torchmetrics and ``frechet_audio_distance``, on whole matrices."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from scipy.spatial.distance import cdist, pdist
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchmetrics import CosineSimilarity
from torchmetrics.image import inception

from tools.metric_parity.adapters import SAMPLE_RATE, SPLITS, MetricFunction, Values, values

NEAREST, SMALLEST, SIZES = 5, 100, 5


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


def divergence_by_torch(activation: Callable[[Tensor], Tensor]) -> MetricFunction:
    """``kl_div`` called as audioldm_eval does."""

    def compute(real: Tensor, generated: Tensor) -> Values:
        log_q, p = (activation(generated.double()) + 1e-6).log(), activation(real.double())
        return {"": float(F.kl_div(log_q, p, reduction="sum") / len(real))}

    return compute


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


def clap_by_torchmetrics(real: Tensor, generated: Tensor) -> Values:
    """Cosines with the captions' vectors."""
    spectra = torch.fft.rfft(generated.double()).abs()
    captions = [torch.randn(4001, generator=torch.Generator().manual_seed(number)) for number in range(len(real))]
    return values(CosineSimilarity("mean")(spectra, torch.stack(captions).double()))


def diversity_by_scipy(real: Tensor, generated: Tensor) -> Values:
    """The mean of the prompts' mean distances."""
    prompts = generated.double().numpy().reshape(-1, 3, generated.shape[1])
    return {"": float(np.mean([pdist(prompt).mean() for prompt in prompts]))}


def clap_audio_by_torchmetrics(real: Tensor, generated: Tensor) -> Values:
    """Cosines of two sounds' vectors."""
    spectra = [torch.fft.rfft(waveform.double()).abs() for waveform in (generated, real)]
    return values(CosineSimilarity("mean")(*spectra))
