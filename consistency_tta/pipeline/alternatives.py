"""Arguments under their other names: ours of before, and those of StableAudioPipeline and AudioLDM2Pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from consistency_tta.diffusion.sample import OnStep
from consistency_tta.runtime.errors import ConfigurationError

#: What StableAudioPipeline and AudioLDM2Pipeline take and these models have no use for, with the value that asks for
#: nothing; None does so, too.
NEUTRAL: dict[str, Any] = {
    "audio_start_in_s": 0.0,
    "cross_attention_kwargs": {},
    "eta": 0.0,
    "generated_prompt_embeds": None,
    "initial_audio_sampling_rate": None,
    "initial_audio_waveforms": None,
    "max_new_tokens": None,
    "negative_generated_prompt_embeds": None,
    "transcription": None,
}


def check_neutral(values: dict[str, Any]) -> None:
    """Check that arguments of other pipelines ask for nothing that these models cannot do.

    Raises:
        TypeError: if one is an argument of none of them.
        ConfigurationError: if one has another value than its neutral one.
    """
    for name, value in values.items():
        if name not in NEUTRAL:
            raise TypeError(f"TextToAudioPipeline.__call__() got an unexpected keyword argument {name!r}")
        if value is not None and (isinstance(value, Tensor) or value != NEUTRAL[name]):
            raise ConfigurationError(
                f"expected {name}={NEUTRAL[name]!r}, got {value!r:.40}: no part of the model reads it; leave it out"
            )


def one_of(**values: Any) -> Any:
    """The value of an argument that has several names, of which at most one is given, or all the same value.

    Args:
        **values: by name, the documented one first; None where it is not given.

    Raises:
        ConfigurationError: if two values disagree.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if len(set(given.values())) > 1:
        listed = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise ConfigurationError(f"expected one length, got {listed}: give {next(iter(values))} alone")
    return next(iter(given.values()), None)


def step_callback(
    pipeline: Any,
    on_step_end: Callable[..., Any] | None,
    tensor_inputs: Any,
    plain: Callable[[int, int, Tensor], None] | None,
    plain_steps: int,
) -> OnStep | None:
    """What a sampler calls after each step, of a caller's callbacks.

    Args:
        pipeline: the first argument of ``on_step_end``.
        on_step_end: ``(pipeline, step, timestep, {"latents": ...})``, may return a dictionary with other latents.
        tensor_inputs: names of what is in that dictionary; only ``latents`` is known.
        plain: ``(step, timestep, latents)``, as StableAudioPipeline has it.
        plain_steps: ``plain`` is called at every so many steps.

    Raises:
        ConfigurationError: if both callbacks are given, or unknown tensors.
    """
    if on_step_end is None and plain is None:
        return None
    if on_step_end is not None and plain is not None:
        raise ConfigurationError("expected callback_on_step_end or callback, got both: leave callback out")
    if unknown := set(tensor_inputs) - {"latents"}:
        raise ConfigurationError(f"expected callback_on_step_end_tensor_inputs of latents alone, got {sorted(unknown)}")
    if plain_steps < 1:
        raise ConfigurationError(f"expected callback_steps of at least 1, got {plain_steps}")

    def on_step(step: int, time: float, latents: Tensor) -> Tensor:
        if on_step_end is None:
            if plain is not None and step % plain_steps == 0:
                plain(step, round(time), latents)
            return latents
        changed = on_step_end(pipeline, step, time, dict.fromkeys(tensor_inputs, latents))
        return (changed or {}).get("latents", latents)

    return on_step
