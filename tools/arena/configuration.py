"""The configuration of a contestant: its own file laid over the common base, and what the command specifies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.suggest import nearest

HERE = Path(__file__).parent


def known() -> dict[str, Path]:
    """The files of all contestants, by name."""
    return {file.stem: file for file in sorted((HERE / "contestants").glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a contestant by its name, or a YAML file elsewhere.

    Raises:
        ConfigurationError: if there is none.
    """
    file = known().get(name, Path(name))
    if file.suffix == ".yaml" and file.is_file():
        return file
    near = nearest(name, list(known()))
    hint = f"; did you mean {near!r}?" if near else ""
    raise ConfigurationError(f"expected a YAML file or one of {', '.join(known())}, got {name!r}{hint}")


@dataclass(frozen=True)
class Entry:
    """One training: a contestant and a seed.

    Attributes:
        name: of the contestant.
        file: its YAML file.
        seed: of the training.
        folder: of its results.
    """

    name: str
    file: Path
    seed: int
    folder: Path

    @property
    def models(self) -> Path:
        """The folder of its snapshots."""
        return self.folder / "models"

    @property
    def run(self) -> Path:
        """The folder of checkpoints and logs."""
        return self.folder / "run"


def configuration(
    entry: Entry,
    latents: Path,
    teacher: str,
    start: str | None,
    budget: float,
    fractions: list[float],
    every: int = 100,
    unfinished: bool = False,
) -> dict[str, Any]:
    """The whole configuration of a training, for ``consistency-tta fit``.

    Args:
        entry: the training.
        latents: folder with ``train``, which ``consistency-tta encode`` wrote.
        teacher: model folder or bundled name.
        start: of the student; the teacher's weights if None.
        budget: network passes.
        fractions: of the budget at which models are written.
        every: optimizer steps between checkpoints.
        unfinished: whether a training that is ended early leaves a model.
    """
    command = {
        "seed_everything": entry.seed,
        "model": {"init_args": {"teacher": teacher, "student": {"folder": start}}},
        "data": {"init_args": {"train_folder": str(latents / "train")}},
        "trainer": {
            "default_root_dir": str(entry.run),
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": str(entry.run)},
            },
            "callbacks": [
                {"class_path": "tools.arena.budget.CountPasses", "init_args": {"budget": budget}},
                {
                    "class_path": "tools.arena.snapshots.SaveSnapshots",
                    "init_args": {
                        "folder": str(entry.models),
                        "teacher": teacher,
                        "fractions": fractions,
                        "unfinished": unfinished,
                    },
                },
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {
                        "dirpath": str(entry.run),
                        "filename": "newest",
                        "every_n_train_steps": every,
                        "enable_version_counter": False,
                    },
                },
            ],
        },
    }
    merged = OmegaConf.merge(OmegaConf.load(HERE / "base.yaml"), command, OmegaConf.load(entry.file))
    found: Any = OmegaConf.to_container(merged, resolve=False)
    return found


def duration(seconds: float) -> str:
    """As Lightning's ``max_time``: DD:HH:MM:SS."""
    whole = max(1, round(seconds))
    return f"00:{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
