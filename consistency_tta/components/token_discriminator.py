"""A discriminator of sets of tokens, such as the features of a frozen denoiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from consistency_tta.contracts import TextEmbedding


class TokenDiscriminator(nn.Module):
    """One small head for each block's tokens; a caption enters as a projection.

        logit of a token = head(h) + <V text, h> / sqrt(hidden),    h = MLP(token)

    Sources: Sauer et al., "Fast High-Resolution Image Synthesis with Latent Adversarial Diffusion Distillation", 2024,
    https://arxiv.org/abs/2403.12015, section 3.1; Miyato and Koyama, "cGANs with Projection Discriminator", 2018,
    https://arxiv.org/abs/1802.05637, eq. 4.

    Args:
        channels: of each block's tokens.
        text_width: of the captions' embeddings.
        hidden: width of the heads.
    """

    def __init__(self, channels: Sequence[int], text_width: int, hidden: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, hidden),
                nn.LeakyReLU(0.2),
                nn.Linear(hidden, hidden),
                nn.LeakyReLU(0.2),
            )
            for width in channels
        )
        self.logits = nn.ModuleList(nn.Linear(hidden, 1) for _ in channels)
        self.captions = nn.ModuleList(nn.Linear(text_width, hidden, bias=False) for _ in channels)

    def forward(self, features: Sequence[Tensor], text: TextEmbedding) -> list[Tensor]:
        """Logits (B, N) of each block's tokens (B, N, channels): high for recordings that fit the captions."""
        mask = text.mask[..., None].to(text.embedding.dtype)
        pooled = (text.embedding * mask).sum(1) / mask.sum(1).clamp_min(1)
        found = []
        for tokens, head, logit, caption in zip(features, self.heads, self.logits, self.captions, strict=True):
            hidden = head(tokens)
            fit = torch.einsum("bnh,bh->bn", hidden, caption(pooled)) / hidden.shape[-1] ** 0.5
            found.append(logit(hidden)[..., 0] + fit)
        return found
