"""Whether fine-tuning by an audio-text encoder makes better sounds, or sounds that fool that encoder.

The reward r is the score of the loss's own encoder, the judge j that of another network, which training does not see;
r_v(i) and j_v(i) are those of prompt i, averaged over its sounds, at validation v. With b the validation at which the
judge's mean was best, both are compared with b prompt by prompt, since prompts differ far more than validations do:

    change of the judge  = mean_i d_i,    d_i = j_v(i) - j_b(i),    standard error  s(d) / sqrt(prompts)

and likewise for the reward. They diverge at v if

    change of the reward > z (its standard error)    and    change of the judge < -(margin + z (its standard error)).

b is the best of several, so that some fall after it is expected of chance alone; the margin and the number of
validations in a row (``patience``) are there for that. Gao, Schulman and Hilton, "Scaling Laws for Reward Model
Overoptimization", 2023, https://arxiv.org/abs/2210.10760, figure 1, shows what is looked for: the reward rises on, and
what it stands for falls.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.clap import clap_scores
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.prompts import Sounds
from consistency_tta.training.callbacks.run_dir import run_folder
from consistency_tta.training.weighted_losses import WeightedLosses


class PromptScores(Metric):
    """Scores by reward and judge, averaged for each prompt; a prompt's sounds may come in any batch and process."""

    full_state_update = False

    prompts: list[Tensor]
    scores: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("prompts", [], dist_reduce_fx="cat")
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, prompts: Tensor, scores: Tensor) -> None:
        """Take in which prompt (B,) sounds are of, and their scores (B, 2)."""
        self.prompts.append(prompts)
        self.scores.append(scores.double())

    def compute(self) -> Tensor:
        """(prompts, 2) in float64, in the prompts' order."""
        numbers, index = dim_zero_cat(self.prompts).unique(return_inverse=True)
        scores = dim_zero_cat(self.scores)
        sums = scores.new_zeros(len(numbers), 2).index_add_(0, index, scores)
        return sums / index.bincount()[:, None]


def paired_change(now: Tensor, then: Tensor) -> tuple[float, float]:
    """Mean of the differences (N,) and its standard error; N >= 2."""
    difference = now - then
    return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))


class OverfittingGuard:
    """Watches reward and judge at each validation, logs both, and warns once when they part; see the file's beginning.

    An option of :class:`~consistency_tta.training.SoundMetrics`. Logs ``val/guard/reward`` and ``val/guard/judge``;
    writes both networks' checksums and signatures, the rule and the curves to ``overfitting.json`` in the run's folder.

    Args:
        judge: another network than the loss's. The more it differs, in data and in kind, the more it is worth.
        loss: name of the loss whose ``encoder`` is the reward; needed where several have one.
        margin: how much worse the judge's mean cosine must be, in [0, 2].
        z: standard errors that a change must exceed.
        patience: validations in a row.
        allow_same: whether judge and reward may be the same network, which then only shows the curve.

    Raises:
        ValueError: a number is out of range, the losses have no such encoder, or both networks are the same.
    """

    def __init__(
        self,
        judge: AudioEncoder,
        loss: str | None = None,
        margin: float = 0.01,
        z: float = 2.0,
        patience: int = 2,
        allow_same: bool = False,
    ) -> None:
        if margin < 0 or z < 0 or patience < 1:
            raise ValueError(f"expected margin >= 0, z >= 0 and patience >= 1, got {margin}, {z} and {patience}")
        self.judge = judge.eval().requires_grad_(False)
        self.loss = loss
        self.allow_same = allow_same
        self.rule = {"margin": margin, "z": z, "patience": patience}
        self.networks: dict[str, dict[str, Any]] = {}
        self.curves: list[dict[str, Any]] = []
        self.best: Tensor | None = None
        self.best_step = 0
        self.in_a_row = 0
        self.diverged_at: int | None = None
        self.scores = PromptScores()

    def attach(self, module: TrainingModule) -> None:
        """Find the reward among the module's losses, and see that the judge is another network.

        Warns of a judge that was the reward of an earlier stage; it need not be neutral.
        """
        losses = getattr(module, "losses", None)
        plugins = {name: losses[name] for name in losses.weights} if isinstance(losses, WeightedLosses) else {}
        self.reward = self.find_reward(plugins)
        networks = {"reward": self.reward, "judge": self.judge}
        self.known = {name: EncoderFingerprint.of(network) for name, network in networks.items()}
        self.networks = {
            name: {
                "network": type(network).__name__,
                "sha256_of_file": network.checksum,
                "signature": self.known[name].signature,
            }
            for name, network in networks.items()
        }
        if not self.networks_differ and not self.allow_same:
            raise ValueError(
                "judge and reward are the same network: the files are the same, or both hear the same in a sound. It "
                "would judge itself: give another checkpoint as judge, or set allow_same"
            )
        self.judge_taught_before = module.pipeline().rewards.include(self.known["judge"]) and self.networks_differ
        if self.judge_taught_before:
            rank_zero_warn(
                "the judge taught an earlier stage of this model, which may still please it: give another as judge "
                "where its word is to count"
            )

    @property
    def networks_differ(self) -> bool:
        """Whether reward and judge are two, whatever files and packages they are of."""
        return not self.known["reward"].same_network(self.known["judge"])

    def find_reward(self, plugins: Mapping[str, nn.Module]) -> AudioEncoder:
        """The encoder of the loss that was named, or of the only one that has one."""
        encoders = {name: getattr(plugin, "encoder", None) for name, plugin in plugins.items()}
        found = {name: encoder for name, encoder in encoders.items() if isinstance(encoder, AudioEncoder)}
        if self.loss is not None:
            found = {name: encoder for name, encoder in found.items() if name == self.loss}
        if len(found) != 1:
            raise ValueError(
                f"expected one loss with an audio-text encoder to watch, got {sorted(found) or 'none'} among the "
                f"losses {sorted(plugins)}: {'name one as `loss`' if found else 'add CLAPLoss, or drop the guard'}"
            )
        return next(iter(found.values()))

    def update(self, waveform: Tensor, sounds: Sounds) -> None:
        """Score a batch of sounds (B, samples)."""
        self.scores.to(waveform.device)
        self.judge.to(waveform.device)
        scores = [
            clap_scores(network, waveform, sounds.captions, sounds.sample_rate) for network in (self.reward, self.judge)
        ]
        self.scores.update(sounds.prompts.to(waveform.device), torch.stack(scores, dim=1))

    def compute_and_log(self, trainer: Trainer, module: TrainingModule) -> None:
        """Compare with the judge's best validation, log, warn, and write the report."""
        scores = self.scores.compute().cpu()
        self.scores.reset()
        for column, name in enumerate(("reward", "judge")):
            value = scores[:, column].mean().to(module.device, torch.float32)
            module.log(f"val/guard/{name}", value, sync_dist=True)
        self.append(trainer.global_step, scores)
        if self.in_a_row >= self.rule["patience"] and self.diverged_at is None:
            self.diverged_at = trainer.global_step
            last = self.curves[-1]
            rank_zero_warn(
                f"reward and judge part: since step {last['compared_with']} the reward has risen by "
                f"{last['reward_change']:.3g} and the judge has fallen by {-last['judge_change']:.3g} on the same "
                f"prompts, now for {self.in_a_row} validations in a row. Training may be fooling the reward network: "
                "stop at the judge's best validation, or lower the loss's weight."
            )
        folder = run_folder(trainer)
        if trainer.is_global_zero:
            self.write(folder / "overfitting.json")

    def append(self, step: int, scores: Tensor) -> None:
        """Take in the scores (prompts, 2) of a validation."""
        if len(scores) < 2:
            raise ValueError(f"expected at least two prompts, or there is no standard error, got {len(scores)}")
        reward, judge = scores.mean(0).tolist()
        if self.best is None or len(self.best) != len(scores) or judge > float(self.best[:, 1].mean()):
            self.best, self.best_step = scores, step
        (rise, rise_error), (fall, fall_error) = (
            paired_change(scores[:, column], self.best[:, column]) for column in (0, 1)
        )
        z, margin = self.rule["z"], self.rule["margin"]
        parted = rise > z * rise_error and fall < -(margin + z * fall_error)
        self.in_a_row = self.in_a_row + 1 if parted else 0
        self.curves.append(
            {
                "step": step,
                "reward": reward,
                "judge": judge,
                "compared_with": self.best_step,
                "reward_change": rise,
                "reward_standard_error": rise_error,
                "judge_change": fall,
                "judge_standard_error": fall_error,
                "parted": parted,
            }
        )

    def write(self, file: Path) -> None:
        """The report."""
        file.parent.mkdir(parents=True, exist_ok=True)
        report = self.networks | {
            "networks_differ": self.networks_differ,
            "judge_taught_an_earlier_stage": self.judge_taught_before,
            "rule": self.rule,
            "diverged_at_step": self.diverged_at,
            "curves": self.curves,
        }
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        """What has been seen so far."""
        return {name: getattr(self, name) for name in ("curves", "best", "best_step", "in_a_row", "diverged_at")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        for name, value in state_dict.items():
            setattr(self, name, value)
