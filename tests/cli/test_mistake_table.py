"""Mistakes of a new user: each is one line that names the thing and says what is expected, at once.

A second line may say where help is. Nothing is trained, generated or written.
"""

from __future__ import annotations

import os
import time
import wave
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from consistency_tta.cli import main

GENERATE = "generate|a dog|--model|tiny-student"
FIT = "fit|--config|tiny/demo"
TEACHER_PART = Path(__file__).parents[2] / "consistency_tta/models/tiny-teacher/unet"
#: Words of the command line, separated by |, and what the line must name.
MISTAKES: list[tuple[str, list[str]]] = [
    # Captions and models to generate from.
    ("generate|a dog", ["--model"]),
    ("generate|--model|tiny-student", ["caption"]),
    ("generate|empty.txt|--model|tiny-student", ["caption", "empty.txt"]),
    ("generate|nowhere.txt|--model|tiny-student", ["nowhere.txt"]),
    ("generate|nowhere.csv|--model|tiny-student", ["nowhere.csv"]),
    ("generate|no_caption.csv|--model|tiny-student", ["no_caption.csv", "id,text_of", "id,caption"]),
    ("generate|blank.csv|--model|tiny-student", ["blank.csv", "id,caption"]),
    ("generate|bad.jsonl|--model|tiny-student", ["bad.jsonl, line 2"]),
    ("generate|ok.csv|a dog|--model|tiny-student", ["ok.csv"]),
    ("generate|a dog|--model|tiny_student", ["tiny_student", "did you mean tiny-student?"]),
    ("generate|a dog|--model|audio", ["audio", "model_index.json"]),
    ("generate|a dog|--model|broken", ["broken/model_index.json"]),
    (f"generate|a dog|--model|{TEACHER_PART}", ["unet", f"did you mean {TEACHER_PART.parent}?"]),
    ("generate|a dog|--model|run", ["did you mean run/model?"]),
    ("generate|a dog|--model|weights.ckpt", ["weights.ckpt", "export"]),
    # Values and options of generating.
    (f"{GENERATE}|--guidance_scale|high", ["a number", "--guidance_scale", "high"]),
    (f"{GENERATE}|--guidance_scale", ["--guidance_scale"]),
    (f"{GENERATE}|--steps|0", ["steps", "0"]),
    (f"{GENERATE}|--steps|2.5", ["a whole number", "--steps", "2.5"]),
    (f"{GENERATE}|--seconds|0", ["seconds", "0"]),
    (f"{GENERATE}|--seed|-1", ["seed", "-1"]),
    (f"{GENERATE}|--num_samples|0", ["num_samples", "0"]),
    (f"{GENERATE}|--batch_size|0", ["batch_size", "0"]),
    (f"{GENERATE}|--device|gpu", ["gpu", "cuda"]),
    (f"{GENERATE}|--grid|LinspaceGird", ["--grid", "did you mean 'LinspaceGrid'?"]),
    (f"{GENERATE}|--output|file", ["--output", "file"]),
    (f"{GENERATE}|--guidance|3", ["did you mean 'guidance_scale'?"]),
    (f"{GENERATE}|--num-samples|2", ["did you mean 'num_samples'?"]),
    (f"{GENERATE}|--devices|4", ["--captions"]),
    (f"{GENERATE}|--output|file/sub", ["--output", "file is no folder"]),
    ("generate|ok.csv|--model|tiny-student|--output|file", ["--output", "file is no folder"]),
    ("generate|a dog|--model|TINY-STUDENT", ["did you mean tiny-student?"]),
    (f"{GENERATE}|--grid|nowhere.Grid", ["TimeGrid", "--grid", "No module named 'nowhere'"]),
    (f"{GENERATE}|--grid|torch.nn.Linear", ["TimeGrid", "--grid", "torch.nn.Linear"]),
    (f"{GENERATE}|-n|3", ["-n"]),
    # Configuration files.
    ("fit|tiny/demo", ["did you mean --config tiny/demo?"]),
    ("fit|--config", ["--config"]),
    ("fit|--config|tiny/dem0", ["tiny/dem0", "did you mean the recipe tiny/demo?"]),
    ("fit|--config|TINY/DEMO", ["did you mean the recipe tiny/demo?"]),
    ("fit|--config|nowhere.yaml", ["nowhere.yaml", "consistency-tta recipes"]),
    ("fit|--config|audio", ["audio"]),
    ("fit|--config|unclosed.yaml", ["unclosed.yaml, line"]),
    ("fit|--config|tab.yaml", ["tab.yaml, line 2"]),
    ("fit|--config|list.yaml", ["list.yaml", "list"]),
    ("fit|--config|deep.yaml", ["deep.yaml", "nested too deep"]),
    ("evaluate|--config|deep.yaml", ["deep.yaml", "nested too deep"]),
    (f"evaluate|--config|{{seed: {'[' * 50_000}{']' * 50_000}}}", ["nested too deep"]),
    ("fit|--config|empty.txt", ["empty.txt", "nothing"]),
    ("fit|--config|no_model.yaml", ["--model", "--data", "tiny/demo"]),
    ("fit|--model.teacher|x|--config|tiny/demo", ["--model.teacher", "--config"]),
    ("fit|--config|twice.yaml", ["twice.yaml, line 2", "trainer"]),
    ("--config|tiny/demo|fit", ["--config", "fit"]),
    (f"{FIT}|--trainer.max-steps|3", ["did you mean 'max_steps'?"]),
    (f"{FIT}|--trainer.default_root_dir|${{oc.env:NOWHERE}}", ["NOWHERE"]),
    (f"{FIT}|--seed_everything|-1", ["--seed_everything", "-1"]),
    (f"{FIT}|--trainer.default_root_dir|", ["--trainer.default_root_dir", "empty"]),
    (f"{FIT}|--trainer.default_root_dir|$SCRATCH/run", ["$SCRATCH/run", "${oc.env:SCRATCH}"]),
    (f"{FIT}|--trainer.default_root_dir|file", ["--trainer.default_root_dir", "file is no folder"]),
    (f"{FIT}|--trainer.devices|two", ["devices"]),
    (f"{FIT}|--trainer.callbacks|[{{class_path: nowhere.Callback}}]", ["Callback", "No module named 'nowhere'"]),
    (f"{FIT}|--trainer.logger|nowhere.Logger", ["Logger", "No module named 'nowhere'"]),
    (f"{FIT}|--trainer.callbacks+=EarlyStopping", ["monitor", "EarlyStopping"]),
    (f"{FIT}|--trainer.callbacks+=ThroughputMonitor", ["batch_size_fn", "ThroughputMonitor"]),
    # Checkpoints.
    (f"{FIT}|--ckpt_path|nowhere.ckpt", ["nowhere.ckpt"]),
    (f"{FIT}|--ckpt_path|weights.ckpt", ["weights.ckpt"]),
    (f"{FIT}|--ckpt_path|audio", ["audio", ".ckpt"]),
    (f"{FIT}|--ckpt_path|last|--trainer.default_root_dir|audio", ["--ckpt_path last", "audio"]),
    # The trainer.
    (f"{FIT}|--trainer.max_steps|many", ["a whole number", "--trainer.max_steps", "many"]),
    (f"{FIT}|--trainer.precision|fp8", ["--trainer.precision", "fp8", "bf16-mixed"]),
    (f"{FIT}|--trainer.max_step|3", ["max_step", "did you mean 'max_steps'?"]),
    (f"{FIT}|--trainer.logger|TensorBordLogger", ["TensorBordLogger", "TensorBoardLogger"]),
    # Classes and keys of the model.
    (f"{FIT}|--model|Distilation", ["Distilation", "did you mean 'Distillation'?"]),
    (f"{FIT}|--model|consistency_tta.training.Distilation", ["Distilation", "did you mean 'Distillation'?"]),
    (f"{FIT}|--model|nowhere.Model", ["nowhere"]),
    (f"{FIT}|--model.losses|{{latent: {{class_path: my_losses.Loss}}}}", ["my_losses", "No module named"]),
    (f"{FIT}|--model.losses.latent|consistency_tta.losses.LatentHuber", ["--model.losses.latent", "'LatentHuberLoss'"]),
    (f"{FIT}|--model.student.lora|{{rnk: 4}}", ["other options", "--model.student.lora", "did you mean 'rank'?"]),
    (f"{FIT}|--model.student.guidance_scale|[1,2,3]", ["guidance_scale"]),
    (f"{FIT}|--model|torch.nn.Linear", ["TrainingModule", "torch.nn.Linear"]),
    (f"{FIT}|--data|consistency_tta.training.Distillation", ["LightningDataModule", "--data"]),
    (f"{FIT}|--model.optimization.learning_rate|-1", ["learning_rate", "-1"]),
    (f"{FIT}|--model.loss_weights|heavy", ["--model.loss_weights", "heavy"]),
    (f"{FIT}|--model.loss_weights|{{latnt: 1}}", ["latnt", "'latent'"]),
    (f"{FIT}|--model.teacher|tiny_teacher", ["did you mean tiny-teacher?"]),
    (f"{FIT}|--model.optimization.learning_rate|fast", ["learning_rate", "fast"]),
    (f"{FIT}|--model.optimization.lerning_rate|1", ["did you mean 'learning_rate'?"]),
    (f"{FIT}|--model.objective|ConsistencyDistilation", ["ConsistencyDistilation", "ConsistencyDistillation"]),
    # Data.
    (f"{FIT}|--data|AudioCapsDataModul", ["did you mean 'AudioCapsDataModule'?"]),
    (f"{FIT}|--data.captions|nowhere.txt", ["nowhere.txt"]),
    (f"{FIT}|--data.batch_size|eight", ["a whole number", "batch_size", "eight"]),
    (f"{FIT}|--data.batchsize|8", ["did you mean 'batch_size'?"]),
    ("data-check|--captions|ok.csv|--audio_folder|nowhere", ["nowhere"]),
    ("data-check|--captions|ok.csv|--audio_folder|videos", ["videos", ".m4a"]),
    ("encode|--model|tiny-teacher|--output|o|--data|SyntheticDataModul", ["did you mean 'SyntheticDataModule'?"]),
    ("encode|--model|tiny-teacher|--output|file|--data|SyntheticDataModule", ["--output", "file"]),
    ("data-check|--captions|no_caption.csv|--audio_folder|audio", ["no_caption.csv"]),
    ("encode|--model|tiny-teacher|--output|o|--split|tran|--data|SyntheticDataModule", ["tran", "'train'"]),
    # What is no checkpoint.
    ("export|nowhere.ckpt|--output|o", ["nowhere.ckpt"]),
    ("export|audio/1.wav|--output|o", ["1.wav"]),
    ("export|audio|--output|o", ["audio", ".ckpt"]),
    ("export|weights.ckpt", ["--output"]),
    # Other subcommands.
    ("evaluate|--generated|audio|--reference|audio|--captions|ok.csv", ["--protocol"]),
    ("sweep|guidence=1,2|--captions|ok.csv|--model|tiny-student|--output|s", ["guidence", "guidance_scale"]),
    ("evaluate|--generated|audio|--reference|audio|--protocol|esc50_fold5", ["did you mean esc50-fold5?"]),
    ("sweep|steps=1,2|--captions|ok.csv|--model|tiny-student|--output|s", ["at least 2 sounds", "ok.csv"]),
    ("plan|--config|tiny/demo|--model.teacher|nowhere", ["nowhere"]),
    ("completion", ["for shell"]),
    ("convert|tangoo|x|--output|o", ["tangoo", "tango"]),
    ("convert|tango|nowhere.bin|--output|o", ["nowhere.bin"]),
    ("listening-test|serve|audio", ["audio"]),
    ("listening-test|server|audio", ["server", "did you mean serve?"]),
    ("recipes|copy|tiny/demo|file/sub", ["file is no folder"]),
    ("recipes|list", ["copy", "list"]),
    ("recipes|copy|tiny/dmo|x", ["tiny/dmo", "tiny/demo"]),
    ("trian|--config|tiny/demo", ["did you mean"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the wrong kind."""
    folder = tmp_path_factory.mktemp("mistakes")
    files = {
        "empty.txt": "",
        "file": "",
        "blank.csv": "",
        "no_caption.csv": "id,text_of\n1,a\n",
        "ok.csv": "id,caption\n1,a dog barks\n",
        "bad.jsonl": '{"location": "a.wav", "captions": "a dog"}\n{"location":\n',
        "unclosed.yaml": "model:\n  class_path: [unclosed\n",
        "tab.yaml": "trainer:\n\tmax_steps: 3\n",
        "twice.yaml": "trainer: {}\ntrainer: {}\n",
        "list.yaml": "- a\n",
        "deep.yaml": f"trainer: {{default_root_dir: {'[' * 50_000}{']' * 50_000}}}\n",
        "no_model.yaml": "trainer:\n  max_steps: 2\n",
        "weights.ckpt": "no checkpoint",
        "videos/1.m4a": "",
        "broken/model_index.json": "{no json",
        "run/model/model_index.json": "{}",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "audio").mkdir()
    with wave.open(str(folder / "audio/1.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(os.urandom(3200))
    return folder


@pytest.mark.parametrize(("command", "named"), MISTAKES, ids=[command[:80] for command, _ in MISTAKES])
def test_a_mistake_is_one_line_at_once(
    command: str, named: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*args: object, **kwargs: object) -> None:
        raise AssertionError("the training has begun")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(Trainer, "_run", train)
    before = sorted(folder.rglob("*"))
    started = time.process_time()
    with pytest.raises(SystemExit) as stopped:
        main(command.split("|"))
    assert time.process_time() - started < 10
    written = stopped.value.code if isinstance(stopped.value.code, str) else capsys.readouterr().err
    lines = [line for line in written.splitlines() if line and not line.startswith(("See ", "(CONSISTENCY_TTA_"))]
    (line,) = (line for line in lines if line.startswith("error: "))
    assert len(lines) == 1
    for part in named:
        assert part in line
    assert sorted(folder.rglob("*")) == before
