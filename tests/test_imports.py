"""Imports point one way; see docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import consistency_tta
from consistency_tta.pipeline import TextToAudioPipeline

ROOT = Path(__file__).parents[1]
#: Rooms from the bottom to the top; a room imports itself and what is further down.
ORDER: list[set[str]] = [
    {"runtime"},
    {"contracts", "storage"},
    {"audio", "reporting"},
    {"diffusion"},
    {"components"},
    {"pipeline"},
    # The package itself offers the pipeline under its own name, and imports it at the first use.
    {""},
    {"metrics", "graphs"},
    {"generation"},
    {"encoding"},
    {"training", "encode"},
    {"export", "convert"},
    {"losses", "datamodules"},
    {"generate", "evaluation", "listening", "benchmark", "planning", "app"},
    {"cli"},
    {"__main__"},
]
#: Built-in plugins have a third party's standing.
PLUGIN_ROOMS = {"losses", "datamodules"}
PLUGINS_MAY_IMPORT = {"audio", "contracts", "runtime", "storage"}
#: Heavy, hard to install together, or both: users would need them for training alone.
BANNED = {"torchvision", "torchaudio", "librosa", "scipy"}
#: Packages of an extra, each with the rooms that may import it, inside a function.
OPTIONAL = {
    "matplotlib": {"reporting", "evaluation", "training"},
    "gradio": {"app"},
    "krippendorff": {"listening"},
    "scipy": {"listening"},
    "onnx": {"graphs"},
    "onnxruntime": {"graphs"},
    "onnxscript": {"graphs"},
}


def sources() -> dict[str, str]:
    """Module name to source, named as installed; model folders have a file for diffusers, which is data here."""
    package = ROOT / "consistency_tta"
    code = set(package.rglob("*.py")) - set((package / "models").rglob("*.py"))
    files = {path.relative_to(ROOT): path for path in code}
    for room in PLUGIN_ROOMS:
        files |= {Path("consistency_tta") / path.relative_to(ROOT): path for path in (ROOT / room).rglob("*.py")}
    return {".".join(name.with_suffix("").parts): path.read_text() for name, path in files.items()}


def room(module: str) -> str:
    """Of ``consistency_tta.training.ema``: ``training``; of the package itself and its classes: the empty string."""
    name = module.removeprefix("consistency_tta").removeprefix(".").split(".")[0]
    return "" if name == "__init__" or name[:1].isupper() else name


def rank(module: str) -> int:
    for index, rooms in enumerate(ORDER):
        if room(module) in rooms:
            return index
    raise LookupError(f"{module}: give its room a place in ORDER, here and in docs/architecture.md")


def imported(source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, wherever it stands; relative ones begin with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # `from consistency_tta import cli` imports a room, too.
            of_package = module == "consistency_tta"
            yield from ((node.lineno, f"{module}.{alias.name}" if of_package else module) for alias in node.names)


def violations(sources: dict[str, str]) -> Iterator[str]:
    for module, source in sorted(sources.items()):
        top_level = {node.lineno for node in ast.parse(source).body}
        for line, other in imported(source):
            where = f"{module}:{line} imports {other}"
            if other.startswith("."):
                yield f"{where}: relative"
            elif room(module) in OPTIONAL.get(other.split(".")[0], ()):
                if line in top_level:
                    yield f"{where}: an extra, to be imported when it is used"
            elif other.split(".")[0] in BANNED | set(OPTIONAL):
                yield f"{where}: not a dependency of the package"
            elif other.split(".")[0] in PLUGIN_ROOMS:
                yield f"{where}: installed as consistency_tta.{other}"
            elif other.split(".")[0] == "consistency_tta" and other != "consistency_tta.__version__":
                own, theirs = room(module), room(other)
                if own in PLUGIN_ROOMS:
                    allowed = theirs in PLUGINS_MAY_IMPORT | {own}
                else:
                    allowed = rank(other) < rank(module) or own == theirs
                if not allowed:
                    yield f"{where}: against the direction"


def test_imports_point_one_way() -> None:
    found = sources()
    assert {f"consistency_tta.{name}" for name in ("contracts.audio", "losses.mel", "datamodules.base")} <= set(found)
    for module in found:
        rank(module)  # every room has its place
    assert list(violations(found)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("contracts", "from consistency_tta.diffusion.noise import expand"),
        ("contracts", "from consistency_tta.audio.resample import Resample"),
        ("diffusion.noise", "import consistency_tta.components.mel"),
        ("components.mel", "from consistency_tta import pipeline"),
        ("components.mel", "from consistency_tta import TextToAudioPipeline"),
        ("losses.mel", "from consistency_tta import TextToAudioPipeline"),
        ("pipeline", "def late():\n    from consistency_tta.training.ema import ExponentialMovingAverage"),
        ("training.base", "from consistency_tta.losses import LatentL2Loss"),
        ("generate", "from consistency_tta.cli import main"),
        ("reporting.page", "from consistency_tta.listening.key import Key"),
        ("evaluation.evaluate", "from consistency_tta.generate import generate"),
        ("generate", "from consistency_tta.evaluation.sweep.command import sweep"),
        ("training.callbacks.sound_metrics", "from consistency_tta.evaluation.evaluator import Evaluator"),
        ("losses.mel", "from consistency_tta.components.mel import MelSpectrogram"),
        ("losses.mel", "from consistency_tta.datamodules import SyntheticDataModule"),
        ("datamodules.base", "from consistency_tta.diffusion.noise import expand"),
        ("datamodules.base", "from datamodules.sampler import ResumableSampler"),
        ("metrics.frechet", "from scipy.linalg import sqrtm"),
        ("metrics.frechet", "def late():\n    from scipy.linalg import sqrtm"),
        ("listening.significance", "from scipy import stats"),
        ("losses.mel", "def late():\n    import matplotlib"),
        ("reporting.spectrogram", "from consistency_tta.components.mel import MelSpectrogram"),
        ("components.text", "from .mel import MelSpectrogram"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(list(violations({f"consistency_tta.{module}": source}))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cli", "from consistency_tta import __version__"),
        ("listening.significance", "def late():\n    from scipy import stats"),
        ("cli", "from consistency_tta.datamodules.data_check import data_check"),
        ("losses.mel", "from consistency_tta.contracts import Loss\nfrom consistency_tta.losses.stft import x"),
        ("datamodules.audio", "from consistency_tta.audio.resample import Resample"),
        ("generate", "from consistency_tta import TextToAudioPipeline"),
        ("training.base", "from consistency_tta.training.ema import x\nfrom consistency_tta.pipeline import y"),
    ],
)
def test_a_right_import_is_allowed(module: str, source: str) -> None:
    assert list(violations({f"consistency_tta.{module}": source})) == []


def test_the_package_offers_the_pipeline() -> None:
    assert consistency_tta.TextToAudioPipeline is TextToAudioPipeline
    with pytest.raises(AttributeError, match="TextToAudioPipelin"):
        consistency_tta.TextToAudioPipelin  # noqa: B018


def test_importing_the_package_waits_for_nothing_heavy() -> None:
    loaded = "import sys, consistency_tta; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    assert "consistency_tta" in modules
    assert not {"torch", "diffusers", "transformers", "lightning", "numpy"} & set(modules)
