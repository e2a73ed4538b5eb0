"""A model is a folder, and the folder is a diffusers pipeline.

model_folder.py    the parts of a model, loaded and saved
text_to_audio.py   noise and captions to sound
arguments.py       checks of what a caller gives
output.py          what that returns
"""

from consistency_tta.pipeline.output import TextToAudioOutput
from consistency_tta.pipeline.text_to_audio import TextToAudioPipeline

__all__ = ["TextToAudioOutput", "TextToAudioPipeline"]
