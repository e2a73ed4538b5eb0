"""Fixed prompts of validations: the same captions from the same noise each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.contracts import to_mono
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.captions import read_clips
from consistency_tta.storage.text import read_text, split_lines
from consistency_tta.training.step_rng import StepRNG


@dataclass
class Sounds:
    """Sounds generated for some prompts.

    Attributes:
        waveform: (B, samples) in [-1, 1], the mean of the channels, on the CPU.
        sample_rate: in Hz.
        captions: B captions.
        prompts: (B,) int64, the captions' numbers in the list.
    """

    waveform: Tensor
    sample_rate: int
    captions: list[str]
    prompts: Tensor


@dataclass(frozen=True)
class PromptSampling:
    """How sounds are generated for prompts.

    Attributes:
        guidance_scale: w.
        steps: of the network; 1 for a student and 50 for a teacher if None.
        num_samples: sounds per caption; diversity needs two.
        batch_size: sounds generated at a time in each process.
        seed: of the noise.
    """

    guidance_scale: float = 3.0
    steps: int | None = None
    num_samples: int = 1
    batch_size: int = 8
    seed: int = 0


@dataclass(frozen=True)
class FixedPrompts:
    """Captions, and how sounds are generated for them.

    Sound k of caption i starts from noise that depends on (seed, i, k) alone, neither on the batch size nor on the
    number of processes; it is the noise of ``consistency-tta generate`` with this seed and these captions as texts (of
    a file with clips, there, it depends on the names of the clips).

    Attributes:
        captions: in order.
        sampling: how they are generated.
    """

    captions: Sequence[str]
    sampling: PromptSampling = PromptSampling()

    def share(self, rank: int, world_size: int) -> list[tuple[int, int]]:
        """(caption, sample) of all sounds that one of ``world_size`` processes generates."""
        all_sounds = [(i, k) for i in range(len(self.captions)) for k in range(self.sampling.num_samples)]
        return all_sounds[rank::world_size]

    def sounds(self, pipeline: TextToAudioPipeline, rank: int = 0, world_size: int = 1) -> Iterator[Sounds]:
        """This process's share, batch by batch; the global random generators are left alone."""
        pipeline.set_progress_bar_config(disable=True)
        share = self.share(rank, world_size)
        for start in range(0, len(share), self.sampling.batch_size):
            batch = share[start : start + self.sampling.batch_size]
            captions = [self.captions[caption] for caption, _ in batch]
            noise = [StepRNG(self.sampling.seed, *place, torch.device("cpu")).cpu for place in batch]
            whole = pipeline.latent_seconds  # as long as the clips of the data, padding included
            output = pipeline(
                captions, self.sampling.guidance_scale, self.sampling.steps, generator=noise, audio_length_in_s=whole
            )
            prompts = torch.tensor([caption for caption, _ in batch])
            yield Sounds(to_mono(output.waveform), output.sample_rate, captions, prompts)


def read_captions(captions: Sequence[str] | str) -> list[str]:
    """A list as it is; of a text file (.txt) its lines; of any other caption file each clip's first caption.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigurationError: there is no caption.
        ValueError: the file cannot be understood.
    """
    lines = captions
    if isinstance(captions, str):
        if not Path(captions).is_file():
            raise FileNotFoundError(f"expected a file of captions, such as text with one a line, got {captions}")
        if Path(captions).suffix == ".txt":
            lines = split_lines(read_text(Path(captions)))
        else:
            lines = [texts[0] for texts in read_clips(captions).values()]
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigurationError(f"expected at least one caption, got none in {captions!r}")
    return found
