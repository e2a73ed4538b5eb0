"""For DiffusionPipeline.from_pretrained(folder, trust_remote_code=True); needs consistency-tta."""

from consistency_tta import TextToAudioPipeline

__all__ = ["TextToAudioPipeline"]
