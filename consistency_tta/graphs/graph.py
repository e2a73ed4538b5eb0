"""A model's three graphs, with names and examples of their inputs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.components.build_codec import build_codec
from consistency_tta.graphs.networks import DecodeNetwork, DenoiseNetwork, TextNetwork
from consistency_tta.graphs.real_vocoder import real_vocoder
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError

#: Two captions of different length: the batch and the tokens are neither 1 nor equal, which exporters would fix.
CAPTIONS = ("A dog barks", "Rain is falling")


@dataclass(frozen=True)
class Graph:
    """A network with named inputs.

    Attributes:
        name: of the graph.
        network: in evaluation mode; what it reads and returns is in float32, whatever its weights are in.
        inputs: an example of each input, by name, in order; a batch of two.
        output: name of the output.
    """

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]
    output: str

    @property
    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Axes of each input that may have another size: the batch, and the tokens of a text."""
        text = ("input_ids", "attention_mask", "text_embedding")
        return {name: {0: "batch"} | ({1: "tokens"} if name in text else {}) for name in self.inputs}

    @torch.no_grad()
    def run(self) -> Tensor:
        """The network's output for the example."""
        return self.network(*self.inputs.values())


def in_bfloat16(pipeline: TextToAudioPipeline) -> TextToAudioPipeline:
    """A copy that computes in bfloat16, except where its parts insist on float32."""
    parts: dict[str, Any] = {
        name: copy.deepcopy(part).to(torch.bfloat16) if isinstance(part, nn.Module) else part
        for name, part in pipeline.components.items()
    }
    return TextToAudioPipeline(**parts)


def make_graphs(pipeline: TextToAudioPipeline) -> list[Graph]:
    """The graphs of a one-query student, each with the output of the one before as its example.

    Args:
        pipeline: on the CPU.

    Raises:
        ModelFolderError: if a part is missing, or the model needs more than one query.
    """
    pipeline.require("vae", "text_encoder", "tokenizer", "unet|transformer", "scheduler", "sampler")
    if not pipeline.sampler.one_query:
        raise ModelFolderError(
            "expected a student, which makes a sound in one query, got a model with "
            f"{type(pipeline.sampler).__name__}: distil it first"
        )
    denoiser, shape = pipeline.denoiser, pipeline.latent_shape
    seconds = shape[1] * pipeline.codec.samples_per_frame / pipeline.codec.sample_rate
    frames = shape[1] * getattr(pipeline.codec, "downsampling", 1)
    codec = build_codec(pipeline.vae, pipeline.mel, pipeline.vocoder and real_vocoder(pipeline.vocoder, frames))
    tokens = pipeline.tokenizer(list(CAPTIONS), padding=True, return_tensors="pt")
    text = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    graphs = [Graph("text", TextNetwork(pipeline.text_encoder).eval(), text, "text_embedding")]
    noise = torch.randn(len(CAPTIONS), *shape, generator=torch.Generator().manual_seed(0))
    conditions = {"text_embedding": graphs[0].run(), "attention_mask": tokens.attention_mask}
    guidance_scale = torch.tensor([2.0, 4.0])
    inputs = {"noise": noise, **conditions, "guidance_scale": guidance_scale}
    graphs.append(Graph("denoise", DenoiseNetwork(denoiser, seconds).eval(), inputs, "latent"))
    graphs.append(Graph("decode", DecodeNetwork(codec).eval(), {"latent": graphs[1].run()}, "waveform"))
    return graphs
