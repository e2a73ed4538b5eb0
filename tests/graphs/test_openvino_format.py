"""OpenVINO's files compute what the pipeline does, also without torch; nothing is reported to their maker."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.graphs.folder import export_graphs
from consistency_tta.graphs.graph import make_graphs
from consistency_tta.graphs.openvino_format import (
    check_openvino,
    halve_openvino,
    quantise_openvino,
    run_openvino,
    unreported,
)
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import MissingExtraError

with unreported():
    import openvino

SCRIPT = Path(__file__).parents[2] / "tools" / "openvino_sound.py"
CAPTION = "Ein Bär brüllt, long and loud"  # of other length than the exported example


@pytest.fixture(scope="module")
def folder(student: TextToAudioPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvino") / "student"
    export_graphs(student, folder, "openvino", "float32", tolerance=1e-3)
    return folder


def test_the_folder_has_three_files_of_two_parts(folder: Path) -> None:
    names = {f"{name}.{suffix}" for name in ("text", "denoise", "decode") for suffix in ("xml", "bin")}
    assert {file.name for file in folder.iterdir()} == names | {"manifest.json", "tokenizer.json"}
    for name, graph in json.loads((folder / "manifest.json").read_text())["graphs"].items():
        assert graph["file"] == f"{name}.xml"
        assert 0 < graph["difference"]["largest"] <= 1e-3 * graph["difference"]["scale"], name


def test_only_the_batch_and_the_tokens_are_open(folder: Path) -> None:
    model = openvino.Core().read_model(folder / "denoise.xml")
    shapes = {port.any_name: str(port.partial_shape) for port in model.inputs}
    assert shapes == {
        "noise": "[?,4,8,4]",
        "text_embedding": "[?,?,16]",
        "attention_mask": "[?,?]",
        "guidance_scale": "[?]",
    }


def test_the_script_makes_the_pipeline_s_sound_without_torch(
    student: TextToAudioPipeline, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_model = openvino.compile_model
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # not bfloat16, where this machine has it
    with monkeypatch.context() as patch:
        for module in ("torch", "transformers", "diffusers", "nncf", "consistency_tta"):
            patch.setitem(sys.modules, module, None)  # an import of it raises
        patch.setattr(openvino, "compile_model", lambda file, device: compile_model(file, device, exact))
        patch.setattr(sys, "argv", ["openvino_sound.py", str(folder), CAPTION, str(tmp_path / "sound.wav")])
        runpy.run_path(str(SCRIPT))
    got, rate = soundfile.read(tmp_path / "sound.wav", dtype="float32")
    noise = np.random.default_rng(0).standard_normal((1, *student.latent_shape), dtype=np.float32)
    expected = student(CAPTION, guidance_scale=3.0, latents=torch.from_numpy(noise)).waveform[0]
    assert rate == 16000
    assert np.abs(got - expected.numpy()).max() < 2 / 32768 + 1e-3 * float(expected.abs().max())


def test_smaller_weights_keep_the_result_near(folder: Path, student: TextToAudioPipeline, tmp_path: Path) -> None:
    graph, sizes = make_graphs(student)[1], {}
    for rewrite in (halve_openvino, quantise_openvino):
        file = tmp_path / rewrite.__name__ / "denoise.xml"
        file.parent.mkdir()
        for suffix in (".xml", ".bin"):
            shutil.copy(folder / f"denoise{suffix}", file.with_suffix(suffix))
        rewrite(file)
        difference = (run_openvino(file, graph.inputs) - graph.run()).abs().max()
        assert 0 < float(difference) < 0.1 * float(graph.run().abs().max())
        sizes[rewrite] = file.with_suffix(".bin").stat().st_size
    assert sizes[quantise_openvino] < sizes[halve_openvino] < (folder / "denoise.bin").stat().st_size


def test_conversions_are_not_reported(tmp_path: Path) -> None:
    program = (
        "import torch\n"
        "from consistency_tta.graphs.openvino_format import unreported\n"
        "with unreported():\n"
        "    import nncf, openvino\n"
        "    openvino.convert_model(torch.nn.ReLU(), example_input=torch.ones(1))\n"
        "from openvino_telemetry import Telemetry\n"
        "print(Telemetry().consent, nncf.telemetry.telemetry.__class__.__name__)"
    )
    surroundings = {name: value for name, value in os.environ.items() if name not in ("CI", "NNCF_CI", "NNCF_DEV")}
    surroundings["HOME"] = str(tmp_path)  # where there is no consent, and none refused
    run = subprocess.run([sys.executable, "-c", program], env=surroundings, check=True, capture_output=True, text=True)
    assert run.stdout.split()[-2:] == ["False", "MagicMock"]
    assert not (tmp_path / "intel").exists()


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consistency_tta.graphs.openvino_format.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="openvino"):
        check_openvino()
