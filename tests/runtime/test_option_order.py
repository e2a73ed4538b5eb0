"""Nothing on a command line is replaced by a configuration file behind it without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.runtime.option_order import check_order

FILES = {
    "recipe": "model: {class_path: M, init_args: {x: 1}}\ntrainer: {max_steps: 2, callbacks: [A]}\n",
    "added": "trainer:\n  callbacks+: [B]\n",
    "steps": "trainer: {max_steps: 3}\n",
    "numbers": "1: 2\n2+: 3\n",
    "torn": "trainer: [",
    "empty": "trainer:\n  callbacks+:\n    # - [B]\n",
    "part": "max_steps: 3\ninit_args: {num_clips: 2}\n",
}


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("--trainer.max_steps 1 --config recipe", "--trainer.max_steps"),
        ("--trainer.max_steps=1 --config=recipe", "--trainer.max_steps"),
        ("--trainer {} --config recipe", "--trainer"),
        ("--trainer.callbacks+=B --config recipe", "--trainer.callbacks+"),
        ("--trainer.callbacks+ B --config recipe", "--trainer.callbacks+"),
        ("--model.seed 3 --config recipe", "--model.seed"),
        ("--config added --config recipe", "trainer.callbacks+ of added"),
        ("--config recipe --trainer.max_steps 1 --config steps", "--trainer.max_steps"),
        ("--trainer.max_steps 1 -crecipe", "--trainer.max_steps"),
        ("--trainer.max_steps 1 -c=recipe", "--trainer.max_steps"),
        ('--trainer.max_steps 1 --config {"trainer":{"max_steps":3}}', "--trainer.max_steps"),
        ('--trainer.max_steps 1 --trainer {"max_steps":3}', "--trainer.max_steps"),
        ('--trainer.max_steps 1 --trainer={"max_steps":3}', "--trainer.max_steps"),
        ("--trainer.max_steps 1 --trainer part", "--trainer.max_steps"),
        ("--data.num_clips 4 --data OtherDataModule", "--data.num_clips"),
        ("--data.init_args.num_clips 4 --data=part", "--data.init_args.num_clips"),
        ("--trainer.logger.save_dir x --trainer.logger CSVLogger", "--trainer.logger.save_dir"),
        ('--trainer.max_steps 1 --trainer {"max_epochs":3}', None),
        ("--trainer.max_steps 1 --trainer part --trainer_x 1", "--trainer.max_steps"),
        ("--trainer part --trainer.max_steps 1", None),
        ("--data_x 1 --data X", None),
        ("--trainer.callbacks+=B --config added", None),
        ("--config recipe --config added", None),
        ("--config recipe --config steps", None),
        ("--config recipe --trainer.callbacks+=B --config steps", None),
        ("--seed_everything 3 --config recipe", None),
        ("--config nowhere --trainer.max_steps 1", None),
        ("--trainer.max_steps 1 --config torn", None),  # which the parser names
        ("--config numbers --trainer.max_steps 1", None),
        ("--trainer.max_steps 1 --config nowhere", None),
    ],
)
def test_what_a_later_file_replaces_is_refused(
    line: str, refused: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).write_text(content)
    if refused is None:
        check_order(line.split())
    else:
        with pytest.raises(SystemExit) as error:
            check_order(line.split())
        assert f"{refused}:" in str(error.value)


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("--trainer.callbacks+=A --trainer.callbacks=[B]", True),
        ("--config recipe --trainer.callbacks+ A --trainer.max_steps 2 --trainer.callbacks null", True),
        ("--trainer.callbacks=[B] --trainer.callbacks+=A", False),
        ("--trainer.callbacks+=A --trainer.callbacks+=B", False),
        ("--trainer.callbacks+=A --trainer.callbacks.number 2", False),
        ("--trainer.callbacks+=A --trainer.logger+=B --model.callbacks=[B]", False),
        ("--config added --trainer.callbacks=[B]", False),  # options take the place of what files have
    ],
)
def test_a_whole_list_behind_an_addition_to_it_is_refused(
    line: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).write_text(content)
    if refused:
        with pytest.raises(SystemExit, match=r"--trainer\.callbacks .* --trainer\.callbacks\+ "):
            check_order(line.split())
    else:
        check_order(line.split())


@pytest.mark.parametrize("added", ["--trainer.callbacks+=null", "--trainer.callbacks+ null", "--config empty"])
def test_nothing_is_no_addition(added: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser would leave nothing of the list, such as where all lines below it are comments."""
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).write_text(content)
    with pytest.raises(SystemExit, match=r"trainer\.callbacks\+ ?(of empty)?, got null"):
        check_order(["--config", "recipe", *added.split()])


@pytest.mark.parametrize("text", ["[Music] a dog", "*stars*", "@home", "a dog: barks: loudly"])
def test_text_that_is_no_yaml_may_be_added(text: str) -> None:
    check_order(["--data.captions+", text, f"--data.captions+={text}"])
