"""What a network's output means, and classifier-free guidance.

    epsilon        output = epsilon                          z_0 = (z_t - sigma_t output) / alpha_t
    v_prediction   output = alpha_t epsilon - sigma_t z_0    z_0 = alpha_t z_t - sigma_t output
    sample         output = z_0

All three are affine in one another with coefficients that depend on t alone. A combination a + w (b - a) of two outputs
at the same z_t, t therefore means the same in all of them, and guidance may act on z_0 whatever the network predicts.

Sources: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, https://arxiv.org/abs/2006.11239,
section 3.2 (epsilon); Salimans, Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022,
https://arxiv.org/abs/2202.00512, section 4 and appendix D (v); Ho, Salimans, "Classifier-Free Diffusion Guidance",
2022, https://arxiv.org/abs/2207.12598, eq. 6 (there with w - 1 for our w).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import pad

from consistency_tta.contracts import Conditioning, Denoiser, TextEmbedding
from consistency_tta.diffusion.noise import expand


class Parametrisation(ABC):
    """The meaning of a network's output; stateless.

    Tensors are (B, C, T, F), and alpha and sigma are alpha_t in (0, 1] and sigma_t in (0, 1), shaped
    (B, 1, 1, 1). Compute in float32 or better: at t = T 1 / alpha_t is about 15 for SD-2.1's schedule.
    """

    @abstractmethod
    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The z_0 that ``output`` stands for."""


class Epsilon(Parametrisation):
    """The network predicts the noise."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(z_t - sigma output) / alpha."""
        return (z_t - sigma * output) / alpha


class VPrediction(Parametrisation):
    """The network predicts v = alpha epsilon - sigma z_0."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Alpha z_t - sigma output."""
        return alpha * z_t - sigma * output


class Sample(Parametrisation):
    """The network predicts z_0 itself."""

    def to_clean(self, output: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The output."""
        return output


#: By the names that diffusers schedulers call ``prediction_type``.
PARAMETRISATIONS: Mapping[str, Parametrisation] = MappingProxyType(
    {"epsilon": Epsilon(), "v_prediction": VPrediction(), "sample": Sample()}
)


def parametrisation(prediction_type: str) -> Parametrisation:
    """Look up what a diffusers ``prediction_type`` means.

    Raises:
        ValueError: if the name is not in :data:`PARAMETRISATIONS`.
    """
    if prediction_type not in PARAMETRISATIONS:
        raise ValueError(
            f"prediction_type must be one of {', '.join(PARAMETRISATIONS)}, but is {prediction_type!r}: "
            "correct it in the scheduler's configuration"
        )
    return PARAMETRISATIONS[prediction_type]


class CFGDenoiser(Denoiser):
    """Classifier-free guidance: z_0 = unconditional + w (conditional - unconditional), one query of twice the batch.

    Args:
        denoiser: answers both with and without a caption.
        unconditional: embedding (1, tokens, width) and mask (1, tokens) of the empty prompt. It moves with the module
            but is not part of its state_dict.
        guidance_scale: w for every example; then ``Conditioning.guidance_scale`` is handed on to a ``denoiser`` that
            has learnt guidance, which is so guided on top. None to read w there, and not to hand it on.

    Raises:
        ValueError: if ``unconditional`` is not one example; on a query, if no w is known or widths differ.
    """

    unconditional_embedding: Tensor
    unconditional_mask: Tensor

    def __init__(self, denoiser: Denoiser, unconditional: TextEmbedding, guidance_scale: float | None = None) -> None:
        super().__init__()
        embedding, mask = unconditional.embedding, unconditional.mask
        if embedding.ndim != 3 or embedding.shape[0] != 1 or mask.shape != embedding.shape[:2]:
            raise ValueError(
                "the unconditional embedding must be the empty prompt's alone, (1, tokens, width) with a mask "
                f"(1, tokens), but they have shapes {tuple(embedding.shape)} and {tuple(mask.shape)}"
            )
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.guidance_scale = guidance_scale
        self.register_buffer("unconditional_embedding", embedding.detach().clone(), persistent=False)
        self.register_buffer("unconditional_mask", mask.detach().clone().bool(), persistent=False)

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Guided z_0 (B, C, T, F), see :class:`~consistency_tta.contracts.Denoiser`; at least float32."""
        handed_on = None
        if self.guidance_scale is not None:
            scale: Tensor | float = self.guidance_scale
            if conditioning.guidance_scale is not None:
                handed_on = conditioning.guidance_scale.repeat(2)
        elif conditioning.guidance_scale is not None:
            scale = expand(conditioning.guidance_scale, z_t)
        else:
            raise ValueError(
                "guidance needs a scale w, but Conditioning.guidance_scale is None: "
                "give it there (B,), or a fixed guidance_scale to CFGDenoiser"
            )
        both = Conditioning(self._both(conditioning.text), handed_on)
        z_0 = self.denoiser(torch.cat([z_t, z_t]), torch.cat([t, t]), both)
        # A difference scaled by w loses w times the rounding error: not in half precision.
        unconditional, conditional = z_0.to(torch.promote_types(z_0.dtype, torch.float32)).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    def _both(self, text: TextEmbedding) -> TextEmbedding:
        batch_size, _, width = text.embedding.shape
        embedding, mask = self.unconditional_embedding.to(text.embedding.dtype), self.unconditional_mask
        if embedding.shape[2] != width:
            raise ValueError(
                f"the captions' embeddings are {width} wide, but the unconditional one is {embedding.shape[2]}: "
                "make both with the same text encoder"
            )
        empty, captions = same_length(TextEmbedding(embedding, mask), text)
        return TextEmbedding(
            torch.cat([empty.embedding.expand(batch_size, -1, -1), captions.embedding]),
            torch.cat([empty.mask.expand(batch_size, -1), captions.mask]),
        )


def same_length(*texts: TextEmbedding) -> tuple[TextEmbedding, ...]:
    """Embeddings (B, tokens, width), B and tokens of each its own, padded to the most tokens; padding is masked.

    Text encoders may pad to the longest caption of the batch only; masked tokens are not attended to.
    """
    longest = max(text.mask.shape[1] for text in texts)

    def padded(text: TextEmbedding) -> TextEmbedding:
        missing = longest - text.mask.shape[1]
        return TextEmbedding(pad(text.embedding, (0, 0, 0, missing)), pad(text.mask, (0, missing), value=False))

    return tuple(padded(text) for text in texts)
