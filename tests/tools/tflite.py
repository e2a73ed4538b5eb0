"""A TensorFlow Lite file with two linear layers, in place of published weights."""

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def write_linear_layers(file: Path, first: np.ndarray, second: np.ndarray) -> None:
    """Write a network (1, N) -> (1, D) -> (1, K); the tensor before the output is that of the first layer.

    Args:
        file: written.
        first: weights (D, N) of the first layer.
        second: weights (K, D) of the second layer.
    """
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    shapes = [(1, first.shape[1]), first.shape, second.shape, (1, first.shape[0]), (1, second.shape[0])]
    model.buffers = [schema.BufferT() for _ in shapes]
    model.buffers[1].data = np.frombuffer(first.astype("<f4").tobytes(), np.uint8)
    model.buffers[2].data = np.frombuffer(second.astype("<f4").tobytes(), np.uint8)
    graph.tensors = [_tensor(index, shape) for index, shape in enumerate(shapes)]
    graph.inputs, graph.outputs, graph.operators = [0], [4], [_layer(0, 1, 3), _layer(3, 2, 4)]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    file.write_bytes(bytes(builder.Output()))


def _tensor(index: int, shape: tuple[int, ...]) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.shape, tensor.type = list(shape), schema.TensorType.FLOAT32
    tensor.name, tensor.buffer = f"tensor{index}", index
    return tensor


def _layer(source: int, weight: int, target: int) -> schema.OperatorT:
    layer = schema.OperatorT()
    layer.inputs, layer.outputs = [source, weight, -1], [target]  # -1: no bias
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    return layer
