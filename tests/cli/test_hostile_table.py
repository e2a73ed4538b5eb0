"""Hostile input ends each command with its exit status and one line that names the thing, without a traceback."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.evaluation import networks
from consistency_tta.storage import folder_lock
from tests.cli.hostile_files import (
    CONFIGS,
    STOP,
    TABLES,
    write_checkpoints,
    write_hostile_sounds,
    write_names,
    write_tables,
)
from tests.evaluation.cases import ToyNetwork, write_protocol
from tests.held_folders import another_process
from tests.test_cli import distillation_config, write

FIT = "fit|--config|run.yaml"
RESUME = f"{FIT}|--ckpt_path"
STOPPED = f"{FIT}|--trainer.callbacks|stop.Stop|--trainer.callbacks.number"
SAVING = f"{FIT}|--trainer.callbacks|ModelCheckpoint|--trainer.callbacks.dirpath"
RECORDINGS = "fit|--config|recordings.yaml|--data.train_captions"
CHECK = "data-check|--min_seconds|0.1|--audio_folder|sounds|--captions"
NAMES = "data-check|--min_seconds|0.1|--audio_folder|names|--captions"
EVALUATE = "evaluate|--reference|reference|--protocol|toy.yaml|--output|o|--device|cpu|--generated"
PROTOCOL = "evaluate|--reference|reference|--generated|reference|--output|o|--device|cpu|--protocol"
LISTENING = "listening-test|--num_clips|6|--output|o|--captions|toy.csv|--systems|a=reference"
GENERATE = "generate|--model|tiny-student|--output|o|--captions"

#: Commands whose last word is a table.
READERS = (CHECK, GENERATE, RECORDINGS, f"{EVALUATE}|reference|--captions", f"{LISTENING}|b=reference|--captions")

#: What is said of KIND.ckpt, by fit and by export.
CHECKPOINTS = {
    "cut": "cut off",
    "empty": "empty",
    "bit": "checksum",
    "page": "web page",
    "pointer": "git lfs pull",
    "folder": "is a folder",
    "tensor": "no checkpoint of a training",
    "pickle": "objects that are not weights",
    "list": "state_dict",
    "compressed": "compressed by another program",
}
#: What is said of the sound KIND, wherever it is read.
SOUNDS = {
    "antiphase": "channels cancel",
    "not_finite": "not finite",
    "truncated": "truncated",
    "vast": "unreadable",
    "nothing": "the file is empty",
    "web_page": "web page",
    "random": "unreadable",
}
#: Sounds whose headers are wrong or are of a part, and which are decoded to their ends.
WHOLE = ("piped", "chained", "joined")
#: Variables of a launcher that has started one process, or two, and of the trainer's options.
TORCHRUN = "RANK=0|LOCAL_RANK=0|GROUP_RANK=0|MASTER_ADDR=127.0.0.1|MASTER_PORT=9"
SLURM = "SLURM_PROCID=0|SLURM_LOCALID=0|SLURM_NODEID=0|SLURM_JOB_NAME=train|SLURM_JOB_ID=1"
TWO = "--trainer.devices|2"
LAUNCHERS = [
    (f"{SLURM}|SLURM_NTASKS=1|{FIT}|{TWO}", "SLURM_NTASKS=1"),
    (f"{SLURM}|SLURM_NTASKS=2|{FIT}|{TWO}", "--ntasks-per-node"),  # Lightning's own check
    (f"{SLURM}|SLURM_NTASKS=2|SLURM_NTASKS_PER_NODE=2|{FIT}", "SLURM_NTASKS=2"),
    (f"{SLURM}|SLURM_NTASKS=2|SLURM_NTASKS_PER_NODE=2|{FIT}|{TWO}|--trainer.num_nodes|2", "SLURM_NTASKS=2"),
    (f"{TORCHRUN}|WORLD_SIZE=2|LOCAL_WORLD_SIZE=2|{FIT}", "WORLD_SIZE=2"),
    (f"{TORCHRUN}|WORLD_SIZE=2|LOCAL_WORLD_SIZE=1|{FIT}|{TWO}", "LOCAL_WORLD_SIZE=1"),
    (f"{TORCHRUN}|WORLD_SIZE=1|LOCAL_WORLD_SIZE=1|{FIT}|{TWO}", "WORLD_SIZE=1"),
    (f"LOCAL_RANK=1|WORLD_SIZE=2|{FIT}", "WORLD_SIZE=2"),  # Lightning's own
    (f"KUBERNETES_PORT=1|MASTER_ADDR=h|MASTER_PORT=9|RANK=0|WORLD_SIZE=4|{FIT}", "WORLD_SIZE=4"),  # Kubeflow
    (f"OMPI_COMM_WORLD_SIZE=2|OMPI_COMM_WORLD_RANK=0|{FIT}", "OMPI_COMM_WORLD_SIZE=2"),
    (f"PMI_SIZE=2|PMI_RANK=0|{FIT}", "PMI_SIZE=2"),
    (f"LSB_JOBID=1|JSM_NAMESPACE_SIZE=2|JSM_NAMESPACE_RANK=0|{FIT}", "JSM_NAMESPACE_SIZE=2"),
]
#: Tables that every command is given; data-check reads those of RIGHT, and is given the others as well.
DAMAGED = {"latin1.csv", "binary.csv", "nul.csv", "quote.csv", "vast_field.csv", "no_caption.csv", "blank.csv"} | {
    "html.csv", "deep.jsonl", "list.jsonl", "broken.jsonl",
}  # fmt: skip
RIGHT = {"line_ends.csv", "mixed.csv"}
#: Words of the command line, separated by |, after variables of its environment, the exit status, and what is said.
ROWS: list[tuple[str, int, list[str]]] = [
    *((f"{RESUME}|{kind}.ckpt", 1, [f"{kind}.ckpt", said]) for kind, said in CHECKPOINTS.items()),
    *((f"export|{kind}.ckpt|--output|o", 1, [f"{kind}.ckpt", said]) for kind, said in CHECKPOINTS.items()),
    (f"{RESUME}|weights.ckpt", 1, ["weights.ckpt", "optimizer_states"]),
    (f"{RESUME}|position.ckpt", 1, ["position.ckpt", "-4"]),
    (f"{RESUME}|half.ckpt", 1, ["half.ckpt", "torch.float16"]),
    (f"{RESUME}|foreign.ckpt", 2, ["foreign.ckpt", "foreign.Network"]),
    ("export|foreign.ckpt|--output|o", 1, ["foreign.ckpt", "foreign.Network"]),
    (f"{RESUME}|nan.ckpt", 1, ["nan.ckpt", "student.unet.conv_in.weight"]),
    ("export|nan.ckpt|--output|o", 1, ["nan.ckpt", "unet.conv_in.weight"]),
    ("export|nan.ckpt|--format|onnx|--output|o", 1, ["nan.ckpt", "unet.conv_in.weight"]),
    (f"{RESUME}|http://127.0.0.1:9/a.ckpt", 1, ["http://127.0.0.1:9/a.ckpt"]),
    ("export|http://127.0.0.1:9/a.ckpt|--output|o", 1, ["127.0.0.1:9/a.ckpt"]),
    # A run's config.yaml that cannot be written.
    (f"{FIT}|--trainer.logger|false|--trainer.default_root_dir|held", 1, ["held/config.yaml", "writable"]),
    # Number formats in which nothing is learnt.
    *((f"{FIT}|--trainer.precision|{name}", 1, [name, "bf16-mixed"]) for name in ("bf16-true", "16-true", "64-true")),
    # Runs that go wrong, or that must leave nothing.
    (f"{FIT}|--model.optimization.learning_rate|1e10|--trainer.default_root_dir|hot", 1, ["learning rate"]),
    (f"{FIT}|--model.optimization.learning_rate|inf", 2, ["learning_rate", "inf"]),
    (f"{FIT}|--trainer.fast_dev_run|true|--trainer.default_root_dir|dev", 0, []),
    (f"{RESUME}|last|--trainer.default_root_dir|empty", 1, ["--ckpt_path last", "empty"]),
    # Another number of processes than the trainer counts with.
    *((command, 1, [said]) for command, said in LAUNCHERS),
    # Folders that another run writes to while this one begins.
    (f"{RESUME}|last|--trainer.default_root_dir|live", 1, ["live/checkpoints", "elsewhere", ".in_use"]),
    (f"{RESUME}|auto|--trainer.default_root_dir|live", 1, ["live/checkpoints"]),
    (f"{FIT}|--trainer.default_root_dir|live|--trainer.logger|false", 1, ["live/checkpoints"]),
    (f"{SAVING}|live/checkpoints", 1, ["live/checkpoints"]),
    # Names.
    *((f"{NAMES}|{name}.csv", 0, ["0 of 1"]) for name in ("composed", "audiocaps")),
    (f"{NAMES}|ambiguous.csv", 0, ["Ylmnopqrstuv_5_15.wav", "lmnopqrstuv_5.000_15.000.wav may be the same"]),
    (f"{NAMES}|part.csv", 1, ["0.2 s to 0.6 s of Yabcdefghijk_30_40.wav", "cut the parts into files"]),
    (f"{NAMES}|part_behind.csv", 1, ["90 s to 95 s of Yabcdefghijk_30_40.wav, which has 0.25 s"]),
    # Sounds.
    *((f"{CHECK}|{kind}.csv", 1, [f"{kind} (", said]) for kind, said in SOUNDS.items()),
    *((f"{CHECK}|{kind}.csv", 1, [f"{kind} (", "missing"]) for kind in ("dangling", "directory", "pipe")),
    (f"{CHECK}|silent.csv", 1, ["silent (", "constant"]),
    *((f"{CHECK}|{kind}.csv", 0, ["0 of 2"]) for kind in WHOLE),
    *((f"{EVALUATE}|generated/{kind}", 0, ["5 clips", "clip3", said]) for kind, said in SOUNDS.items()),
    (f"{EVALUATE}|generated/silent", 0, ["clip3", "silent"]),
    *((f"{EVALUATE}|generated/{kind}", 0, ["6 of 6"]) for kind in WHOLE),
    *((f"{LISTENING}|b=generated/{kind}", 1, [f"{kind}/clip3", said]) for kind, said in SOUNDS.items()),
    *((f"{LISTENING}|b=generated/{kind}", 0, ["12 sounds"]) for kind in WHOLE),
    *((f"{RECORDINGS}|{kind}.csv|--data.bad_clips|fail", 1, [f"{kind} ("]) for kind in ("web_page", "pipe")),
    # Tables.
    *((f"{command}|{name}", 1, [name]) for command in READERS for name in TABLES if name in DAMAGED),
    *((f"{CHECK}|{name}", 1, [name]) for name in TABLES if name not in DAMAGED | RIGHT),
    *((f"{CHECK}|{name}", 0, ["0 of 1"]) for name in sorted(RIGHT)),
    (f"{CHECK}|sounds", 1, ["sounds is a folder", ".csv"]),
    (f"{GENERATE}|sounds/pipe.wav", 1, ["sounds/pipe.wav is a pipe", "file"]),
    (f"{RECORDINGS}|https://host/a.csv", 1, ["host/a.csv", "download"]),
    # Configurations and protocols.
    *((f"fit|--config|{name}", 2, [name]) for name in CONFIGS),
    ("generate|--config|deep.yaml", 2, ["deep.yaml"]),
    *((f"{PROTOCOL}|{name}", 1, [name]) for name in ("bomb.yaml", "itself.yaml", "code.yaml")),
    (f"{FIT}|--model.loss_weights|&a {{latent: *a}}", 2, ["nested too deep"]),
    # Numbers that no generator or optimizer has.
    (f"{FIT}|--model.seed|-1", 1, ["seed", "-1"]),
    (f"{FIT}|--data.seed|-1", 1, ["seed", "-1"]),
    (f"PL_GLOBAL_SEED=abc|{FIT}|--seed_everything|false", 1, ["seed", "abc"]),
    (f"{FIT}|--model.optimization.betas|[2,3]", 1, ["betas", "(2.0, 3.0)"]),
    (f"{FIT}|--trainer.num_sanity_val_steps|-2", 1, ["num_sanity_val_steps", "-2"]),
    (f"{FIT}|--trainer.val_check_interval|0", 1, ["val_check_interval", "0"]),
    (f"{FIT}|--data.num_workers|100000", 1, ["num_workers", "100000"]),
    (f"{FIT}|--trainer.callbacks|ModelCheckpoint|--trainer.callbacks.filename|../../x", 1, ["../../x"]),
]
STATUSES = [
    ("export|empty.ckpt|--output|o", 1),
    (f"{FIT}|--trainer.max_stepz|1", 2),
    (f"{STOPPED}|SIGINT", 130),
    (f"{STOPPED}|SIGTERM", 143),
]


@pytest.fixture(scope="module")
def folder(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All hostile files, and the configurations of a training of toys."""
    folder = tmp_path_factory.mktemp("hostile")
    config = distillation_config(teacher_folder, folder / "run", enable_checkpointing=True, limit_val_batches=0)
    run = write(config, folder / "run.yaml")
    config["data"] = {
        "class_path": "consistency_tta.datamodules.AudioCapsDataModule",
        "init_args": {"audio_folder": "sounds", "num_samples": 5120, "batch_size": 1, "min_seconds": 0.1},
    }
    write(config, folder / "recordings.yaml")
    trained = main(["fit", "--config", run, "--trainer.max_steps", "1"])
    write_checkpoints(folder, Path(trained.trainer.checkpoint_callback.best_model_path))
    write_hostile_sounds(folder)
    write_tables(folder)
    write_names(folder)
    write_protocol(folder)
    (folder / "held" / "config.yaml").mkdir(parents=True)
    (folder / "stop.py").write_text(STOP)
    live = folder / "live" / "checkpoints"
    live.mkdir(parents=True)
    shutil.copy(trained.trainer.checkpoint_callback.best_model_path, live)
    with another_process(live, host="elsewhere"):
        yield folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, in which the test then runs."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for name in ("PATIENCE", "LEASE"):
        monkeypatch.setattr(folder_lock, name, 0.0)
    monkeypatch.setattr(networks, "make_network", lambda name, weights: ToyNetwork())
    shutil.rmtree("o", ignore_errors=True)
    return folder


@pytest.mark.parametrize(("command", "status", "said"), ROWS, ids=[command for command, _, _ in ROWS])
def test_status_and_words(
    command: str,
    status: int,
    said: list[str],
    inside: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = command.split("|")
    while variable := re.fullmatch(r"([A-Z_]+)=(.*)", words[0]):
        monkeypatch.setenv(*variable.groups())
        words = words[1:]
    code: str | int | None = 0
    try:
        main(words)
    except SystemExit as stopped:
        code = stopped.code
    output = capsys.readouterr()
    written = code if isinstance(code, str) else output.out + output.err
    assert (1 if isinstance(code, str) else code) == status
    for part in said:
        assert part in written
    if isinstance(code, str) or status == 2:
        lines = (code if isinstance(code, str) else output.err).splitlines()
        assert lines[0].startswith("error: ")
        assert len(lines) == 1 or lines[-1].startswith(("(CONSISTENCY_TTA_TRACEBACK", "See consistency-tta"))
        assert all(line.startswith("  ") for line in lines[1:-1])  # a clip each
    assert not (inside / "ran").exists()


@pytest.mark.parametrize(("command", "status"), STATUSES)
@pytest.mark.usefixtures("inside")
def test_a_process_ends_with_the_status(command: str, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A fork: a process of its own, without seconds of imports."""

    def run() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        torch.set_num_threads(1)
        main(command.split("|"))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(240)
    assert process.exitcode == status
    assert "Traceback" not in capfd.readouterr().err
