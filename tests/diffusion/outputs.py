"""What a network puts out."""

from torch import Tensor

#: What diffusers' schedulers of betas know.
DIFFUSION_TYPES = ["epsilon", "v_prediction", "sample"]


def output_for(prediction_type: str, z_0: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Of a network whose estimate is z_0: by definition of each type, with the noise that this implies."""
    epsilon = (z_t - alpha * z_0) / sigma
    return {
        "epsilon": epsilon,
        "v_prediction": alpha * epsilon - sigma * z_0,
        "sample": z_0,
        "flow_prediction": epsilon - z_0,
    }[prediction_type]
