"""Model folders at fixed fractions of a training's budget of network passes, for curves against passes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.model_folder import model_folder
from consistency_tta.training import Distillation
from tools.arena.budget import CountPasses
from tools.bundle import rest_on

#: Written last: a folder that has it is whole.
FACTS = "snapshot.json"


class SaveSnapshots(Callback):
    """Writes ``<folder>/<fraction>``, such as ``0.25``, as soon as that fraction of the passes is spent.

    A folder has the student's averaged weights and rests on the teacher's folder for all other parts.

    Args:
        folder: where to.
        teacher: the teacher's folder or bundled name.
        fractions: in (0, 1].
        unfinished: whether a training that ends before its budget is spent, as by ``max_time``, leaves a model, too.

    Raises:
        ConfigurationError: if a fraction is outside (0, 1].
    """

    def __init__(
        self, folder: str, teacher: str, fractions: Sequence[float] = (0.25, 0.5, 1.0), unfinished: bool = False
    ) -> None:
        if any(not 0 < fraction <= 1 for fraction in fractions):
            raise ConfigurationError(f"expected fractions in (0, 1], got {list(fractions)}")
        self.folder, self.teacher, self.fractions = Path(folder), teacher, sorted(fractions)
        self.unfinished = unfinished

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the folders that are due; :class:`CountPasses` must come before this callback."""
        spent = self.count(trainer).passes / self.count(trainer).budget
        for fraction in self.fractions:
            if spent >= fraction:
                self.save(trainer, pl_module, fraction)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what there is of an unfinished training."""
        spent = self.count(trainer).passes / self.count(trainer).budget
        if self.unfinished and 0 < spent < max(self.fractions):
            self.save(trainer, pl_module, spent, ended_early=True)

    def count(self, trainer: Trainer) -> CountPasses:
        """The callback that counts."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        (found,) = (one for one in callbacks if isinstance(one, CountPasses))
        return found

    def save(self, trainer: Trainer, training: LightningModule, fraction: float, ended_early: bool = False) -> None:
        """Write a model folder that rests on the teacher's, unless it is there.

        Args:
            trainer, training: as Lightning gives them to callbacks.
            fraction: of the budget.
            ended_early: whether the training ends here, before its budget is spent.
        """
        assert isinstance(training, Distillation)
        # A training that ended early has no folder of a whole budget, however near it came.
        folder, count = self.folder / f"{min(fraction, 0.99) if ended_early else fraction:.2f}", self.count(trainer)
        if (folder / FACTS).exists():
            return
        facts: dict[str, Any] = {"fraction": fraction, "passes": count.passes, "cpu_seconds": count.cpu_seconds}
        facts |= {"ended_early": ended_early}
        facts |= {"steps": trainer.global_step, "passes_by_network": dict(count.counter.counts)}
        training.pipeline().save_pretrained(folder)
        unchanged = ["mel", "vae", "vocoder", "text_encoder", "tokenizer"]
        if training.decoders.decoder is not None:
            unchanged.remove("vae")
        # A folder may rest on a neighbour alone: a link makes the teacher one.
        link = self.folder / "teacher"
        if not link.exists():
            link.symlink_to(Path(model_folder(self.teacher)).resolve(), target_is_directory=True)
        rest_on(folder, "../teacher", [name for name in unchanged if (folder / name).is_dir()])
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
