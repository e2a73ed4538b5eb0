"""A model folder of an unknown author runs no code: neither its own, nor any that it names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, DataError, ModelFolderError, UntrustedClassError
from tests.test_cli import distillation_config, write
from tests.untrusted import Untrusted

FOREIGN = {"class_path": "foreign.Network"}
INDEX, SAMPLER = "model_index.json", "sampler/sampler_config.json"
#: By what a folder names the module ``foreign``: a file of it and what is changed there.
NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "network": (INDEX, {"unet": ["foreign", "Network"]}),
    "mel": (INDEX, {"mel": ["foreign", "Network"]}),
    "text encoder": (INDEX, {"text_encoder": ["foreign", "Network"]}),
    "tokenizer": (INDEX, {"tokenizer": ["foreign", "Network"]}),
    "sampler": (INDEX, {"sampler": ["foreign", "Network"]}),
    "folder without __init__": (INDEX, {"unet": ["scattered.foreign", "Network"]}),
    "solver": (SAMPLER, {"solver": "foreign.Network"}),
    "solver with settings": (SAMPLER, {"solver": FOREIGN}),
    "time grid": (SAMPLER, {"grid": FOREIGN}),
    "nested": (SAMPLER, {"grid": {"class_path": "UniformGrid", "init_args": {"of": [{"deep": FOREIGN}]}}}),
}
#: Classes that exist without ``foreign``, but are no part of a model, or run what their own files name.
UNFIT: dict[str, tuple[str, dict[str, Any]]] = {
    "function": (INDEX, {"unet": ["os", "system"]}),
    "builtin": (INDEX, {"unet": ["builtins", "eval"]}),
    "class that is no part": (INDEX, {"scheduler": ["diffusers", "AutoencoderKL"]}),
    "a pipeline, with parts of its own": (INDEX, {"unet": ["diffusers", "DiffusionPipeline"]}),
    "a class that looks for code": (INDEX, {"text_encoder": ["transformers", "AutoModel"]}),
    "the same under a prefix": (INDEX, {"text_encoder": ["transformers", "FlashPackAutoModel"]}),
    "tokenizer that looks for code": (INDEX, {"tokenizer": ["transformers", "AutoTokenizer"]}),
    "by way of this package": (INDEX, {"unet": ["consistency_tta.cli.user_errors.os", "system"]}),
    "solver": (SAMPLER, {"solver": "subprocess.Popen"}),
    "solver by way of this package": (SAMPLER, {"solver": "consistency_tta.cli.user_errors.os.system"}),
    "text instead of a class": (INDEX, {"unet": "os"}),
    "base far away": (INDEX, {"_base": "../../.."}),
    "base by its path": (INDEX, {"_base": "/tmp"}),
    "base that climbs later": (INDEX, {"_base": "unet/../../.."}),
}


@pytest.fixture
def untrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Untrusted:
    return Untrusted(tmp_path / "foreign", monkeypatch)


@pytest.fixture
def model(teacher_folder: Path, tmp_path: Path) -> Path:
    """A copy of the toy teacher, to be changed."""
    return Path(shutil.copytree(teacher_folder, tmp_path / "downloaded"))


def change(model: Path, file: str, changes: dict[str, Any]) -> Path:
    (model / file).write_text(json.dumps(json.loads((model / file).read_text()) | changes))
    return model


@pytest.mark.parametrize("case", NAMED)
def test_no_module_of_an_unknown_author_is_imported(case: str, model: Path, untrusted: Untrusted) -> None:
    file, changes = NAMED[case]
    with pytest.raises(UntrustedClassError, match=file):
        TextToAudioPipeline.from_pretrained(change(model, file, changes))
    assert not untrusted.ran


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_no_part_of_a_model_is_refused(case: str, model: Path) -> None:
    with pytest.raises((ConfigurationError, ModelFolderError, UntrustedClassError)):
        TextToAudioPipeline.from_pretrained(change(model, *UNFIT[case]))


@pytest.mark.parametrize("file", ["unet/diffusers.py", "None.py", "pipeline.py"])
def test_code_in_the_folder_is_not_run(file: str, model: Path, untrusted: Untrusted) -> None:
    (model / file).write_text(untrusted.source.replace("Network", "UNet2DConditionModel"))
    if file == "pipeline.py":
        change(model, INDEX, {"_class_name": ["pipeline", "Network"]})
    with pytest.raises((UntrustedClassError, ModelFolderError)):
        TextToAudioPipeline.from_pretrained(model)
    assert not untrusted.ran


def test_the_file_for_diffusers_is_not_run_by_our_own_loading(model: Path, untrusted: Untrusted) -> None:
    (model / "pipeline.py").write_text(untrusted.source.replace("Network", "TextToAudioPipeline"))
    assert json.loads((model / INDEX).read_text())["_class_name"] == ["pipeline", "TextToAudioPipeline"]
    assert type(TextToAudioPipeline.from_pretrained(model)) is TextToAudioPipeline
    assert not untrusted.ran


def test_a_base_is_checked_as_the_folder_is(model: Path, teacher_folder: Path, untrusted: Untrusted) -> None:
    resting = Path(shutil.copytree(teacher_folder, model.parent / "resting"))
    shutil.rmtree(resting / "unet")
    change(resting, INDEX, {"_base": "../downloaded"})
    assert TextToAudioPipeline.from_pretrained(resting).unet is not None
    change(model, INDEX, {"unet": ["foreign", "Network"]})
    with pytest.raises(UntrustedClassError, match="downloaded"):
        TextToAudioPipeline.from_pretrained(resting)
    assert not untrusted.ran


def test_folders_that_rest_on_each_other_are_refused(model: Path, teacher_folder: Path) -> None:
    other = Path(shutil.copytree(teacher_folder, model.parent / "other"))
    change(other, INDEX, {"_base": "../downloaded"})
    with pytest.raises(ModelFolderError, match="other"):
        TextToAudioPipeline.from_pretrained(change(model, INDEX, {"_base": "../other"}))


@pytest.mark.parametrize(
    "file", ["scheduler/scheduler_config.json", "unet/config.json", "text_encoder/config.json", SAMPLER, INDEX]
)
def test_json_that_is_nested_too_deep_is_named(file: str, model: Path) -> None:
    (model / file).write_text(f'{{"a": {"[" * 100_000}{"]" * 100_000}}}')
    with pytest.raises(DataError, match=f"{file}: .*nested too deep"):
        TextToAudioPipeline.from_pretrained(model)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("weights", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_pickles_run_no_code(weights: str, alone: bool, model: Path, tmp_path: Path) -> None:
    """Beside safetensors they are passed over; alone they are no weights of a model folder."""

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    for name in (f"{weights}.bin", weights.replace("/model", "/pytorch_model") + ".bin"):
        torch.save({"weight": Malicious()}, model / name)
    if alone:
        (model / f"{weights}.safetensors").unlink()
        with pytest.raises(OSError, match=weights.split("/")[1]):
            TextToAudioPipeline.from_pretrained(model)
    else:
        TextToAudioPipeline.from_pretrained(model)
    assert not (tmp_path / "ran").exists()


def test_the_command_line_refuses_in_one_line(model: Path, untrusted: Untrusted, tmp_path: Path) -> None:
    change(model, INDEX, {"unet": ["foreign", "Network"]})
    with pytest.raises(SystemExit, match=r"foreign\.Network"):
        main(["generate", "a dog", "--model", str(model), "--output", str(tmp_path / "out")])
    config = write(distillation_config(model, tmp_path / "run"), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match=r"foreign\.Network"):
        main(["fit", "--config", config])
    assert not untrusted.ran


def test_a_module_that_the_user_names_is_imported(model: Path, untrusted: Untrusted, tmp_path: Path) -> None:
    change(model, SAMPLER, {"solver": "foreign.Network"})
    with pytest.raises(SystemExit, match=r"foreign\.Network"):  # which is imported, but is no solver
        main(["generate", "a dog", "--trust", "foreign", "--model", str(model), "--output", str(tmp_path / "out")])
    assert untrusted.ran
