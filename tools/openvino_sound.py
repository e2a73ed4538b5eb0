"""Makes a sound with openvino, tokenizers and numpy alone, of a folder that `export --format openvino` wrote.

python openvino_sound.py FOLDER "A dog barks" sound.wav
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import openvino
import tokenizers

folder, prompt, file = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
manifest = json.loads((folder / "manifest.json").read_text())
text, denoise, decode = (
    openvino.compile_model(folder / f"{name}.xml", "CPU") for name in ("text", "denoise", "decode")
)
tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(prompt)
noise = np.random.default_rng(0).standard_normal((1, *manifest["latent_shape"]), dtype=np.float32)
ids, mask = np.array([tokens.ids], np.int64), np.array([tokens.attention_mask], np.int64)
conditions = {"attention_mask": mask, "guidance_scale": np.array([3], np.float32)}
conditions["text_embedding"] = text({"input_ids": ids, "attention_mask": mask})[0]
waveform = decode({"latent": denoise({"noise": noise, **conditions})[0]})[0][0]
with wave.open(file, "wb") as sound:
    sound.setparams((len(waveform), 2, manifest["sample_rate"], 0, "NONE", "not compressed"))
    sound.writeframes((waveform.T * 32767).astype("<i2").tobytes())
