"""A graph as an OpenVINO file, with weights of 16 or 8 bits if wanted."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.export import ExportedProgram

from consistency_tta.graphs.graph import Graph
from consistency_tta.runtime.errors import MissingExtraError


def check_openvino() -> None:
    """Raise where the extra is not installed.

    Raises:
        MissingExtraError: names the command that installs it.
    """
    for package in ("openvino", "nncf"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"export to OpenVINO needs {package}: pip install 'consistency-tta[openvino]'", name=package
            )


def write_openvino(graph: Graph, program: ExportedProgram, folder: Path) -> Path:
    """Write ``<name>.xml``, the graph, and ``<name>.bin``, its weights in float32."""
    with unreported():
        model = _openvino().convert_model(program)
    shapes = {}
    for port, (name, example) in zip(model.inputs, graph.inputs.items(), strict=True):
        port.tensor.set_names({name})
        # The conversion leaves all axes open.
        shapes[name] = [-1 if axis in graph.dynamic_axes[name] else size for axis, size in enumerate(example.shape)]
    model.reshape(shapes)
    model.output(0).tensor.set_names({graph.output})
    return _save(model, folder / f"{graph.name}.xml", half=False)


def halve_openvino(file: Path) -> None:
    """Store the weights of a written file in float16; in what the runtime computes is its own choice."""
    _save(_openvino().Core().read_model(file), file, half=True)


def quantise_openvino(file: Path) -> None:
    """Store the weights of matrix products and convolutions in 8 bits, each channel with a scale, others in float16.

    Activations stay floating-point numbers.
    """
    with unreported():
        import nncf

        nncf.set_log_level(logging.WARNING)  # it shows tables
        model = nncf.compress_weights(_openvino().Core().read_model(file))
    _save(model, file, half=True)


def run_openvino(file: Path, inputs: Mapping[str, Tensor]) -> Tensor:
    """The output of a written file on the CPU, in float32: by itself OpenVINO takes bfloat16 where the CPU has it."""
    model = _openvino().Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(model({name: value.numpy() for name, value in inputs.items()})[0])


def unreported() -> AbstractContextManager[Any]:
    """Within which OpenVINO and NNCF do not report their use to Intel: both do it, unasked, except in a test."""
    return patch.dict(os.environ, CI="true", NNCF_CI="1")


def _openvino() -> Any:
    with unreported():
        import openvino
    return openvino


def _save(model: Any, file: Path, half: bool) -> Path:
    """Write a model, which may be read from the file itself, by way of another name."""
    new = file.with_stem(f"{file.stem}_new")
    _openvino().save_model(model, new, compress_to_fp16=half)
    for suffix in (".bin", ".xml"):
        new.with_suffix(suffix).replace(file.with_suffix(suffix))
    return file
