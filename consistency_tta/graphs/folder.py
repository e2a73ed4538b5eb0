"""The folder that an export writes: three graphs, the tokenizer, and a manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consistency_tta.graphs.difference import Difference
from consistency_tta.graphs.graph import CAPTIONS, Graph, make_graphs
from consistency_tta.graphs.onnx_format import check_extra, quantise, run_onnx, write_onnx
from consistency_tta.graphs.tokenizer import write_tokenizer
from consistency_tta.graphs.torch_format import run_program, to_program, write_program
from consistency_tta.graphs.web_page import write_page
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.finite_weights import check_finite
from consistency_tta.storage.atomic_directory import atomic_directory

#: Computes the output of a file for inputs by name.
Run = Callable[[Path, Mapping[str, Tensor]], Tensor]


def export_graphs(pipeline: TextToAudioPipeline, output: Path, format: str, int8: bool, tolerance: float) -> None:  # noqa: A002
    """Write a folder of graphs, whole or not at all.

    Args:
        pipeline: the student, in float32 on the CPU.
        output: folder to write.
        format: ``onnx``, ``torch`` or ``web``.
        int8, tolerance: see :func:`write_graphs`.
    """
    check_finite(pipeline.components, output)
    with atomic_directory(output, last="manifest.json") as folder:
        if format == "web":
            write_page(folder)
        write_graphs(pipeline, folder, format != "torch", int8, tolerance)
    print(f"written to {output}")


def write_graphs(
    pipeline: TextToAudioPipeline, folder: Path, onnx: bool, int8: bool, tolerance: float
) -> dict[str, Any]:
    """Write the graphs of a student, compare each with torch, and return the manifest.

    Args:
        pipeline: the student, in float32 on the CPU.
        folder: to write into.
        onnx: whether to write ONNX files; else programs of torch.export.
        int8: whether to quantise the weights; their difference is written down, but not limited.
        tolerance: the most that a graph may differ from torch, relative to the largest value of its output.

    Raises:
        ExportError: if a graph differs by more.
        MissingExtraError: if a package for ONNX is not installed.
    """
    if onnx:
        check_extra()
    write, run = (write_onnx, run_onnx) if onnx else (write_program, run_program)
    graphs, files = make_graphs(pipeline), dict[str, Path]()
    entries: dict[str, dict[str, Any]] = {}
    for graph in graphs:
        file = files[graph.name] = write(graph, to_program(graph), folder)
        _difference(graph, file, run).check(graph.name, tolerance)
        if int8:
            quantise(file)
        difference = _difference(graph, file, run)
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB, differs from torch by {difference}")
        entries[graph.name] = {"file": file.name, "inputs": [*graph.inputs], "output": graph.output}
        entries[graph.name]["difference"] = asdict(difference)
    whole = _whole_difference(pipeline, graphs, files, run)
    print(f"all three: a waveform that differs by {whole}")
    if not int8:
        whole.check("the waveform of all three", tolerance)
    write_tokenizer(pipeline.tokenizer, folder)
    manifest = describe(pipeline) | {"int8": int8, "graphs": entries, "difference": asdict(whole)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def describe(pipeline: TextToAudioPipeline) -> dict[str, Any]:
    """What a program without torch must know of a model."""
    codec, shape = pipeline.codec, pipeline.latent_shape
    return {
        "sample_rate": codec.sample_rate,
        "channels": codec.channels,
        "samples": shape[1] * codec.samples_per_frame,
        "latent_shape": [*shape],
        "time": pipeline.denoiser.schedule.num_train_timesteps,
        "prediction_type": pipeline.denoiser.prediction_type,
        "guidance_range": pipeline.config.get("guidance_range"),
        "max_tokens": pipeline.text.max_length,
    }


def _difference(graph: Graph, file: Path, run: Run) -> Difference:
    """Of a file and its graph for one example, and for a batch of three, which no exporter has seen."""
    several = {name: torch.cat([value, value[:1]]) for name, value in graph.inputs.items()}
    expected = replace(graph, inputs=several).run()
    return Difference.between(run(file, several), expected)


@torch.no_grad()
def _whole_difference(
    pipeline: TextToAudioPipeline, graphs: list[Graph], files: Mapping[str, Path], run: Run
) -> Difference:
    """Of the files one after the other, and the pipeline itself, from the same noise."""
    pipeline.set_progress_bar_config(disable=True)
    text, denoise, _ = (graph.inputs for graph in graphs)
    scale = 3.0
    embedding = run(files["text"], text)
    weights = {"text_embedding": embedding, "guidance_scale": torch.full((len(CAPTIONS),), scale)}
    latent = run(files["denoise"], denoise | weights)
    waveform = run(files["decode"], {"latent": latent})
    sound = pipeline(list(CAPTIONS), guidance_scale=scale, latents=denoise["noise"])
    return Difference.between(waveform.reshape(sound.waveform.shape), sound.waveform)
