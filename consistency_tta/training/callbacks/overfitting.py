"""Detects whether fine-tuning with an audio-text encoder overfits that encoder instead of making better sounds.

The reward r is the CLAP score by the loss's own encoder. The independent score j is the CLAP score by another encoder
(the option ``judge``), which the training does not use. r_v(i) and j_v(i) are the scores of prompt i at validation v,
averaged over its sounds. Let b be the validation with the best mean of j. Both scores are compared with those of b
prompt by prompt, since prompts differ far more than validations do:

    change of j  = mean_i d_i,    d_i = j_v(i) - j_b(i),    standard error  s(d) / sqrt(prompts)

and likewise for the reward. They diverge at v if

    change of the reward > z (its standard error)    and    change of j < -(margin + z (its standard error)).

Since b is the best of several validations, chance alone lets the score fall after it; the margin and the number of
validations in a row (``patience``) allow for that. Source: Gao, Schulman and Hilton, "Scaling Laws for Reward Model
Overoptimization", 2023, https://arxiv.org/abs/2210.10760, figure 1, in which the reward goes on rising while the
quality that it stands for falls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from consistency_tta.components.reward_lineage import EncoderFingerprint
from consistency_tta.contracts import AudioEncoder
from consistency_tta.metrics.clap import clap_scores
from consistency_tta.runtime.device import exact_device
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.prompt_scores import PromptScores, paired_change
from consistency_tta.training.callbacks.prompts import Sounds
from consistency_tta.training.callbacks.run_dir import run_folder
from consistency_tta.training.weighted_losses import WeightedLosses


class OverfittingGuard:
    """Logs reward and independent score at each validation, and warns once when they diverge; see the file's docstring.

    An option of :class:`~consistency_tta.training.SoundMetrics`. Logs ``val/guard/reward`` and ``val/guard/judge``;
    writes both networks' checksums and signatures, the rule and the curves to ``overfitting.json`` in the run's folder.

    Args:
        judge: an encoder that is independent of the loss's. The more it differs, in data and in kind, the better.
        loss: name of the loss whose ``encoder`` is the reward; required where several have one.
        margin: by how much the independent encoder's mean cosine must fall, in [0, 2].
        z: standard errors that a change must exceed.
        patience: validations in a row.
        allow_same: whether reward and independent encoder may be the same network; then the guard only logs the curve.

    Raises:
        ConfigurationError: a number is out of range, the losses have no such encoder, or both networks are the same.
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
            raise ConfigurationError(
                f"expected margin >= 0, z >= 0 and patience >= 1, got {margin}, {z} and {patience}"
            )
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
        """Find the reward among the module's losses, and check that the independent encoder is another network.

        Warns if it was the reward of an earlier stage, since the model may overfit it, too.
        """
        losses = getattr(module, "losses", None)
        plugins = {name: losses[name] for name in losses.weights} if isinstance(losses, WeightedLosses) else {}
        self.reward = self.find_reward(plugins)
        networks = {"reward": self.reward, "judge": self.judge}
        for name, network in networks.items():
            if not network.embeds_text:
                raise ConfigurationError(
                    f"expected {name} to be an encoder of sounds and captions, got {type(network).__name__}, which "
                    "embeds no captions: drop the guard, or take a CLAP"
                )
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
            raise ConfigurationError(
                "judge and reward are the same network: their files or their embeddings are the same. Give another "
                "checkpoint as judge, or set allow_same"
            )
        self.judge_was_reward = module.pipeline().rewards.include(self.known["judge"]) and self.networks_differ
        if self.judge_was_reward:
            rank_zero_warn(
                "the judge was the reward of an earlier stage of this model, which may overfit it: give another "
                "checkpoint as judge"
            )

    @property
    def networks_differ(self) -> bool:
        """Whether reward and independent encoder differ, whichever files and packages they come from."""
        return not self.known["reward"].same_network(self.known["judge"])

    def find_reward(self, plugins: Mapping[str, nn.Module]) -> AudioEncoder:
        """The encoder of the loss that was named, or of the only one that has one."""
        encoders = {name: getattr(plugin, "encoder", None) for name, plugin in plugins.items()}
        found = {name: encoder for name, encoder in encoders.items() if isinstance(encoder, AudioEncoder)}
        if self.loss is not None:
            found = {name: encoder for name, encoder in found.items() if name == self.loss}
        if len(found) != 1:
            raise ConfigurationError(
                f"expected one loss with an audio-text encoder to watch, got {sorted(found) or 'none'} among the "
                f"losses {sorted(plugins)}: {'name one as `loss`' if found else 'add CLAPLoss, or drop the guard'}"
            )
        return next(iter(found.values()))

    def update(self, waveform: Tensor, sounds: Sounds) -> None:
        """Score a batch of sounds (B, samples)."""
        device = exact_device(waveform.device)
        self.scores.to(device)
        self.judge.to(waveform.device)
        scores = [
            clap_scores(network, waveform, sounds.captions, sounds.sample_rate) for network in (self.reward, self.judge)
        ]
        self.scores.update(sounds.prompts.to(device), torch.stack(scores, dim=1).to(device))

    def compute_and_log(self, trainer: Trainer, module: TrainingModule) -> None:
        """Compare with the best validation by the independent score, log, warn, and write the report."""
        scores = self.scores.compute().cpu()
        self.scores.reset()
        for column, name in enumerate(("reward", "judge")):
            value = scores[:, column].mean().float().to(module.device)
            module.log(f"val/guard/{name}", value, sync_dist=True)
        self.append(trainer.global_step, scores)
        if self.in_a_row >= self.rule["patience"] and self.diverged_at is None:
            self.diverged_at = trainer.global_step
            last = self.curves[-1]
            rank_zero_warn(
                f"reward and judge diverge: since step {last['compared_with']} the reward has risen by "
                f"{last['reward_change']:.3g} and the judge has fallen by {-last['judge_change']:.3g} on the same "
                f"prompts, now for {self.in_a_row} validations in a row. The model may overfit the reward network: "
                "stop at the judge's best validation, or lower the loss's weight."
            )
        folder = run_folder(trainer)
        if trainer.is_global_zero:
            self.write(folder / "overfitting.json")

    def append(self, step: int, scores: Tensor) -> None:
        """Add the scores (prompts, 2) of a validation."""
        if len(scores) < 2:
            raise ConfigurationError(f"expected at least two prompts for a standard error, got {len(scores)}")
        reward, judge = scores.mean(0).tolist()
        if self.best is None or len(self.best) != len(scores) or judge > float(self.best[:, 1].mean()):
            self.best, self.best_step = scores, step
        (rise, rise_error), (fall, fall_error) = (
            paired_change(scores[:, column], self.best[:, column]) for column in (0, 1)
        )
        z, margin = self.rule["z"], self.rule["margin"]
        diverging = rise > z * rise_error and fall < -(margin + z * fall_error)
        self.in_a_row = self.in_a_row + 1 if diverging else 0
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
                "parted": diverging,
            }
        )

    def write(self, file: Path) -> None:
        """Write the report."""
        file.parent.mkdir(parents=True, exist_ok=True)
        report = self.networks | {
            "networks_differ": self.networks_differ,
            "judge_taught_an_earlier_stage": self.judge_was_reward,
            "rule": self.rule,
            "diverged_at_step": self.diverged_at,
            "curves": self.curves,
        }
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    def state_dict(self) -> dict[str, Any]:
        """The curves and the best validation so far."""
        return {name: getattr(self, name) for name in ("curves", "best", "best_step", "in_a_row", "diverged_at")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        for name, value in state_dict.items():
            setattr(self, name, value)
