"""Divergence of a tagger's class probabilities for a generated clip and the real clip of the same caption.

    KL(real || generated) = sum_k p_k (log p_k - log(q_k + epsilon))

over the classes k, for the probabilities p_k of the real and q_k of the generated clip, in nats; averaged over pairs.

Source: metric "KL" in Haohe Liu et al., "AudioLDM", 2023, https://arxiv.org/abs/2301.12503, as its program
https://github.com/haoheliu/audioldm_eval computes it: direction, epsilon = 1e-6 added to q alone, sum over the classes.
Deepanway Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion Model" (TANGO),
2023, https://arxiv.org/abs/2304.13731, evaluate by it, too.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.metrics.states import ClipMean, finite_rows
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


class _Divergence(ClipMean):
    higher_is_better = False

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if epsilon <= 0:
            raise ConfigurationError(f"expected epsilon > 0, got {epsilon}")
        self.epsilon = epsilon

    @abstractmethod
    def _log_probabilities(self, logits: Tensor) -> Tensor: ...

    def update(self, logits: Tensor, recording_logits: Tensor) -> None:
        """Add logits (B, K) of generated clips, and those of the real clips that belong to them, in their order."""
        if logits.shape != recording_logits.shape:
            raise ShapeError(
                f"expected logits of pairs of clips, got shapes {tuple(logits.shape)} and "
                f"{tuple(recording_logits.shape)}"
            )
        pair = (finite_rows(x, what="logits").double() for x in (logits, recording_logits))
        log_q, log_p = map(self._log_probabilities, pair)
        self._add((log_p.exp() * (log_p - (log_q.exp() + self.epsilon).log())).sum(1))


class SoftmaxDivergence(_Divergence):
    """Mean KL(real || generated) of softmax probabilities, in nats; 0 is best, -log epsilon = 13.8 the worst.

    Because of epsilon, equal pairs are below 0, by at most K epsilon. Constant memory.

    Args:
        epsilon: added to the generated clip's probabilities.
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    def _log_probabilities(self, logits: Tensor) -> Tensor:
        return F.log_softmax(logits, dim=1)


class SigmoidDivergence(_Divergence):
    """The same sum over sigmoid probabilities, each class by itself: for sounds of several events.

    Kept as audioldm_eval has it, for comparison: the terms of 1 - p_k are missing, so that it is no divergence and may
    fall below 0, where the generated clip's probabilities are higher than the real one's. Constant memory.

    Args:
        epsilon: added to the generated clip's probabilities.
        **kwargs: of :class:`torchmetrics.Metric`.
    """

    def _log_probabilities(self, logits: Tensor) -> Tensor:
        return F.logsigmoid(logits)
