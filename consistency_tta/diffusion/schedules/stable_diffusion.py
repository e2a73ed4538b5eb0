"""The scheduler of Stable Diffusion 2.1, which TANGO and ConsistencyTTA share."""

from diffusers import DDIMScheduler


def stable_diffusion_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 2.1, TANGO and ConsistencyTTA."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )
