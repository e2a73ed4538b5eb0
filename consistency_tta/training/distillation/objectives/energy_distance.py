"""Energy distance: samples and recordings of a batch are compared as distributions, without a discriminator."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Networks, Prediction, Step, TextEmbedding
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from consistency_tta.training.distillation.objectives.energy import EnergyObjective, squared_distance
from consistency_tta.training.distillation.objectives.teacher_features import TeacherFeatures


class EnergyDistance(EnergyObjective):
    """The student's samples x are distributed like the recordings' latents y, together with their captions c.

        D = 2 E d((x, c), (y, c')) - E d((x, c), (x', c')) - E d((y, c), (y', c'))
        d((x, c), (y, c')) = (|phi(x) - phi(y)|^2 + caption_weight^2 |c - c'|^2)^(beta / 2)

    over all pairs of different rows of the batch, which estimates D without bias. D is 0 where both distributions are
    equal, and positive elsewhere. phi takes the latents' values, or the frozen teacher's features of them; distances
    are root mean squares. c is the mean of a caption's token embeddings, in units of the batch's root mean square
    distance of captions. At ``caption_weight`` 0 captions do not count; the higher it is, the less do pairs of unlike
    captions.

    Samples at all guidance scales become like the recordings. To match a guided teacher instead, train on its samples
    (``TeacherSamples``). Batches should have several clips of like captions; of several processes each compares its own
    rows.

    Passes a step: one of the student; with ``features`` two of the teacher, one of them with a gradient.

    Sources: Szekely and Rizzo, "Energy statistics: A class of statistics based on distances", 2013,
    https://doi.org/10.1016/j.jspi.2013.03.018 (D and the range of beta); Gritsenko et al., "A Spectral Energy Distance
    for Parallel Speech Synthesis", 2020, https://arxiv.org/abs/2008.01160 (training by it). Captions in the distance
    and the features of a noised diffusion teacher are this project's own choice.

    Args:
        features: blocks of the teacher in which distances are taken; the latents' own values if not given.
        caption_weight: of captions in the distance.
        beta: power of the distance, in (0, 2).

    Raises:
        ConfigurationError: if a number cannot be right, or the teacher has no such block.
        ShapeError: in training, of a batch of one row.
    """

    def __init__(self, features: TeacherFeatures | None = None, caption_weight: float = 1.0, beta: float = 1.0) -> None:
        super().__init__(features, beta)
        if not caption_weight >= 0:
            raise ConfigurationError(f"expected caption_weight >= 0, got {caption_weight}")
        self.caption_weight = caption_weight

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """One sample for each caption of the batch."""
        if step.training and len(step) < 2:
            raise ShapeError("expected a batch of at least 2 rows, to compare pairs of them, got 1: raise batch_size")
        sample = step.generate(networks).latent
        embed = self.embedding(step, networks, one_for_all=True)
        with torch.no_grad():
            real = embed(step.clean_latent)
        return Prediction(losses={"energy": self.distance(embed(sample), real, step.conditioning.text)})

    def distance(self, made: list[Tensor], real: list[Tensor], text: TextEmbedding) -> Tensor:
        """D by row (B,): the mean of a row's pairs with all others.

        Args:
            made, real: vectors (B, n) of samples and of recordings in each space.
            text: the captions of both.
        """
        captions = self.caption_weight**2 * caption_distance(text)
        cross = self.pair_distance(made, real, captions)
        pairs = cross + cross.T - self.pair_distance(made, made, captions) - self.pair_distance(real, real, captions)
        others = ~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)
        return torch.where(others, pairs, 0).sum(1) / max(len(pairs) - 1, 1)


def caption_distance(text: TextEmbedding) -> Tensor:
    """Squared distances (B, B) of the captions' mean token embeddings, divided by their mean over pairs of rows."""
    mask = text.mask[..., None]
    mean = (text.embedding * mask).sum(1) / mask.sum(1).clamp_min(1)
    squared = squared_distance(mean, mean)
    typical = squared.sum() / max(len(squared) * (len(squared) - 1), 1)
    return squared / typical.clamp_min(torch.finfo(squared.dtype).tiny)
