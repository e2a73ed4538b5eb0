"""What every backbone has: a network, the meaning of its output, and the scalars that it reads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from consistency_tta.components.scalar_embedding import ScalarEmbedding
from consistency_tta.contracts import Conditioning, Denoiser, TextEmbedding
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.parametrisation import parametrisation
from consistency_tta.diffusion.schedules import NoiseSchedule
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.runtime.shared_copies import copy_module


class Backbone(Denoiser):
    """A network as a :class:`~consistency_tta.contracts.Denoiser`.

    A subclass is one file: it names the network's class and the model folder's component, queries the network
    (:meth:`predict`), and widens the network to read more scalars (:meth:`widen`).

    Args:
        network: the network.
        schedule: noise schedule of the network.
        prediction_type: what the network's output is: ``epsilon``, ``v_prediction``, ``sample`` or ``flow_prediction``.
        guidance_embedding: features of w, for a network that reads it.
        second_time_embedding: features of s / T, for a flow map.
        parts: further networks of the folder, by name, such as ``projection_model``.
        text_length: the most tokens of a caption, for networks that attend to padding; None if it is not known.

    Attributes:
        network_class: the network's class.
        component: the network's name in a model folder.
        scalar_layers: the network's layers that read scalars, which LoRA trains in full.
        lora_layers: ends of the names of the layers that LoRA adapts if nothing else is given.
        frame_multiple: the network takes latents of any number of frames that is a multiple of this; None for a network
            that takes no more than it was made for.
    """

    network_class: ClassVar[type[nn.Module]]
    component: ClassVar[str]
    scalar_layers: ClassVar[tuple[str, ...]]
    lora_layers: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0")
    frame_multiple: int | None = None
    schedule: NoiseSchedule  # it also makes z_t, which the contract does not require

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        prediction_type: str,
        guidance_embedding: ScalarEmbedding | None = None,
        second_time_embedding: ScalarEmbedding | None = None,
        parts: Mapping[str, nn.Module] | None = None,
        text_length: int | None = None,
    ) -> None:
        super().__init__()
        # Under its component's name, which is that of its weights in checkpoints.
        self.add_module(self.component, network)
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.parametrisation = parametrisation(prediction_type, schedule)
        self.guidance_embedding = guidance_embedding
        self.second_time_embedding = second_time_embedding
        for name, part in (parts or {}).items():
            self.add_module(name, part)
        self.part_names = tuple(parts or ())
        self.text_length = text_length

    @property
    def network(self) -> Any:  # Any: each adapter knows its network's class
        """The network."""
        return self.get_submodule(self.component)

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's weights."""
        return next(self.network.parameters()).dtype

    @property
    def reads_guidance(self) -> bool:
        """Whether the network reads w."""
        return self.guidance_embedding is not None

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, ...]:
        """(C, *) of the latents that the network was made for."""

    @property
    def text_width(self) -> int:
        """Of the captions' embeddings; a backbone that may be a discriminator's defines it."""
        raise ConfigurationError(f"expected {type(self).__name__} to define text_width and blocks: see UNetBackbone")

    @abstractmethod
    def predict(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """The network's raw output (B, C, *) in float32; arguments as in :meth:`forward`."""

    @abstractmethod
    def widen(self, network: Any, features: int) -> nn.Module:
        """A copy of a network that reads so many more features of scalars, and makes nothing of them yet."""

    def blocks(self) -> dict[str, tuple[nn.Module, int]]:
        """The network's blocks, in order, by name: each with the channels of what it hands on; none if not defined."""
        return {}

    @staticmethod
    def block_features(output: Any) -> Tensor:
        """The features among what a block returns, (B, channels, *) or (B, tokens, channels)."""
        return output[0] if isinstance(output, tuple) else output

    def unconditional(self, empty: TextEmbedding) -> TextEmbedding:
        """What stands for "no caption" in classifier-free guidance: the empty prompt's embedding (1, tokens, width)."""
        return empty

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """See :class:`consistency_tta.contracts.Denoiser`; computed in float32 around the network."""
        z_t = z_t.float()
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        return self.parametrisation.to_clean(self.predict(z_t, t, conditioning, s), z_t, alpha, sigma)

    def scalar_features(self, conditioning: Conditioning, s: Tensor | None) -> Tensor | None:
        """Features (B, F) of w, and of s for a flow map, of the network's dtype; None for a network that reads neither.

        Raises:
            ConfigurationError: if the network reads a scalar that is not given.
        """
        features = []
        if self.guidance_embedding is not None:
            if conditioning.guidance_scale is None:
                raise ConfigurationError("this network reads the guidance scale: expected one per example, got None")
            features.append(self.guidance_embedding(conditioning.guidance_scale))
        if self.second_time_embedding is not None:
            if s is None:
                raise ConfigurationError("this network reads a second time: expected s (B,), got None")
            features.append(self.second_time_embedding(s / self.schedule.num_train_timesteps))
        return torch.cat(features, dim=1).to(self.dtype) if features else None

    def components(self) -> dict[str, Any]:
        """The network and what reads scalars, by their names in a model folder."""
        return {
            self.component: self.network,
            "guidance_embedding": self.guidance_embedding,
            "second_time_embedding": self.second_time_embedding,
        } | {name: self.get_submodule(name) for name in self.part_names}

    @classmethod
    def new_parts(cls, network: Any, text_width: int) -> dict[str, nn.Module]:
        """What a new, untrained network needs besides itself, for text embeddings of that width."""
        return {}

    def student_copy(
        self, prediction_type: str | None = None, second_time: bool = False, schedule: NoiseSchedule | None = None
    ) -> Self:
        """A trainable copy that also reads w, and s if it is to be a flow map.

        What is new in it ends in zeros: at the start it equals the network's *conditional* prediction at every w and s.

        Args:
            prediction_type: what its output means; the network's own if None.
            second_time: whether it reads s.
            schedule: instead of the network's own, as the teacher's of a distillation.
        """
        features = 0
        guidance, second = deepcopy(self.guidance_embedding), deepcopy(self.second_time_embedding)
        if guidance is None:
            guidance = ScalarEmbedding()
            features += guidance.num_features
        if second_time and second is None:
            second = ScalarEmbedding(scale=1.0)
            features += second.num_features
        network = self.widen(self.network, features) if features else copy_module(self.network)
        network.requires_grad_(True)
        return self._like(network, schedule or self.schedule, prediction_type or self.prediction_type, guidance, second)

    def _like(self, network: nn.Module, *arguments: Any) -> Self:
        """A backbone of this class with another network, and the same parts."""
        parts = {name: self.get_submodule(name) for name in self.part_names}
        cls: Any = type(self)
        return cls(network, *arguments, parts=parts, text_length=self.text_length)


def build_backbone(network: nn.Module, schedule: NoiseSchedule, prediction_type: str, **options: Any) -> Backbone:
    """The backbone of a network, found by the network's class.

    Args:
        network: of the class that some imported subclass of :class:`Backbone` names as its ``network_class``.
        schedule, prediction_type: as for :class:`Backbone`.
        **options: as for :class:`Backbone`.

    Raises:
        ModelFolderError: if there is none for that class.
    """
    return _adapter(network)(network, schedule, prediction_type, **options)


def new_backbone(
    network: nn.Module, schedule: NoiseSchedule, prediction_type: str, text_width: int, text_length: int
) -> Backbone:
    """The backbone of a new, untrained network, with the parts that it needs for text embeddings of that width."""
    adapter = _adapter(network)
    parts = adapter.new_parts(network, text_width)
    return adapter(network, schedule, prediction_type, parts=parts, text_length=text_length)


def widened(layer: nn.Linear, features: int) -> nn.Linear:
    """A copy of a linear layer with so many more inputs, at the end, whose weights are zeros."""
    weight = torch.cat([layer.weight, layer.weight.new_zeros(layer.out_features, features)], dim=1)
    wider = nn.Linear(1, 1, bias=layer.bias is not None, device="meta")
    wider.in_features, wider.out_features = layer.in_features + features, layer.out_features
    wider.weight = nn.Parameter(weight)
    wider.bias = None if layer.bias is None else nn.Parameter(layer.bias.clone())
    return wider


def _adapter(network: nn.Module) -> Any:
    """The adapter of a network's class; the last defined, so that a third party's goes before ours."""
    adapters = list(_adapters(Backbone))[::-1]
    for adapter in adapters:
        if isinstance(network, adapter.network_class):
            return adapter
    raise ModelFolderError(
        f"expected a network among {', '.join(sorted(a.network_class.__name__ for a in adapters))}, got "
        f"{type(network).__name__}: subclass consistency_tta.components.backbones.Backbone for it, and name the module "
        "in the entry-point group consistency_tta.plugins"
    )


def _adapters(base: Any) -> Iterator[Any]:
    for derived in base.__subclasses__():
        yield derived
        yield from _adapters(derived)
