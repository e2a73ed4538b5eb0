"""Classifier-free guidance.

Ho, Salimans, "Classifier-Free Diffusion Guidance", 2022, https://arxiv.org/abs/2207.12598, eq. 6 (there with w - 1 for
our w). It acts on z_0, which means the same as on any other output; see
:mod:`consistency_tta.diffusion.parametrisation`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from consistency_tta.contracts import Conditioning, Denoiser, TextEmbedding
from consistency_tta.diffusion.noise import expand
from consistency_tta.runtime.errors import ConfigurationError, ShapeError

#: The scalar by which a denoiser knows, in both halves, how many tokens the caption has: some pad the empty prompt so.
CAPTION_TOKENS = "caption_tokens"


class CFGDenoiser(Denoiser):
    """Classifier-free guidance: z_0 = unconditional + w (conditional - unconditional), one query of twice the batch.

    Vectors and scalars of the conditioning, such as a sound's duration, are the same in both halves.

    Args:
        denoiser: answers both with and without a caption.
        unconditional: embedding (1, tokens, width) and mask (1, tokens) of the empty prompt; or of B negative prompts,
            whose sounds guidance leads away from. It moves with the module but is not part of its state_dict.
        guidance_scale: w for every example; then ``Conditioning.guidance_scale`` is passed on to a ``denoiser`` that
            has learnt guidance, which is so guided on top. None to read w there, and not to pass it on.
        unconditional_texts: the same of the empty prompt for each of ``Conditioning.texts``, by name.

    Raises:
        ShapeError: if a mask does not go with its embedding; on a query, if widths or numbers of examples differ.
        ConfigurationError: on a query, if no w is known, or the empty prompt of a further text is.
    """

    unconditional_embedding: Tensor
    unconditional_mask: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        unconditional: TextEmbedding,
        guidance_scale: float | None = None,
        unconditional_texts: dict[str, TextEmbedding] | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.guidance_scale = guidance_scale
        self.further_texts = sorted(unconditional_texts or {})
        self._register("unconditional", unconditional)
        for name, text in (unconditional_texts or {}).items():
            self._register(f"unconditional_{name}", text)

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """Guided z_0 (B, C, *), see :class:`~consistency_tta.contracts.Denoiser`; at least float32."""
        passed_on = None
        if self.guidance_scale is not None:
            scale: Tensor | float = self.guidance_scale
            if conditioning.guidance_scale is not None:
                passed_on = conditioning.guidance_scale.repeat(2)
        elif conditioning.guidance_scale is not None:
            scale = expand(conditioning.guidance_scale, z_t)
        else:
            raise ConfigurationError(
                "guidance needs a scale w, but Conditioning.guidance_scale is None: "
                "give it there (B,), or a fixed guidance_scale to CFGDenoiser"
            )
        both = self._twice(conditioning, passed_on)
        second_time = {} if s is None else {"s": torch.cat([s, s])}
        z_0 = self.denoiser(torch.cat([z_t, z_t]), torch.cat([t, t]), both, **second_time)
        # A difference scaled by w loses w times the rounding error: not in half precision.
        unconditional, conditional = z_0.to(torch.promote_types(z_0.dtype, torch.float32)).chunk(2)
        return unconditional + scale * (conditional - unconditional)

    def _twice(self, conditioning: Conditioning, guidance_scale: Tensor | None) -> Conditioning:
        """The conditioning without captions, and then the same with them."""
        if missing := sorted(conditioning.texts.keys() - set(self.further_texts)):
            raise ConfigurationError(
                f"the conditioning has the texts {missing}, but no empty prompt of them is known: "
                "give them to CFGDenoiser as unconditional_texts"
            )
        scalars = {CAPTION_TOKENS: conditioning.text.mask.sum(1)} | conditioning.scalars
        return Conditioning(
            self._with_empty(conditioning.text, "unconditional"),
            guidance_scale,
            {name: self._with_empty(text, f"unconditional_{name}") for name, text in conditioning.texts.items()},
            {name: torch.cat([vector, vector]) for name, vector in conditioning.vectors.items()},
            {name: torch.cat([scalar, scalar]) for name, scalar in scalars.items()},
        )

    def _with_empty(self, text: TextEmbedding, name: str) -> TextEmbedding:
        """The empty or negative prompts, and then the captions (2 B, tokens, width)."""
        batch_size, _, width = text.embedding.shape
        embedding, mask = getattr(self, f"{name}_embedding").to(text.embedding.dtype), getattr(self, f"{name}_mask")
        if embedding.shape[2] != width:
            raise ShapeError(
                f"the captions' embeddings are {width} wide, but the unconditional one is {embedding.shape[2]}: "
                "make both with the same text encoder"
            )
        if embedding.shape[0] not in (1, batch_size):
            raise ShapeError(
                f"expected the embedding of one unconditional prompt, or of {batch_size}, one for each caption, got "
                f"{embedding.shape[0]}"
            )
        empty, captions = same_length(TextEmbedding(embedding, mask), text)
        return TextEmbedding(
            torch.cat([empty.embedding.expand(batch_size, -1, -1), captions.embedding]),
            torch.cat([empty.mask.expand(batch_size, -1), captions.mask]),
        )

    def _register(self, name: str, text: TextEmbedding) -> None:
        embedding, mask = text.embedding, text.mask
        if embedding.ndim != 3 or mask.shape != embedding.shape[:2]:
            raise ShapeError(
                "expected an unconditional embedding (1, tokens, width), or one for each caption, with a mask "
                f"(1, tokens), got shapes {tuple(embedding.shape)} and {tuple(mask.shape)}"
            )
        self.register_buffer(f"{name}_embedding", embedding.detach().clone(), persistent=False)
        self.register_buffer(f"{name}_mask", mask.clone().bool(), persistent=False)


def same_length(*texts: TextEmbedding) -> tuple[TextEmbedding, ...]:
    """Embeddings (B, tokens, width), B and tokens of each its own, padded to the most tokens; padding is masked.

    Text encoders may pad to the longest caption of the batch only; masked tokens are not attended to.
    """
    longest = max(text.mask.shape[1] for text in texts)

    def padded(text: TextEmbedding) -> TextEmbedding:
        missing = longest - text.mask.shape[1]
        return TextEmbedding(pad(text.embedding, (0, 0, 0, missing)), pad(text.mask, (0, missing), value=False))

    return tuple(padded(text) for text in texts)
