"""A graph as an ONNX file, for onnxruntime; quantised to 8 bits if wanted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from consistency_tta.graphs.graph import Graph
from consistency_tta.runtime.errors import MissingExtraError


def check_extra() -> None:
    """Raise where the extra is not installed.

    Raises:
        MissingExtraError: names the command that installs it.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"export to ONNX needs {error.name}: pip install 'consistency-tta[onnx]'", name=error.name
        ) from None


@torch.no_grad()  # as it was traced: attention has another memory layout with gradients
def write_onnx(graph: Graph, program: ExportedProgram, folder: Path) -> Path:
    """Write ``<name>.onnx`` in float32, one file with its weights."""
    logging.getLogger("onnxscript").setLevel(logging.WARNING)  # it reports each pass
    file = folder / f"{graph.name}.onnx"
    # The optimiser drops sums with 1e-9, which keep divisors above zero. onnxruntime optimises when it loads.
    names: dict[str, Any] = {"input_names": [*graph.inputs], "output_names": [graph.output]}
    names["dynamic_shapes"] = graph.dynamic_axes
    converted = torch.onnx.export(
        program, tuple(graph.inputs.values()), dynamo=True, verbose=False, optimize=False, **names
    )
    assert converted is not None  # without a file's name it returns the program
    converted.save(file)
    return file


def quantise(file: Path) -> None:
    """Store the weights of matrix products and convolutions in 8 bits; activations are quantised as they come.

    Args:
        file: an ONNX file in float32, which is replaced.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantised = file.with_suffix(".int8.onnx")
    quantize_dynamic(file, quantised, weight_type=QuantType.QUInt8)
    quantised.replace(file)


def run_onnx(file: Path, inputs: Mapping[str, Tensor]) -> Tensor:
    """The output of a written file, by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each constant that it does not fold
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])
