"""Models by name; a folder that rests on another. The folders are made here, whether or not any are bundled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from diffusers import DiffusionPipeline

from consistency_tta.cli import main
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.storage import bundled
from tests.bundles import write_student

SHARED = ("mel", "vae", "vocoder", "text_encoder", "tokenizer")


@pytest.fixture
def models(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle's folder, with a teacher and a student that rests on it; the current directory is another."""
    folder = tmp_path / "models"
    shutil.copytree(teacher_folder, folder / "tiny-teacher")
    write_student(teacher_folder, folder / "tiny-student")
    (folder / "tiny-clap").mkdir()
    (folder / "tiny-clap/config.json").write_text("{}")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(bundled, "MODELS", folder)
    return folder


def rest(folder: Path, base: str, without: tuple[str, ...] = SHARED) -> None:
    for name in without:
        shutil.rmtree(folder / name)
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_base": base}))


def test_names_are_found_and_a_folder_here_comes_first(models: Path, tmp_path: Path) -> None:
    assert bundled.bundled_models() == ["tiny-student", "tiny-teacher"]
    assert bundled.bundled_models(bundled.TRANSFORMERS) == ["tiny-clap"]
    assert bundled.resolve("tiny-clap", bundled.TRANSFORMERS) == str(models / "tiny-clap")
    assert bundled.resolve("someone/tango") == "someone/tango"
    assert TextToAudioPipeline.from_pretrained("tiny-student").sampler.one_query
    shutil.copytree(models / "tiny-teacher", "tiny-student")
    assert bundled.resolve("tiny-student") == "tiny-student"
    assert not TextToAudioPipeline.from_pretrained("tiny-student").sampler.one_query


def test_the_command_line_takes_names(models: Path) -> None:
    (file,) = main(["generate", "a dog", "--model", "tiny-student", "--output", "out"])
    assert soundfile.info(file).samplerate == 16000


@pytest.mark.usefixtures("models")
def test_an_unknown_names_error_lists_what_is_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="tiny-student, tiny-teacher"):
        TextToAudioPipeline.from_pretrained("tiny-techer")
    with pytest.raises(FileNotFoundError, match=r"did you mean tiny-student\?"):
        TextToAudioPipeline.from_pretrained("tiny_student")
    for path in ("runs/audiocaps/teacher/model", "/nowhere"):
        with pytest.raises(FileNotFoundError, match=path):
            TextToAudioPipeline.from_pretrained(path)
    monkeypatch.setattr(bundled, "MODELS", Path("nowhere"))
    with pytest.raises(FileNotFoundError, match="tiny-teacher"):
        TextToAudioPipeline.from_pretrained("tiny-teacher")


def test_a_folder_may_rest_on_another(models: Path, tmp_path: Path) -> None:
    noise = torch.randn(1, 4, 8, 4)
    whole = TextToAudioPipeline.from_pretrained("tiny-student")("a dog", latents=noise).waveform
    rest(models / "tiny-student", "../tiny-teacher")
    resting = TextToAudioPipeline.from_pretrained("tiny-student")
    assert resting.sampler.one_query
    assert torch.equal(resting("a dog", latents=noise).waveform, whole)

    resting.save_pretrained(tmp_path / "moved")
    assert torch.equal(TextToAudioPipeline.from_pretrained(tmp_path / "moved")("a dog", latents=noise).waveform, whole)
    half = TextToAudioPipeline.from_pretrained("tiny-student", torch_dtype=torch.float16)
    assert {half.vae.dtype, half.text_encoder.dtype, half.unet.dtype} == {torch.float16}
    assert TextToAudioPipeline.from_pretrained("tiny-student", vae=None).vae is None


def test_only_what_is_listed_and_lacking_is_the_other_folders(models: Path, tmp_path: Path) -> None:
    TextToAudioPipeline(mel=TextToAudioPipeline.from_pretrained("tiny-teacher").mel).save_pretrained(tmp_path / "front")
    rest(tmp_path / "front", "../models/tiny-teacher", without=())
    front = TextToAudioPipeline.from_pretrained(tmp_path / "front")
    assert front.mel is not None
    assert front.unet is None


def test_a_chain_of_folders(models: Path) -> None:
    shutil.copytree(models / "tiny-student", models / "third")
    rest(models / "tiny-student", "../tiny-teacher")
    rest(models / "third", "../tiny-student", ("vae", "guidance_embedding"))
    loaded = TextToAudioPipeline.from_pretrained("third")
    assert loaded.vae is not None
    assert loaded.guidance_embedding is not None


def test_diffusers_alone_loads_the_whole_folder_and_refuses_the_resting_one() -> None:
    """Those of the package, as they are."""
    whole = DiffusionPipeline.from_pretrained(str(bundled.MODELS / "tiny-teacher"), trust_remote_code=True)
    assert type(whole) is TextToAudioPipeline
    with pytest.raises(ModelFolderError, match=r"tiny-teacher.*TextToAudioPipeline"):
        DiffusionPipeline.from_pretrained(str(bundled.MODELS / "tiny-student"), trust_remote_code=True)


def test_a_base_that_is_gone_is_named(models: Path) -> None:
    rest(models / "tiny-student", "../teacher")
    with pytest.raises(FileNotFoundError, match=r"tiny-student .*teacher"):
        TextToAudioPipeline.from_pretrained("tiny-student")
