"""Blocks of the frozen teacher's network as a space in which latents are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import layer_norm

from consistency_tta.components.denoiser_features import DenoiserFeatures
from consistency_tta.contracts import Networks, Step
from consistency_tta.training.distillation.objectives.times import UniformTimes

#: Maps latents (B, C, *) to vectors (B, n), one for each space in which distances are taken.
Embedding = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class TeacherFeatures:
    """What blocks of the teacher make of noised latents z_t with the batch's captions.

    A teacher that is guided in two queries is queried once, without guidance; one that reads w gets each row's own.

    All latents of a comparison get the same t and the same noise, so that neither adds to their distance. Each token is
    normalised over its channels, so that all blocks count alike.

    Attributes:
        blocks: of the teacher, by name; all if not given.
        time_range: lowest and highest t, as shares of the top time; t is drawn uniformly at each step.
        pooled: whether to compare means over tokens, without their places in time and frequency.
    """

    blocks: list[str] | None = None
    time_range: tuple[float, float] = (0.05, 0.5)
    pooled: bool = False

    def __post_init__(self) -> None:
        UniformTimes(*self.time_range)  # refuses a range outside of [0, 1]

    def network(self, networks: Networks) -> DenoiserFeatures:
        """The teacher's blocks.

        Raises:
            ConfigurationError: if there is no such block.
        """
        assert networks.teacher is not None  # `needs_teacher`
        return DenoiserFeatures(networks.teacher, self.blocks)

    def embedding(self, step: Step, networks: Networks, one_for_all: bool) -> Embedding:
        """The embedding of a step: each row has a t and noise of its own, or all rows have the same."""
        features, rng = self.network(networks), step.rng
        t = UniformTimes(*self.time_range)(step)
        noise = rng.normal_like(step.clean_latent)
        if one_for_all:
            t, noise = t[:1].expand_as(t), noise[:1].expand_as(noise)

        def embed(latent: Tensor) -> list[Tensor]:
            blocks = features(step.add_noise(latent, noise, t), t, step.conditioning)
            tokens = [layer_norm(block, block.shape[-1:]) for block in blocks]
            return [root_mean_square(block.mean(1) if self.pooled else block) for block in tokens]

        return embed


def latent_values(latent: Tensor) -> list[Tensor]:
    """The latents (B, C, *) themselves as one vector (B, n) each."""
    return [root_mean_square(latent)]


def root_mean_square(values: Tensor) -> Tensor:
    """Vectors (B, n) of values (B, ...), divided by sqrt(n), so that Euclidean distances are root mean squares."""
    flat = values.flatten(1)
    return flat / flat.shape[1] ** 0.5
