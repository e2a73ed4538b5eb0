import pytest
import torch

from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.errors import DataError
from tools.probe_encoder import LinearProbe, ProbeEncoder


def clusters(count=30, dim=5, classes=3):
    """Embeddings (N, D) around one centre for each class, of very different scales, and their classes (N,)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat(count)
    centres = 3 * torch.randn(classes, dim, generator=generator)
    vectors = centres[labels] + torch.randn(len(labels), dim, generator=generator)
    return vectors * torch.logspace(-3, 3, dim) + 7, labels


def test_the_fit_is_a_stationary_point_of_the_loss():
    vectors, labels = clusters()
    probe = LinearProbe(vectors, labels, 3, penalty=0.1)
    inputs = ((vectors - vectors.mean(0)) / vectors.std(0, correction=0)).double()
    weight, bias = (value.double().requires_grad_() for value in (probe.weight, probe.bias))
    loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, labels) + 0.05 * weight.square().sum()
    loss.backward()
    assert weight.grad.abs().max() < 1e-5
    assert bias.grad.abs().max() < 1e-5


def test_scores_do_not_depend_on_the_scale_of_a_coordinate():
    vectors, labels = clusters()
    scale = torch.logspace(3, -3, 5)
    scores = LinearProbe(vectors, labels, 3)(vectors)
    torch.testing.assert_close(LinearProbe(vectors * scale, labels, 3)(vectors * scale), scores, rtol=1e-3, atol=1e-3)
    assert (scores.argmax(1) == labels).double().mean() > 0.95


def test_a_constant_coordinate_has_no_influence():
    vectors, labels = clusters()
    constant = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1)
    torch.testing.assert_close(LinearProbe(constant, labels, 3)(constant), LinearProbe(vectors, labels, 3)(vectors))


def test_a_class_without_a_clip_is_refused():
    vectors, labels = clusters()
    with pytest.raises(DataError, match="4"):
        LinearProbe(vectors, labels, 4)


class Levels(AudioEncoder):
    """Embeds a sound as the levels of its two halves."""

    sample_rate = 16_000
    num_features = 2

    def embed(self, waveform, sample_rate):
        return waveform.unflatten(1, (2, -1)).square().mean(2).sqrt()


def test_the_encoder_returns_embeddings_and_class_scores():
    waveform = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    waveform[::2, :50] *= 0.01
    encoder, labels = Levels(), torch.arange(8) % 2
    vectors = encoder.embed(waveform, 16_000)
    probed = ProbeEncoder(encoder, LinearProbe(vectors, labels, 2))
    found, scores = probed(waveform, 16_000)
    torch.testing.assert_close(found, vectors)
    assert scores.argmax(1).tolist() == labels.tolist()
    embedding = probed.embed_windows(waveform, 16_000)
    torch.testing.assert_close(embedding.vectors[:, 0], vectors)
    torch.testing.assert_close(embedding.logits, scores)
