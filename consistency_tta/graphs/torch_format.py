"""A graph as a program of torch.export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from consistency_tta.graphs.graph import Graph


@torch.no_grad()
def to_program(graph: Graph) -> ExportedProgram:
    """Trace a graph, with the batch and the number of tokens left open."""
    # diffusers upsamples batches of 64 and more in another way, so the programs are of smaller ones.
    sizes = {"batch": Dim("batch", max=63), "tokens": Dim("tokens")}
    axes = tuple({axis: sizes[name] for axis, name in axes.items()} for axes in graph.dynamic_axes.values())
    return torch.export.export(graph.network, tuple(graph.inputs.values()), dynamic_shapes=axes)


def write_program(graph: Graph, program: ExportedProgram, folder: Path) -> Path:
    """Write ``<name>.pt2``, for ``torch.export.load``."""
    file = folder / f"{graph.name}.pt2"
    torch.export.save(program, file)
    return file


@torch.no_grad()
def run_program(file: Path, inputs: Mapping[str, Tensor]) -> Tensor:
    """The output of a written program for inputs in the order of its graph's."""
    return torch.export.load(file).module()(*inputs.values())
