"""The wheel: its only top-level name is ``consistency_tta``, and a user's own ``losses/`` does not shadow ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: A user's module in the folder of their configuration: prints which files our modules came from.
WITNESS = """
import json, sys
from pathlib import Path
from lightning.pytorch import Callback

class Witness(Callback):
    def on_train_end(self, trainer, pl_module):
        files = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("consistency_tta")}
        Path("witness.json").write_text(json.dumps({"step": trainer.global_step, "files": files}))
"""
#: Laid over the recipe tiny/demo, to make it short.
SHORT = """
data:
  class_path: consistency_tta.datamodules.GeneratedLatentsDataModule
  init_args:
    copies: 1
    batch_size: 2
    source:
      class_path: consistency_tta.generation.teacher_samples.TeacherSamples
      init_args: {num_inference_steps: 1}
trainer:
  max_steps: 2
  accelerator: cpu
  callbacks:
    - class_path: witness.Witness
"""

#: Stands for a bundled model, whether or not there are weights yet.
MODEL = ("models/toy/model_index.json", "models/toy/unet/weights.safetensors", "models/toy/README.md")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools would put what an earlier build left in ./build into the wheel."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    for name in ("consistency_tta", "losses", "datamodules", "lightning_configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in MODEL:
        file = source / "consistency_tta" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    run("-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, cwd=source)
    (built,) = folder.glob("*.whl")
    return built


def test_the_only_top_level_name_is_ours(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"consistency_tta"}
    assert len(top) == 2
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "consistency_tta").rglob("*.py")}
    for room in ("losses", "datamodules"):
        ours |= {f"consistency_tta/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / room).rglob("*.py")}
    data = {f"consistency_tta/{name}" for name in ("py.typed", *MODEL)}
    for folder in ("consistency_tta/models", "consistency_tta/evaluation/protocols"):
        data |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    recipes = ROOT / "lightning_configs"
    files = [path.relative_to(recipes).as_posix() for path in recipes.rglob("*") if path.is_file()]
    data |= {f"consistency_tta/recipes/{name}" for name in files}
    for kind in ("html", "css", "js"):
        data |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "consistency_tta").rglob(f"*.{kind}")}
    assert {name for name in names if name.startswith("consistency_tta/")} == ours | data


def test_a_recipe_trains_from_a_folder_with_its_own_losses_and_datamodules(wheel: Path, tmp_path: Path) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    run("-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, cwd=tmp_path)
    for name in ("losses", "datamodules"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise ImportError('the user\\'s own folder was imported')\n")
    (project / "witness.py").write_text(WITNESS)
    (project / "short.yaml").write_text(SHORT)
    command = ("-m", "consistency_tta", "fit", "--config", "tiny/demo", "--config", "short.yaml")
    run(*command, cwd=project, PYTHONPATH=str(site))
    witness = json.loads((project / "witness.json").read_text())
    assert witness["step"] == 2
    assert {"consistency_tta.losses", "consistency_tta.datamodules"} <= witness["files"].keys()
    # The wheel's, not those of the editable installation that runs this test.
    assert [file for file in witness["files"].values() if not Path(file).is_relative_to(site)] == []
