"""A linear probe: class scores from any encoder's embeddings, fitted on real clips.

An encoder that was trained for other labels, such as those of birds or of music, cannot name a sound of ESC-10, but its
embedding may tell the classes apart. A logistic regression on the standardised embedding measures that.

Source: Guillaume Alain and Yoshua Bengio, "Understanding intermediate layers using linear classifier probes", 2016,
https://arxiv.org/abs/1610.01644.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.runtime.errors import DataError
from consistency_tta.runtime.frozen import Frozen

#: Of BirdNET's embedding, chosen by the accuracy on fold 4 of ESC-10 after a fit on folds 1-3.
PENALTY = 0.3


class LinearProbe(nn.Module):
    """Multinomial logistic regression on standardised embeddings; the fit is deterministic.

    Args:
        embeddings: (N, D).
        labels: (N,), each in [0, classes).
        classes: K, each of which needs a clip.
        penalty: the loss is the mean cross-entropy plus penalty / 2 times the squared norm of the weights.

    Raises:
        DataError: a class has no clip.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, embeddings: Tensor, labels: Tensor, classes: int, penalty: float = PENALTY) -> None:
        super().__init__()
        counts = torch.bincount(labels, minlength=classes)
        if (counts == 0).any():
            raise DataError(f"expected clips of each of {classes} classes, got {counts.tolist()}: add some")
        vectors = embeddings.double()
        mean, scale = vectors.mean(0), vectors.std(0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)  # a constant coordinate has no influence
        weight, bias = _fit((vectors - mean) / scale, labels, classes, penalty)
        for name, value in {"mean": mean, "scale": scale, "weight": weight, "bias": bias}.items():
            self.register_buffer(name, value.float(), persistent=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Class scores (B, K), logits of a softmax, of embeddings (B, D)."""
        return (embeddings - self.mean) / self.scale @ self.weight.T + self.bias


@torch.enable_grad()
def _fit(inputs: Tensor, labels: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(classes, inputs.shape[1], dtype=inputs.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=inputs.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = nn.functional.cross_entropy(inputs @ weight.T + bias, labels)
        value = error + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


class ProbeEncoder(AudioEncoder):
    """An encoder whose logits are the class scores of a probe.

    Called with waveforms (B, samples) and their sample rate, it returns embeddings (B, D) and class scores (B, K).

    Args:
        encoder: embeds.
        probe: scores its embeddings.
    """

    def __init__(self, encoder: AudioEncoder, probe: LinearProbe) -> None:
        super().__init__()
        self.frozen = Frozen(encoder=encoder, probe=probe)
        self.name = encoder.name
        self.sample_rate, self.num_features = encoder.sample_rate, encoder.num_features
        self.min_samples, self.checksum = encoder.min_samples, encoder.checksum

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`."""
        vectors: Tensor = self.frozen.encoder.embed(waveform, sample_rate)
        return vectors

    def embed_windows(self, waveform: Tensor, sample_rate: int) -> AudioEmbedding:
        """One vector and the class scores for each sound."""
        vectors = self.embed(waveform, sample_rate).float()
        return AudioEmbedding(vectors[:, None], self.frozen.probe(vectors))

    @torch.no_grad()
    def forward(self, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D) and class scores (B, K) of waveforms (B, samples)."""
        vectors = self.embed(waveform, sample_rate).float()
        return vectors, self.frozen.probe(vectors)
