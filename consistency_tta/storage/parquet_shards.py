"""Shards of encoded clips as Parquet, which ``datasets``, polars, DuckDB and hubs of data sets read.

A file has a row per clip: ``id``, ``caption``, and a column for each tensor of :mod:`consistency_tta.storage.shards`.
A clip's tensor is a list of lists of numbers, as long as its axes; ``text`` is as many lists as the caption has tokens,
so that there is no ``text_ends``. Pages have checksums.

    The Apache Software Foundation, "Apache Parquet", https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from consistency_tta.runtime.errors import DataError, MissingExtraError, shortened

#: Rows that a reader decodes together: some megabytes of full-size latents.
ROWS = 100


def require_pyarrow() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "expected the package pyarrow for Parquet files, which is not installed: pip install "
            "'consistency-tta[parquet]'",
            name="pyarrow",
        ) from error
    return pyarrow, pyarrow.parquet


def to_parquet(tensors: Mapping[str, Tensor], captions: Sequence[str], ids: Sequence[str]) -> bytes:
    """A Parquet file.

    Args:
        tensors: of :mod:`consistency_tta.storage.shards`, with a row per clip, but for ``text``.
        captions, ids: one per clip.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = require_pyarrow()
    columns: dict[str, Any] = {"id": arrow.array(ids, arrow.string()), "caption": arrow.array(captions, arrow.string())}
    for name, tensor in tensors.items():
        if name == "text":
            ends = np.concatenate([[0], tensors["text_ends"].numpy()]).astype(np.int32)
            columns[name] = arrow.ListArray.from_arrays(arrow.array(ends), _lists(tensor))
        elif name != "text_ends":
            columns[name] = _lists(tensor)
    stream = arrow.BufferOutputStream()
    parquet.write_table(
        arrow.table(columns),
        stream,
        row_group_size=ROWS,
        compression="zstd",
        use_dictionary=["id", "caption"],  # numbers hardly repeat
        write_page_checksum=True,
    )
    return stream.getvalue().to_pybytes()


def from_parquet(content: bytes, name: str) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors, captions and ids of a Parquet file, as :func:`to_parquet` took them.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        DataError: the file is not whole, its checksums are wrong, or it is of something else.
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = require_pyarrow()
    try:
        file = parquet.ParquetFile(arrow.BufferReader(content), page_checksum_verification=True)
        table = file.read(use_threads=False).combine_chunks()
        if missing := {"id", "caption", "moments"} - set(table.column_names):
            raise DataError(f"{name}: expected columns id, caption and moments, got none for {', '.join(missing)}")
        columns = {column: table[column].combine_chunks() for column in table.column_names}
        captions, ids = (columns.pop(column).to_pylist() for column in ("caption", "id"))
        tensors = {}
        for column, array in columns.items():
            if column == "text":
                tensors["text_ends"] = torch.from_numpy(array.offsets.to_numpy()[1:].astype(np.int64))
                array = array.values
            tensors[column] = _tensor(array)
    except (arrow.ArrowException, OSError, AttributeError, TypeError) as error:
        raise DataError(
            f"{name}: expected a whole Parquet file of `encode`, got one that cannot be read "
            f"({shortened(error)}): copy it again, or remove it and encode again"
        ) from error
    return tensors, captions, ids


def _lists(tensor: Tensor) -> Any:
    """Rows (N, *) as an Arrow array of N lists of lists of numbers."""
    arrow, _ = require_pyarrow()
    array = arrow.array(tensor.numpy().reshape(-1))
    for length in reversed(tensor.shape[1:]):
        array = arrow.FixedSizeListArray.from_arrays(array, length)
    return array


def _tensor(array: Any) -> Tensor:
    """The contrary of :func:`_lists`."""
    arrow, _ = require_pyarrow()
    shape = []
    while arrow.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    return torch.from_numpy(np.array(array)).reshape(-1, *shape)
