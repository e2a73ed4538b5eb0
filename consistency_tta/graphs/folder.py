"""The folder that an export writes: three graphs, the tokenizer, and a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from consistency_tta.graphs.difference import Difference
from consistency_tta.graphs.file_formats import FORMATS, Run
from consistency_tta.graphs.graph import CAPTIONS, Graph, in_bfloat16, make_graphs
from consistency_tta.graphs.tokenizer import write_tokenizer
from consistency_tta.graphs.torch_format import to_program
from consistency_tta.graphs.web_page import write_page
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.finite_weights import check_finite
from consistency_tta.storage.atomic_directory import atomic_directory


def export_graphs(pipeline: TextToAudioPipeline, output: Path, format: str, numbers: str, tolerance: float) -> None:  # noqa: A002
    """Write a folder of graphs, whole or not at all.

    Args:
        pipeline, format, numbers, tolerance: see :func:`write_graphs`.
        output: folder to write.
    """
    check_finite(pipeline.components, output)
    with atomic_directory(output, last="manifest.json") as folder:
        if format == "web":
            write_page(folder)
        write_graphs(pipeline, folder, format, numbers, tolerance)
    print(f"written to {output}")


def write_graphs(
    pipeline: TextToAudioPipeline,
    folder: Path,
    format: str,  # noqa: A002  # the option's name
    numbers: str,
    tolerance: float,
) -> dict[str, Any]:
    """Write the graphs of a student, compare each with torch, and return the manifest.

    Args:
        pipeline: the student, in float32 on the CPU.
        folder: to write into.
        format: a key of :data:`~consistency_tta.graphs.file_formats.FORMATS`.
        numbers: ``float32``, or a smaller number format of the weights; its difference from float32 is written down,
            but not limited.
        tolerance: the most that a graph may differ from torch, relative to the largest value of its output.

    Raises:
        ExportError: if a graph differs by more.
        MissingExtraError: if a package for the format is not installed.
    """
    form = FORMATS[format]
    form.check()
    graphs, files = make_graphs(pipeline), dict[str, Path]()
    written = make_graphs(in_bfloat16(pipeline)) if numbers == "bfloat16" else graphs
    entries: dict[str, dict[str, Any]] = {}
    for graph, own in zip(graphs, written, strict=True):
        file = files[graph.name] = form.write(own, to_program(own), folder)
        _difference(own, file, form.run).check(graph.name, tolerance)
        if numbers in form.smaller:
            form.smaller[numbers](file)
        difference = _difference(graph, file, form.run)
        size = sum(part.stat().st_size for part in folder.glob(f"{graph.name}.*"))
        print(f"{file.name}: {size / 1e6:.2f} MB, differs from torch by {difference}")
        entries[graph.name] = {"file": file.name, "inputs": [*graph.inputs], "output": graph.output}
        entries[graph.name]["difference"] = asdict(difference)
    whole = _whole_difference(pipeline, graphs, files, form.run)
    print(f"all three: a waveform that differs by {whole}")
    if numbers == "float32":
        whole.check("the waveform of all three", tolerance)
    write_tokenizer(pipeline.tokenizer, folder)
    manifest = describe(pipeline) | {"weights": numbers, "graphs": entries, "difference": asdict(whole)}
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
