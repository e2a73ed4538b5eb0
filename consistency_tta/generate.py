"""Captions to wav files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from consistency_tta.contracts import TimeGrid
from consistency_tta.generation.fill import Tally, fill
from consistency_tta.generation.folder import Folder, write_sound
from consistency_tta.generation.plugin_name import plugin_name
from consistency_tta.generation.sampling_config import SamplingConfig, Sound, expect_at_least, generate_batch, sounds_of
from consistency_tta.pipeline.arguments import check_not_blank
from consistency_tta.pipeline.inference import load_for_generation, prepare_for_generation
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.atomic_directory import check_folder
from consistency_tta.storage.text import filled_lines, read_text

#: Endings of caption files.
CAPTION_FILES = (".csv", ".json", ".jsonl")


def generate(
    texts: list[str],
    model: str,
    output: Path = Path("out"),
    guidance_scale: float = 3.0,
    steps: int | None = None,
    num_samples: int = 1,
    batch_size: int = 8,
    seed: int = 0,
    device: str | None = None,
    external_guidance_scale: float = 1.0,
    captions: Path | None = None,
    all_captions: bool = False,
    devices: int = 1,
    overwrite: bool = False,
    grid: TimeGrid | None = None,
    seconds: float | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
) -> list[Path]:
    """Write 16-bit wav files for captions, by a teacher or a one-query student.

    Files are mono or stereo, as the model is. For texts, each file is named after its caption and settings, and is
    generated anew each time. For a caption file (AudioCaps, Clotho, TANGO, or ``id,caption``) files are named after the
    clips, ``<output>/<id>.wav``, for ``consistency-tta evaluate``, and existing files are kept, so that a stopped run
    continues. Several sounds of a clip are in the folders ``<output>/0``, ``<output>/1`` and so on. Each of these is a
    set to evaluate by itself, with its ``captions.csv``.

    Args:
        texts: captions; a path that ends in .txt stands for its lines, one that ends in .csv, .json or .jsonl is
            ``captions``.
        model: model folder, bundled name or hub id.
        output: folder for the wav files.
        guidance_scale: w; 1 is the plain conditional model, more follows the text more closely.
        steps: those of the model's sampler if not given: usually 1 query for a student, 50 solver steps for a teacher.
        num_samples: sounds per caption.
        batch_size: sounds generated at a time.
        seed: of the starting noise; sound k of text n, or of a clip, starts from the same noise whatever the model, the
            other settings, the batch size and the number of processes.
        device: such as cuda or cpu; the best available if not given.
        external_guidance_scale: w of classifier-free guidance on top of what the network has learnt of guidance, at
            twice the queries; 1 for none.
        captions: caption file, instead of texts.
        all_captions: make a sound for every caption of a clip, not only for its first.
        devices: processes that share out a caption file's batches, each on its own GPU, or all on the CPU. Under
            torchrun or srun leave it at 1: every process takes its part.
        overwrite: empty an output folder whose sounds were made with other settings, instead of refusing it.
        grid: times of the steps, uniform if not given. ``LinspaceGrid`` is the official ConsistencyTTA's.
        seconds: length of each sound, at most that of the model's latents, which it is if not given. A model that reads
            durations, such as Stable Audio, is conditioned by it.
        dtype: number format of the networks. ``auto`` is bfloat16 where the device multiplies in it and float32
            elsewhere, or that of the sounds which a folder has already.

    Returns:
        The files written; of a caption file all its files, by whichever process.
    """
    request = SamplingConfig(guidance_scale, steps, seed, external_guidance_scale, grid, seconds)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"expected a list of captions, such as ['a dog barks'], got {texts!r:.80}")
    if captions is None and len(texts) == 1 and texts[0].endswith(CAPTION_FILES):
        texts, captions = [], Path(texts[0])
    check_folder(output, "--output")
    if captions is not None:
        if texts:
            both = f"{captions} and {', '.join(map(repr, texts))}"
            raise ConfigurationError(f"expected texts or a caption file, got {both}")
        sounds = sounds_of(captions, num_samples, all_captions)
        folder = Folder(output, request, sounds)
        fill([folder], model, batch_size=batch_size, device=device, devices=devices, overwrite=overwrite, dtype=dtype)
        return folder.files
    if all_captions or devices > 1:
        raise ConfigurationError("expected a caption file, --captions FILE, for all_captions and devices, got texts")
    return _generate_texts(texts, model, output, request, num_samples, batch_size, device, dtype)


def _generate_texts(
    texts: list[str],
    model: str,
    output: Path,
    request: SamplingConfig,
    num_samples: int,
    batch_size: int,
    device: str | None,
    dtype: str,
) -> list[Path]:
    """Generate texts, into files named after caption and settings."""
    prompts = [line for text in texts for line in _lines(text)]
    expect_at_least(1, num_samples=num_samples, batch_size=batch_size)
    if not prompts:
        raise ConfigurationError(f"expected a caption, such as 'a dog barks', got {', '.join(texts) or 'none'}")
    check_not_blank(prompts)
    sounds = [
        Sound(f"{index:03d}_{_slug(prompt)}", prompt, (index, sample))
        for index, prompt in enumerate(prompts)
        for sample in range(num_samples)
    ]
    pipeline = prepare_for_generation(load_for_generation(model, dtype, device))
    external = "" if request.external_guidance_scale == 1 else f"_x{request.external_guidance_scale:g}"
    times = "" if request.grid is None else "_" + re.sub(r"[^\w.]+", "-", plugin_name(request.grid)).strip("-")
    length = "" if request.seconds is None else f"_{request.seconds:g}s"
    files, tally, starts = [], Tally(), range(0, len(sounds), batch_size)
    for start in tqdm(starts, desc="generating", unit="batch", disable=len(starts) == 1):
        batch = sounds[start : start + batch_size]
        made = generate_batch(pipeline, request, batch)
        tally.add(made)
        settings = f"w{request.guidance_scale:g}{external}_q{made.queries}{times}{length}_seed{request.seed}"
        for sound, waveform in zip(batch, made.waveform, strict=True):
            files.append(output / f"{sound.name}_{settings}_{sound.position[1]}.wav")
            write_sound(files[-1], waveform, made.sample_rate)
    print(f"{len(files)} {'sound' if len(files) == 1 else 'sounds'} in {output}: {tally}")
    return files


def _lines(text: str) -> list[str]:
    """The text, or the lines of the text file it names."""
    if text.endswith(".txt"):
        if not Path(text).is_file():
            raise FileNotFoundError(f"expected a text file with one caption a line, but there is no {text}")
        return filled_lines(read_text(Path(text)))
    if text.endswith(CAPTION_FILES):
        raise ConfigurationError(f"expected a caption file alone, got {text} among other texts")
    return [text]


def _slug(prompt: str) -> str:
    """Part of a file name; ``symbols`` for a caption without letters and digits, such as emoji."""
    return re.sub(r"\W+", "-", prompt.lower()).strip("-")[:48] or ("symbols" if prompt.strip() else "empty")
