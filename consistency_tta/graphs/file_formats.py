"""The formats that graphs are written in, and the smaller number formats of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.export import ExportedProgram

from consistency_tta.graphs import onnx_format, openvino_format, torch_format
from consistency_tta.graphs.graph import Graph

#: Computes the output of a file for inputs by name.
Run = Callable[[Path, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class FileFormat:
    """How graphs become files.

    Attributes:
        write: writes a graph and its program into a folder, in float32, and returns the file.
        run: computes a file's output in float32 on the CPU.
        smaller: by the name of a number format, what rewrites a file in it.
        check: raises a MissingExtraError where a package for it is not installed.
    """

    write: Callable[[Graph, ExportedProgram, Path], Path]
    run: Run
    smaller: Mapping[str, Callable[[Path], None]]
    check: Callable[[], None] = lambda: None


ONNX = FileFormat(onnx_format.write_onnx, onnx_format.run_onnx, {"int8": onnx_format.quantise}, onnx_format.check_extra)
FORMATS: Mapping[str, FileFormat] = {
    "onnx": ONNX,
    "openvino": FileFormat(
        openvino_format.write_openvino,
        openvino_format.run_openvino,
        {"float16": openvino_format.halve_openvino, "int8": openvino_format.quantise_openvino},
        openvino_format.check_openvino,
    ),
    "torch": FileFormat(torch_format.write_program, torch_format.run_program, {}),
    "web": ONNX,
}
