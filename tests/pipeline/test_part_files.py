"""A model folder with damaged, missing or other files is refused by name, and never filled up at random."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.part_files import check_files, weight_files
from consistency_tta.runtime.errors import DataError, ModelFolderError

WEIGHTS = {
    **dict.fromkeys(("unet", "vae", "vocoder"), "diffusion_pytorch_model.safetensors"),
    "text_encoder": "model.safetensors",
}
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[:-8],
    "longer": lambda content: content + b"more",
    "zeros": lambda content: bytes(len(content)),
    "a pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
}
TEXTS = {"empty": "", "a page": "<!DOCTYPE html>", "a list": "[]", "null": "null"}
Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(teacher_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(teacher_folder, tmp_path / "model")


def largest(weights: Weights) -> str:
    return max(weights, key=lambda name: weights[name].numel())


def put(weights: Weights, make: Callable[[torch.Tensor], torch.Tensor]) -> Weights:
    return weights | {largest(weights): make(weights[largest(weights)])}


def without(weights: Weights, name: str) -> Weights:
    return {key: value for key, value in weights.items() if key != name}


CHANGES: dict[str, Callable[[Weights], Weights]] = {
    "one is missing": lambda weights: without(weights, largest(weights)),
    "none": lambda weights: {},
    "another shape": lambda weights: put(weights, lambda weight: weight[:-1].clone()),
    "integers": lambda weights: put(weights, torch.Tensor.long),
    "another name and other values": lambda weights: (
        without(weights, largest(weights)) | {"other": 1 + weights[largest(weights)]}
    ),
}


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("kind", BYTES)
def test_a_damaged_file_of_weights_is_named(part: str, kind: str, folder: Path) -> None:
    file = folder / part / WEIGHTS[part]
    file.write_bytes(BYTES[kind](file.read_bytes()))
    with pytest.raises(ModelFolderError, match="git lfs pull" if kind == "a pointer" else "cut off") as error:
        TextToAudioPipeline.from_pretrained(folder)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize("kind", CHANGES)
def test_weights_that_are_not_the_networks_are_refused(part: str, kind: str, folder: Path) -> None:
    """Of a file that is whole; libraries would draw what is missing at random."""
    file = folder / part / WEIGHTS[part]
    # Kept, or a weight that nothing sets could be where these values were in memory.
    changed = CHANGES[kind](load_file(file))
    save_file(changed, file, metadata={"format": "pt"})
    with pytest.raises(ModelFolderError, match=str(folder)):
        TextToAudioPipeline.from_pretrained(folder)


@pytest.mark.parametrize("file", ["unet/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json"])
@pytest.mark.parametrize("kind", TEXTS)
def test_damaged_settings_are_named(file: str, kind: str, folder: Path) -> None:
    (folder / file).write_text(TEXTS[kind])
    with pytest.raises((DataError, ModelFolderError), match=file):
        TextToAudioPipeline.from_pretrained(folder)


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_without_settings_are_refused(part: str, folder: Path) -> None:
    (folder / part / "config.json").unlink()
    with pytest.raises(ModelFolderError, match=rf"config\.json beside {folder / part}"):
        TextToAudioPipeline.from_pretrained(folder)


def test_what_a_part_does_not_need_may_be_there(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS["unet"]
    save_file(load_file(file) | {"more.weight": torch.ones(2)}, file, metadata={"format": "pt"})
    (folder / "tokenizer" / "vocab.json").write_text('{"a": 1, "a": 2}')
    TextToAudioPipeline.from_pretrained(folder)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_files_that_are_not_read_may_be_anything(variant: str | None, folder: Path, tmp_path: Path) -> None:
    """A clone that fetched one variant has pointers for the other; macOS leaves files of its own."""
    TextToAudioPipeline.from_pretrained(folder).save_pretrained(tmp_path / "half", variant="fp16")
    shutil.copytree(tmp_path / "half", folder, dirs_exist_ok=True)
    for file in [*folder.rglob("*.safetensors"), *folder.rglob("*.json")]:
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7\xff")
    unread = [file for file in folder.rglob("[a-z]*.safetensors") if ("fp16" in file.name) != bool(variant)]
    assert len(unread) >= len(WEIGHTS)
    for file in unread:
        file.write_bytes(BYTES["a pointer"](b""))
    TextToAudioPipeline.from_pretrained(folder, variant=variant)


@pytest.mark.parametrize(
    ("variant", "read"),
    [
        (None, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        ("fp16", ["model.fp16-00001-of-00001.safetensors"]),
        ("bf16", ["model-00001-of-00001.bf16.safetensors"]),
        ("int8", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
    ],
)
def test_the_files_of_a_variant_or_of_none_are_read(variant: str | None, read: list[str], tmp_path: Path) -> None:
    for name in (
        "model-00001-of-00002", "model-00002-of-00002", "model.fp16-00001-of-00001", "model-00001-of-00001.bf16",
    ):  # fmt: skip
        (tmp_path / f"{name}.safetensors").touch()
    assert [file.name for file in weight_files(tmp_path, variant)] == read


def test_damaged_parts_that_are_not_wanted_are_not_looked_at(folder: Path) -> None:
    (folder / "vocoder" / "config.json").write_text("[]")
    assert TextToAudioPipeline.from_pretrained(folder, vocoder=None).vocoder is None


def test_a_device_without_room_is_not_the_folder_s_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", full)
    with pytest.raises(torch.OutOfMemoryError):
        TextToAudioPipeline.from_pretrained(folder)


def test_a_codec_that_computes_nan_is_an_error(folder: Path) -> None:
    """Written as 16-bit samples, they would be silence."""
    pipeline: Any = TextToAudioPipeline.from_pretrained(folder)
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="codec or vocoder"):
        pipeline("rain", num_inference_steps=1)


@pytest.mark.parametrize("content", ["{", "", "[" * 100_000, None])
def test_other_json_may_be_anything_but_damaged(content: str | None, tmp_path: Path) -> None:
    """Such as a tokenizer's; None is a folder in its place."""
    file = tmp_path / "tokenizer" / "vocab.json"
    file.parent.mkdir()
    for whole in ("{}", "[1]", "3"):
        file.write_text(whole)
        check_files(tmp_path, ["tokenizer"])
    if content is None:
        file.unlink()
        file.mkdir()
    else:
        file.write_text(content)
    with pytest.raises(ModelFolderError, match=str(file)):
        check_files(tmp_path, ["tokenizer"])
