"""A diffusers U-Net as a denoiser, and a student made of a teacher."""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.contracts import Conditioning, Denoiser
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.parametrisation import parametrisation
from consistency_tta.diffusion.schedules import NoiseSchedule


class UNetDenoiser(Denoiser):
    """A U-Net, the meaning of its output, and, for a student, the features through which it reads w.

    Args:
        unet: the network.
        schedule: noise schedule of the network.
        prediction_type: what the network's output is: ``epsilon``, ``v_prediction`` or ``sample``.
        guidance_embedding: features of w, for a network with ``class_embed_type="projection"``.
    """

    schedule: NoiseSchedule  # it also makes z_t, which the contract does not ask for

    def __init__(
        self,
        unet: UNet2DConditionModel,
        schedule: NoiseSchedule,
        prediction_type: str,
        guidance_embedding: GuidanceEmbedding | None = None,
    ) -> None:
        super().__init__()
        reads_guidance = unet.config.class_embed_type == "projection"
        if reads_guidance != (guidance_embedding is not None):
            raise ValueError(
                f"the U-Net has class_embed_type={unet.config.class_embed_type!r}, which goes "
                f"{'only with' if reads_guidance else 'not with'} a guidance embedding"
            )
        self.unet = unet
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.parametrisation = parametrisation(prediction_type, schedule)
        self.guidance_embedding = guidance_embedding

    def predict(self, z_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's raw output (B, C, T, F) in float32."""
        features = None
        if self.guidance_embedding is not None:
            if conditioning.guidance_scale is None:
                raise ValueError(
                    "this network was trained to read the guidance scale: expected one per example, got None"
                )
            features = self.guidance_embedding(conditioning.guidance_scale).to(self.unet.dtype)
        return self.unet(
            z_t.to(self.unet.dtype),
            t - 1,  # contracts.py: t = k + 1 is timestep k
            encoder_hidden_states=conditioning.text.embedding.to(self.unet.dtype),
            encoder_attention_mask=conditioning.text.mask,
            class_labels=features,
        ).sample.float()

    def forward(self, z_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """See :class:`consistency_tta.contracts.Denoiser`; computed in float32 around the network."""
        z_t = z_t.float()
        alpha, sigma = expand(self.schedule.alpha(t), z_t), expand(self.schedule.sigma(t), z_t)
        return self.parametrisation.to_clean(self.predict(z_t, t, conditioning), z_t, alpha, sigma)


def student_unet(teacher: UNet2DConditionModel, guidance_embedding: GuidanceEmbedding) -> UNet2DConditionModel:
    """A copy of the teacher's U-Net that also reads w.

    At the start the student equals the teacher's *conditional* prediction at every w: the new branch ends in zeros.
    """
    # Not the private entries: one of them lists the keys, class_embed_type among them, to be reset to their defaults.
    config = {key: value for key, value in teacher.config.items() if not key.startswith("_")}
    config |= {
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": guidance_embedding.num_features,
    }
    student = UNet2DConditionModel.from_config(config)
    student.load_state_dict(
        teacher.state_dict() | {f"class_embedding.{k}": v for k, v in student.class_embedding.state_dict().items()}
    )
    last = student.class_embedding.linear_2
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return student.to(teacher.device)
