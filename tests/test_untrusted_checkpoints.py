"""A checkpoint of an unknown author runs no code: neither of its pickle, nor of a class that its settings name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.export import export
from consistency_tta.runtime.errors import ConfigurationError, UntrustedClassError
from consistency_tta.runtime.trusted_class import check_settings
from tests.test_cli import distillation_config, write
from tests.untrusted import Untrusted

FOREIGN = {"class_path": "foreign.Network"}
TRAINING = "consistency_tta.training.Distillation"
#: By what hyperparameters name the module ``foreign``.
NAMED: dict[str, dict[str, Any]] = {
    "training": {"_class_path": "foreign.Network"},
    "objective": {"objective": FOREIGN},
    "objective as text": {"objective": "foreign.Network"},
    "folder without __init__": {"objective": "scattered.foreign.Network"},
    "nested in dictionaries": {"objective": {"class_path": TRAINING, "init_args": {"objectives": {"a": FOREIGN}}}},
    "nested in lists": {"losses": {"a": [{"b": [FOREIGN]}]}},
    "under another class": {"losses": {"a": {"class_path": "consistency_tta.losses.MelL1Loss", "init_args": FOREIGN}}},
    "instantiator": {"_instantiator": "foreign.Network"},
    "YAML in a text": {"objective": "{class_path: foreign.Network}"},
    "JSON in a text": {"losses": '{"a": {"class_path": "foreign.Network"}}'},
    "YAML with an escaped key": {"objective": r'{"class\x5fpath": "foreign.Network"}'},
    "YAML by an alias": {"losses": "{a: &x {class_path: foreign.Network}, b: *x}"},
    "YAML in YAML": {"student": """{lora: '{class_path: "foreign.Network"}'}"""},
    "a quoted text": {"objective": "'foreign.Network'"},
    "a file": {"optimization": "foreign/network.yaml"},
    "a file of a file": {"optimization": "foreign/outer.yaml"},
    "a file of the user's": {"optimization": "~/foreign/network.yaml"},
    "a file by its address": {"optimization": "file://FOLDER/foreign/network.yaml"},
    "a large file": {"optimization": "foreign/large.yaml"},
}
#: Functions and classes that are installed.
INSTALLED: dict[str, dict[str, Any]] = {
    "a function": {"objective": {"class_path": "os.system", "init_args": {"command": "true"}}},
    "a function as text": {"objective": "os.system"},
    "a builtin": {"objective": {"class_path": "builtins.eval"}},
    "by way of this package": {"objective": {"class_path": "consistency_tta.cli.user_errors.os.system"}},
    "by way of this package, as text": {"objective": "consistency_tta.cli.training_cli.signal.raise_signal"},
    "a process": {"losses": {"a": {"class_path": "subprocess.Popen", "init_args": {"args": ["true"]}}}},
    "a library's function": {
        "objective": {"class_path": "transformers.dynamic_module_utils.get_class_from_dynamic_module"}
    },
    "an instantiator": {"_instantiator": "os.system"},
}


@pytest.fixture
def untrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Untrusted:
    return Untrusted(tmp_path / "foreign", monkeypatch)


def checkpoint(folder: Path, teacher: Path, changes: dict[str, Any], key: str = "hyper_parameters") -> Path:
    """A checkpoint of a distillation whose settings were changed."""
    settings = {
        "_class_path": TRAINING,
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        "teacher": str(teacher),
        "objective": {"class_path": "consistency_tta.training.ConsistencyDistillation"},
        "losses": {"latent": {"class_path": "consistency_tta.losses.LatentL2Loss"}},
    }
    content = {"state_dict": {}, "pytorch-lightning_version": "2.6.0", "hyper_parameters": settings}
    content[key] = {**content.get(key, {}), **changes}
    torch.save(content, folder / "a.ckpt")
    return folder / "a.ckpt"


@pytest.mark.parametrize("case", NAMED)
def test_export_imports_no_module_of_an_unknown_author(
    case: str, teacher_folder: Path, untrusted: Untrusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign" / "network.yaml").write_text("class_path: foreign.Network\n")
    (tmp_path / "foreign" / "outer.yaml").write_text("learning_rate: network.yaml\n")
    (tmp_path / "foreign" / "large.yaml").write_text("class_path: foreign.Network\n#" + "é" * 2**20)
    monkeypatch.setenv("HOME", str(tmp_path))
    changes = json.loads(json.dumps(NAMED[case]).replace("FOLDER", str(tmp_path)))
    with pytest.raises(UntrustedClassError, match=r"a\.ckpt.*foreign"):
        export(checkpoint(tmp_path, teacher_folder, changes), tmp_path / "model")
    assert not untrusted.ran


@pytest.mark.parametrize("key", ["hparams", "module_arguments"])
def test_settings_under_the_names_of_earlier_versions_are_checked(
    key: str, teacher_folder: Path, untrusted: Untrusted, tmp_path: Path
) -> None:
    with pytest.raises(UntrustedClassError, match=r"foreign\.Network"):
        export(checkpoint(tmp_path, teacher_folder, {"lr": FOREIGN}, key), tmp_path / "model")
    assert not untrusted.ran


def test_settings_that_repeat_themselves_billions_of_times_are_checked_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20))]
    check_settings({"prompt": "\n".join(lines), "caption": "Dogs: a bark, {and} [more] ${HOME}"}, tmp_path)


@pytest.mark.parametrize("case", INSTALLED)
def test_export_calls_nothing_but_plugins_and_networks(case: str, teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedClassError, match=r"a\.ckpt"):
        export(checkpoint(tmp_path, teacher_folder, INSTALLED[case]), tmp_path / "model")


def test_the_class_of_a_checkpoint_must_be_a_training(teacher_folder: Path, tmp_path: Path) -> None:
    file = checkpoint(tmp_path, teacher_folder, {"_class_path": "consistency_tta.components.vocoder.FourierVocoder"})
    with pytest.raises(ConfigurationError, match="FourierVocoder"):
        export(file, tmp_path / "model")


def test_a_module_that_the_user_names_is_imported(teacher_folder: Path, untrusted: Untrusted, tmp_path: Path) -> None:
    file = checkpoint(tmp_path, teacher_folder, {"_class_path": "foreign.Network"})
    with pytest.raises(SystemExit, match=r"foreign\.Network"):
        main(["export", str(file), "--output", str(tmp_path / "model")])
    assert not untrusted.ran
    with pytest.raises(SystemExit, match=r"foreign\.Network"):  # which is imported, but is no training
        main(["export", str(file), "--trust", "foreign", "--output", str(tmp_path / "model")])
    assert untrusted.ran


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server on this machine, for the files of a folder."""
    (tmp_path / "served").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_of_a_url_is_refused(command: str, address: str, teacher_folder: Path, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    content = {"state_dict": {}, "pytorch-lightning_version": "2.6.0", "epoch": Malicious()}
    torch.save(content, tmp_path / "served" / "a.ckpt")
    config = write(distillation_config(teacher_folder, tmp_path / "run"), tmp_path / "config.yaml")
    for url in (f"{address}/a.ckpt", f"simplecache::{address}/a.ckpt", f"file://{tmp_path}/served/a.ckpt"):
        with pytest.raises(SystemExit, match=url):
            main([command, "--config", config, "--ckpt_path", url])
    with pytest.raises(SystemExit, match=r"a\.ckpt"):
        main([command, "--config", config, "--ckpt_path", str(tmp_path / "served" / "a.ckpt")])
    assert not (tmp_path / "ran").exists()
