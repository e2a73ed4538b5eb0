"""The written graphs compute what the pipeline does, also without torch; what cannot be written is refused."""

from __future__ import annotations

import ast
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.graphs.file_formats import FileFormat
from consistency_tta.graphs.folder import export_graphs, write_graphs
from consistency_tta.graphs.graph import Graph, in_bfloat16, make_graphs
from consistency_tta.graphs.onnx_format import quantise, run_onnx
from consistency_tta.graphs.torch_format import run_program, to_program, write_program
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ExportError, ModelFolderError

SCRIPT = Path(__file__).parents[2] / "tools" / "onnx_sound.py"


def test_the_script_makes_the_pipeline_s_sound_without_torch(
    student: TextToAudioPipeline, graph_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption = "Ein Bär brüllt, long and loud"  # of other length than the exported example
    with monkeypatch.context() as patch:
        for module in ("torch", "transformers", "diffusers", "consistency_tta"):
            patch.setitem(sys.modules, module, None)  # an import of it raises
        patch.setattr(sys, "argv", ["onnx_sound.py", str(graph_folder), caption, str(tmp_path / "sound.wav")])
        runpy.run_path(str(SCRIPT))
    got, rate = soundfile.read(tmp_path / "sound.wav", dtype="float32")
    noise = np.random.default_rng(0).standard_normal((1, *student.latent_shape), dtype=np.float32)
    expected = student(caption, guidance_scale=3.0, latents=torch.from_numpy(noise)).waveform[0]
    assert rate == 16000
    assert float(expected.abs().max()) > 0.01
    assert np.abs(got - expected.numpy()).max() < 2 / 32768 + 1e-3 * float(expected.abs().max())


def test_the_script_has_ten_statements_and_three_packages() -> None:
    tree = ast.parse(SCRIPT.read_text())
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "tokenizers"}
    others = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(others) <= 10


def test_the_manifest_says_what_a_program_must_know(student: TextToAudioPipeline, graph_folder: Path) -> None:
    manifest: dict[str, Any] = json.loads((graph_folder / "manifest.json").read_text())
    expected = {"sample_rate": 16000, "channels": 1, "samples": 32 * 160, "latent_shape": [4, 8, 4], "time": 1000}
    expected |= {
        "prediction_type": "v_prediction",
        "guidance_range": [1.0, 5.0],
        "max_tokens": 256,
        "weights": "float32",
    }
    assert expected.items() <= manifest.items()
    for name, graph in manifest["graphs"].items():
        assert (graph_folder / graph["file"]).is_file(), name
        assert 0 < graph["difference"]["largest"] <= 1e-3 * graph["difference"]["scale"], name


def test_the_guidance_scale_and_the_caption_matter(graph_folder: Path, student: TextToAudioPipeline) -> None:
    graph = make_graphs(student)[1]
    latent = run_onnx(graph_folder / "denoise.onnx", graph.inputs)
    for name in ("guidance_scale", "text_embedding"):
        other = run_onnx(graph_folder / "denoise.onnx", graph.inputs | {name: graph.inputs[name] + 1})
        assert float((other - latent).abs().max()) > 1e-4, name


def test_int8_keeps_the_result_near(graph_folder: Path, student: TextToAudioPipeline, tmp_path: Path) -> None:
    graph = make_graphs(student)[0]
    file = tmp_path / "text.onnx"
    file.write_bytes((graph_folder / "text.onnx").read_bytes())
    quantise(file)
    difference = (run_onnx(file, graph.inputs) - graph.run()).abs().max()
    assert 0 < float(difference) < 0.1 * float(graph.run().abs().max())


def test_a_program_of_torch_computes_the_same(student: TextToAudioPipeline, tmp_path: Path) -> None:
    graph = make_graphs(student)[0]
    file = write_program(graph, to_program(graph), tmp_path)
    several = {name: torch.cat([value, value[:1]])[:, :9] for name, value in graph.inputs.items()}
    torch.testing.assert_close(run_program(file, several), graph.network(*several.values()))


def test_programs_in_bfloat16_read_and_return_float32(student: TextToAudioPipeline, tmp_path: Path) -> None:
    text, _, decode = make_graphs(in_bfloat16(student))
    for graph, limit in ((text, 0.05), (decode, 0.5)):
        file = write_program(graph, to_program(graph), tmp_path)
        got = run_program(file, graph.inputs)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, graph.run())
        (exact,) = (one for one in make_graphs(student) if one.name == graph.name)
        expected = exact.network(*graph.inputs.values())
        assert 0 < float((got - expected).abs().max()) < limit * float(expected.abs().max())


@pytest.mark.parametrize("numbers", ["float32", "float16", "bfloat16"])
def test_a_folder_of_smaller_weights_has_the_differences_from_float32(
    numbers: str, student: TextToAudioPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are factors of what torch computes; float16 is a factor of its own."""
    graphs: dict[str, Graph] = {}

    def write(graph: Graph, program: None, folder: Path) -> Path:
        graphs[graph.name] = graph
        (folder / graph.name).write_text("1")
        return folder / graph.name

    def run(file: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return float(file.read_text()) * replace(graphs[file.name], inputs=inputs).run()

    rewritten = FileFormat(write, run, smaller={"float16": lambda file: file.write_text("0.9")})  # type: ignore[arg-type, return-value, dict-item]
    monkeypatch.setattr("consistency_tta.graphs.folder.to_program", lambda graph: None)
    monkeypatch.setattr("consistency_tta.graphs.folder.FORMATS", {"own": rewritten})
    manifest = write_graphs(student, tmp_path, "own", numbers, tolerance=1e-3)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["weights"] == numbers
    least, most = {"float32": (0, 0), "float16": (0.09, 0.11), "bfloat16": (1e-3, 0.5)}[numbers]
    for graph in manifest["graphs"].values():
        assert least <= graph["difference"]["largest"] / graph["difference"]["scale"] <= most
    assert (manifest["difference"]["largest"] > 1e-3 * manifest["difference"]["scale"]) == (numbers != "float32")


def test_a_difference_over_the_tolerance_is_an_error_and_writes_nothing(
    student: TextToAudioPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consistency_tta.graphs.folder.to_program", lambda graph: None)
    zero = FileFormat(
        lambda graph, program, folder: folder,
        lambda file, inputs: torch.zeros(3, inputs["input_ids"].shape[1], 16),
        smaller={},
    )
    monkeypatch.setattr("consistency_tta.graphs.folder.FORMATS", {"torch": zero})
    with pytest.raises(ExportError, match="text"):
        export_graphs(student, tmp_path / "folder", "torch", "float32", tolerance=0.5)
    assert not (tmp_path / "folder").exists()


def test_a_teacher_is_refused(teacher_folder: Path) -> None:
    with pytest.raises(ModelFolderError):
        make_graphs(TextToAudioPipeline.from_pretrained(teacher_folder))
