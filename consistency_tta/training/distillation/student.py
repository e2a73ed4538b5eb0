"""The student of a distillation: where it starts, what it reads and returns, and which of its weights are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consistency_tta.components.backbones import Backbone
from consistency_tta.diffusion.schedules import NoiseSchedule, prediction_type_from_config
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.distillation.lora import LoRA


@dataclass(frozen=True)
class StudentConfig:
    """The student's start and conditioning.

    Attributes:
        folder: model folder or hub id to start from, such as an earlier stage's, or from Python the
            ``TextToAudioPipeline`` itself, of which the student is a copy; the teacher's weights if not given.
        prediction_type: what the network returns; the start's own if not given. ``v_prediction`` starts the student of
            a v-predicting teacher (TANGO) at the teacher's own denoiser and meets the boundary condition f(z, 0) = z by
            itself; ``sample`` is the released ConsistencyTTA's.
        guidance_scale: w, fixed; or the two ends of the range it is drawn from, per example.
        caption_dropout: share of examples trained without their caption, in [0, 1). For guidance on top of the
            student's: with a ``guidance_scale`` fixed at 1, the paper's direct guidance. ``CLAPLoss`` would pull these
            examples, too, to their captions: give it a ``text_weight`` of 0 then.
        crop_lengths: latent frames; each step trains on random crops of one of these lengths, so that the student can
            make sounds of other lengths than its teacher's (``latents`` of as many frames). Multiples of what the
            network shrinks time by; none for whole clips. Not with losses of sound.
        lora: adapters to train instead of the whole network; needs the extra ``lora``.
    """

    folder: str | Any | None = None  # Any: a pipeline
    prediction_type: str | None = None
    guidance_scale: float | tuple[float, float] = (0.0, 6.0)
    caption_dropout: float = 0.0
    crop_lengths: tuple[int, ...] = ()
    lora: LoRA | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.caption_dropout < 1:
            raise ConfigurationError(f"expected a caption_dropout in [0, 1), got {self.caption_dropout}")


def build_student(
    config: StudentConfig, start: TextToAudioPipeline, schedule: NoiseSchedule, second_time: bool = False
) -> Backbone:
    """A trainable copy of the start's network that reads w, and s for a flow map.

    Raises:
        ConfigurationError: if the start's weights mean something else than ``prediction_type``.
    """
    # A copy: the folder's own network may be the teacher's.
    student = start.denoiser.student_copy(_prediction_type(config, start), second_time, schedule)
    if config.lora is not None:
        config.lora.adapt(student)
    return student


def scheduler_for(scheduler: Any, prediction_type: str) -> Any:
    """A diffusers scheduler of the same noise levels whose configuration says what the student returns."""
    if prediction_type_from_config(scheduler.config) == prediction_type:
        return scheduler
    return type(scheduler).from_config(scheduler.config, prediction_type=prediction_type)


def _prediction_type(config: StudentConfig, start: TextToAudioPipeline) -> str:
    """A diffusion model is a start for its own prediction type and for ``sample``, a student for its own alone."""
    own = start.denoiser.prediction_type
    chosen = config.prediction_type or own
    if start.sampler.one_query and chosen != own:
        raise ConfigurationError(
            f"the student in {start.config.get('_name_or_path') or 'memory'} returns {own}, but prediction_type is "
            f"{chosen}: set it to {own}"
        )
    if chosen not in (own, "sample"):
        raise ConfigurationError(
            f"{config.folder or 'the teacher'} returns {own}, so its weights are no start for a student of {chosen}: "
            f"set prediction_type to {own}, or to sample, as the released ConsistencyTTA"
        )
    return chosen
