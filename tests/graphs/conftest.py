"""A toy student, and the folder of its ONNX graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.diffusion.sampler import ConsistencySampler
from consistency_tta.graphs.folder import export_graphs
from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import VOCODER, toy_parts


@pytest.fixture(scope="session")
def student() -> TextToAudioPipeline:
    """A student of v prediction, whose vocoder has noise and the search for phases; no layer of it is zero."""
    torch.manual_seed(0)
    parts = toy_parts() | {"vocoder": FourierVocoder(**VOCODER, noise_channels=1, noise_excitation=True, mel_share=0.5)}
    learnt = TextToAudioPipeline(**parts).denoiser.student_copy("v_prediction")
    torch.nn.init.normal_(learnt.network.class_embedding.linear_2.weight, std=0.1)
    return TextToAudioPipeline(**(parts | learnt.components()), sampler=ConsistencySampler(), guidance_range=[1.0, 5.0])


@pytest.fixture(scope="session")
def graph_folder(student: TextToAudioPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its graphs in ONNX."""
    folder = tmp_path_factory.mktemp("graphs") / "student"
    export_graphs(student, folder, "onnx", "float32", tolerance=1e-3)
    return folder
