"""Tables of the package ``datasets`` (Hugging Face) from a disk or from the hub.

Of folders of sounds only the table is read by that package, since it would import torchcodec for the sounds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from consistency_tta.runtime.errors import ConfigurationError, DataError, MissingExtraError

#: The table of a folder of sounds, as ``datasets`` calls it, and how it is read.
METADATA = {"metadata.csv": "csv", "metadata.jsonl": "json", "metadata.parquet": "parquet"}


def load_table(path: str, split: str, configuration: str | None = None) -> Any:
    """A split of a data set.

    Args:
        path: folder that ``save_to_disk`` wrote; folder of parquet files, or of sounds with a ``metadata.csv``; a
            parquet file; or a hub id.
        split: its name, or a part of it such as ``train[:90%]``.
        configuration: which of a hub data set's, if it has several.

    Raises:
        ConfigurationError: if there is no such split.
        DataError: if the data set cannot be loaded.
        MissingExtraError: if the package ``datasets`` is not installed.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise MissingExtraError(
            "expected the package datasets for Hugging Face data sets, which is not installed: pip install "
            "'consistency-tta[datasets]'",
            name="datasets",
        ) from error
    saved = Path(path, "dataset_dict.json").is_file() or Path(path, "state.json").is_file()
    try:
        if saved:
            return _saved_split(datasets.load_from_disk(path), path, split)
        if Path(path).is_file():
            return datasets.load_dataset("parquet", data_files=path, split=split)
        if (table := _metadata(Path(path), split)) is not None:
            return _sound_folder(table, split)
        return datasets.load_dataset(path, configuration, split=split)
    except ConfigurationError:
        raise
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise DataError(f"expected a data set with a split {split!r}, got {path}: {cause!s:.300}") from error


def _saved_split(saved: Any, path: str, split: str) -> Any:
    """A split of what ``save_to_disk`` wrote; a table that was saved alone is the split it was, or ``train``."""
    splits = saved if isinstance(saved, dict) else {str(saved.split or "train"): saved}
    if split not in splits:
        raise ConfigurationError(
            f"expected one of the splits {', '.join(splits)} that were saved in {path}, got {split!r}: set "
            "train_split, val_split or test_split"
        )
    return splits[split]


def _metadata(folder: Path, split: str) -> Path | None:
    """The table of a folder of sounds, or of the folder in it that is called as the split; None if it is none."""
    files = [place / file for place in (folder / _name(split), folder) for file in METADATA]
    return next((file for file in files if file.is_file()), None)


def _name(split: str) -> str:
    """The name of a split of which a part may be meant: ``train`` of ``train[:90%]``."""
    return re.split(r"\W", split)[0]


def _sound_folder(table: Path, split: str) -> Any:
    """A folder of sounds, with paths as its sounds."""
    import datasets

    name = _name(split) if table.parent.name == _name(split) else "train"
    rows = datasets.load_dataset(METADATA[table.name], data_files={name: str(table)}, split=split)
    if "file_name" not in rows.column_names:
        raise ConfigurationError(f"expected a column file_name in {table}, got {', '.join(rows.column_names)}")
    names = list(rows["file_name"])
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise DataError(
            f"expected the name of a sound file in each row of {table}, such as dog.wav, got {wrong[0]!r}: complete "
            "file_name"
        )
    paths = [{"bytes": None, "path": str(table.parent / name)} for name in names]
    return rows.add_column("audio", paths)
