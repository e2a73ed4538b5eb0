"""How good a training sounds: any metrics, on the same prompts from the same noise at every validation."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torchmetrics import Metric

from consistency_tta.contracts import AudioEmbedding, AudioEncoder, Batch
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.overfitting import OverfittingGuard
from consistency_tta.training.callbacks.prompts import FixedPrompts, Sounds, read_captions
from consistency_tta.training.callbacks.reference import check_reference, hear, hear_reference

#: What a metric's ``update`` may ask for, by the names of its parameters.
HEARD = {"vectors", "embeddings", "logits", "recording_logits"}
#: Of the recording that a caption belongs to.
PAIRED = {"recording", "recording_logits"}
OFFERED = HEARD | PAIRED | {"waveform", "sample_rate", "captions", "prompts", "real"}


class SoundMetrics(Callback):
    """Measures what the averaged weights generate, and logs ``val/metric/<name>``.

    Of a metric that computes several numbers, such as ``Coverage``, each is ``val/metric/<name>/<number>``.

    Captions and noise are the same at every validation, so that curves can be compared, and a ``ModelCheckpoint`` can
    keep the best by any of them (``monitor: val/metric/<name>``). Each process makes and measures its share, and
    torchmetrics brings the shares together. Training is left bit for bit what it is without.

    What a metric is given depends on the names of its ``update``'s parameters, as in ``torchmetrics.MetricCollection``:

        waveform        (B, samples) in [-1, 1], beside ``sample_rate`` in Hz
        captions        B captions
        prompts         (B,) int64, which caption of the list it is
        vectors         (N, D) of the embedder, N = B W; also called ``embeddings``. With ``prompts`` or ``captions``
                        beside it one vector a sound, (B, D), the mean over W
        logits          (B, K) of the embedder
        real            False; and once more, with True, for the reference
        recording       (B, samples), as long as ``waveform``: what was recorded, where ``captions`` is a number and the
                        validation set has recordings
        recording_logits  (B, K) of the embedder, of the recordings

    Args:
        metrics: by name, which is also the log's.
        captions: list of captions; or a file of them (text with one a line, or of
            :mod:`consistency_tta.storage.captions`); or how many of the validation set's first.
        embedder: what metrics of vectors and logits hear with.
        reference: recordings for metrics that ask for ``real``: a folder, or a safetensors file of ``vectors``.
        guard: watches whether fine-tuning by an audio-text encoder fools it.
        guidance_scale: w.
        steps: of the U-Net; 1 for a student and 50 for a teacher if not given.
        num_samples: sounds per caption; diversity needs two.
        batch_size: sounds made at a time in each process.
        seed: of the noise.
        every_n_validations: how often; generating takes time. Keep 1 beside a ``ModelCheckpoint`` that keeps several
            by a metric: in between it would see the last value again.

    Raises:
        ValueError: a metric asks for what there is not, or a number is too small.
    """

    def __init__(
        self,
        metrics: dict[str, Metric],
        captions: list[str] | str | int = 16,
        embedder: AudioEncoder | None = None,
        reference: str | None = None,
        guard: OverfittingGuard | None = None,
        guidance_scale: float = 3.0,
        steps: int | None = None,
        num_samples: int = 1,
        batch_size: int = 8,
        seed: int = 0,
        every_n_validations: int = 1,
    ) -> None:
        self.asked = {name: _parameters(name, metric) for name, metric in metrics.items()}
        for name, asked in self.asked.items():
            if asked & HEARD and embedder is None:
                raise ValueError(f"metric {name!r} asks for {', '.join(sorted(asked & HEARD))}: give an embedder")
            if asked & PAIRED and not isinstance(captions, int):
                raise ValueError(
                    f"metric {name!r} compares each sound with the recording of its caption: give a number as "
                    f"captions, of the validation set's first, got {captions!r}"
                )
            if "real" in asked and (reference is None or asked - HEARD - {"real"}):
                raise ValueError(f"metric {name!r} compares with recordings: give their folder as reference")
        least = {"num_samples": num_samples, "batch_size": batch_size, "every_n_validations": every_n_validations}
        least |= {"steps": 1 if steps is None else steps, "metrics or a guard": len(metrics) + (guard is not None)}
        least |= {"captions": captions} if isinstance(captions, int) else {}
        for name, value in least.items():
            if value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
        self.metrics = {name: metric.requires_grad_(False) for name, metric in metrics.items()}
        self.captions = captions if isinstance(captions, int) else read_captions(captions)
        self.embedder = embedder and embedder.eval().requires_grad_(False)
        self.reference = reference
        self.guard = guard
        self.settings: dict[str, Any] = {
            "guidance_scale": guidance_scale,
            "steps": steps,
            "num_samples": num_samples,
            "batch_size": batch_size,
            "seed": seed,
        }
        self.every_n_validations = every_n_validations
        self.validations = 0
        self._reference: list[AudioEmbedding] | None = None
        self._recordings: Tensor | None = None
        self._recording_logits: dict[int, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what generates nothing, and a reference that cannot be heard, before any time is spent."""
        pipeline = pl_module.pipeline() if isinstance(pl_module, TrainingModule) else None
        if not isinstance(pl_module, TrainingModule) or not isinstance(pipeline, TextToAudioPipeline):
            raise ValueError(f"SoundMetrics is for models that generate, and {type(pl_module).__name__} makes no sound")
        pipeline.require("vae", "vocoder", "text_encoder", "tokenizer", "unet", "scheduler")
        # Every process looks at everything, and all refuse alike: none waits for another that has stopped.
        if self.reference is not None and self.embedder is not None and stage in ("fit", "validate"):
            check_reference(self.reference, self.embedder)
        if self.guard is not None:
            self.guard.attach(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so if nothing will ever be measured."""
        if not trainer.enable_validation:
            rank_zero_warn("SoundMetrics measures at validations, and this run has none: give validation data")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Generate, measure and log."""
        assert isinstance(pl_module, TrainingModule)  # setup saw to it
        if trainer.sanity_checking:
            return
        self.validations += 1
        if (self.validations - 1) % self.every_n_validations:
            return
        # Metrics and other people's networks may draw numbers; they draw the same ones every time.
        with torch.no_grad(), isolate_rng():
            torch.manual_seed(self.settings["seed"])
            self.measure(trainer, pl_module)
            values = {name: _numbers(name, metric.compute()) for name, metric in self.metrics.items()}
        for name, numbers in values.items():
            self.metrics[name].reset()
            for key, value in numbers.items():
                pl_module.log(f"val/metric/{key}", value.to(pl_module.device, torch.float32), sync_dist=True)
        if self.guard is not None:
            self.guard.compute_and_log(trainer, pl_module)

    def measure(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Let the metrics take in this process's share."""
        device, place = pl_module.device, (trainer.global_rank, trainer.world_size)
        for part in (*self.metrics.values(), self.embedder):
            if part is not None:
                part.to(device)
        prompts = FixedPrompts(self.read_prompts(trainer), **self.settings)
        if len(prompts.captions) * prompts.num_samples < trainer.world_size:
            raise ValueError(
                f"expected at least a sound for each of {trainer.world_size} processes, got {len(prompts.captions)} "
                f"captions x {prompts.num_samples}: give more captions"
            )
        for sounds in prompts.sounds(pl_module.pipeline(), *place):
            self.add_sounds(sounds, device)
        if self.reference is not None and self.embedder is not None:
            if self._reference is None:
                self._reference = list(hear_reference(self.reference, self.embedder, device, *place))
            for heard in self._reference:
                self.update({"real": True, "vectors": heard.vectors, "logits": heard.logits})

    def read_prompts(self, trainer: Trainer) -> Sequence[str]:
        """The captions; read from the validation set once, the same in all processes."""
        if isinstance(self.captions, int):
            loaders = trainer.val_dataloaders
            loader: Any = loaders[0] if isinstance(loaders, list | tuple) else loaders
            examples = [loader.dataset[index] for index in range(min(self.captions, len(loader.dataset)))]
            batch: Batch = loader.collate_fn(examples)
            self.captions, self._recordings = batch.captions, batch.waveform
            paired = [name for name, asked in self.asked.items() if asked & PAIRED]
            if paired and self._recordings is None:
                raise ValueError(
                    f"metric {paired[0]!r} compares with recordings, but the validation data have none: take a "
                    "datamodule that reads audio instead of latents, or drop the metric"
                )
        return self.captions

    def add_sounds(self, sounds: Sounds, device: torch.device) -> None:
        """Let metrics and guard take in a batch of sounds."""
        waveform = sounds.waveform.to(device)
        offered: dict[str, Any] = {
            "waveform": waveform,
            "sample_rate": sounds.sample_rate,
            "captions": sounds.captions,
            "prompts": sounds.prompts.to(device),
            "real": False,
        }
        if self.embedder is not None:
            heard = hear(self.embedder, waveform, sounds.sample_rate, device)
            offered |= {"vectors": heard.vectors, "logits": heard.logits}
        if any(asked & PAIRED for asked in self.asked.values()):
            assert self._recordings is not None  # read_prompts saw to it
            offered["recording"] = self._recordings[sounds.prompts].to(device)
            if any("recording_logits" in asked for asked in self.asked.values()):
                offered["recording_logits"] = self.recording_logits(sounds.prompts.tolist(), sounds.sample_rate, device)
        self.update(offered)
        if self.guard is not None:
            self.guard.update(waveform, sounds)

    def recording_logits(self, prompts: Sequence[int], sample_rate: int, device: torch.device) -> Tensor | None:
        """The embedder's (B, K) of the recordings of some prompts, each of which is heard once in a run."""
        assert self._recordings is not None  # read_prompts saw to it
        assert self.embedder is not None  # __init__ saw to it
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._recording_logits]
        if new:
            logits = hear(self.embedder, self._recordings[new].to(device), sample_rate, device).logits
            if logits is None:
                return None
            self._recording_logits |= dict(zip(new, logits, strict=True))
        return torch.stack([self._recording_logits[prompt] for prompt in prompts])

    def update(self, offered: dict[str, Any]) -> None:
        """Give each metric what it asks for; of recordings only to those that ask for ``real``."""
        for name, metric in self.metrics.items():
            asked = self.asked[name]
            if offered["real"] and "real" not in asked:
                continue
            given: dict[str, Any] = {key: offered.get(key) for key in asked}
            if "recording" in asked and "waveform" in asked:
                length = min(given["waveform"].shape[1], given["recording"].shape[1])
                given |= {key: given[key][:, :length] for key in ("waveform", "recording")}
            for key in asked & {"vectors", "embeddings"}:
                vectors = offered["vectors"]
                given[key] = vectors.mean(1) if asked & {"prompts", "captions"} else vectors.flatten(0, 1)
            if asked & {"logits", "recording_logits"} and offered["logits"] is None:
                raise ValueError(f"metric {name!r} asks for logits, and {type(self.embedder).__name__} gives none")
            metric.update(**given)

    def state_dict(self) -> dict[str, Any]:
        """The count, and what the guard has seen."""
        return {"validations": self.validations, "guard": self.guard and self.guard.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.validations = state_dict["validations"]
        if self.guard is not None and state_dict["guard"] is not None:
            self.guard.load_state_dict(state_dict["guard"])


def _parameters(name: str, metric: Metric) -> set[str]:
    """What a metric's ``update`` asks for."""
    parameters = inspect.signature(metric.update).parameters.values()
    asked = {p.name for p in parameters if p.name in OFFERED or p.default is inspect.Parameter.empty}
    if not asked or asked - OFFERED:
        raise ValueError(
            f"metric {name!r} ({type(metric).__name__}) must update with some of {', '.join(sorted(OFFERED))}, "
            f"but asks for {', '.join(sorted(asked)) or 'nothing'}"
        )
    return asked


def _numbers(name: str, computed: Any) -> dict[str, Tensor]:
    """What a metric computed, by the names of the log."""
    several = isinstance(computed, dict)
    numbers = {f"{name}/{key}": value for key, value in computed.items()} if several else {name: computed}
    for key, value in numbers.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(
                f"metric {key!r} must compute a number, or several by name, got {type(value).__name__}: {value}"
            )
    return numbers
