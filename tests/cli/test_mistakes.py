"""Wrong words on a command line, each answered with the right one."""

from __future__ import annotations

import pytest

from consistency_tta.cli import main


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train", "fit"),
        ("sample", "generate"),
        ("eval", "evaluate"),
        ("generat", "generate"),
        ("data_check", "data-check"),
    ],
)
def test_the_right_subcommand_is_named(wrong: str, right: str) -> None:
    with pytest.raises(SystemExit, match=f"did you mean '{right}'"):
        main([wrong, "--config", "x.yaml"])


def test_a_subcommand_like_none_has_no_suggestion() -> None:
    with pytest.raises(SystemExit, match=r"'qqq'$"):
        main(["qqq"])


@pytest.mark.parametrize(
    ("args", "right"),
    [
        (["--hepl"], "'help'"),
        (["fit", "--modle.seed", "3"], "'model'"),
        (["validate", "--ckpt-path=x"], "'ckpt_path'"),
        (["evaluate", "--referense", "x"], "'reference'"),
        (["fit", "--config", "x.yaml", "model.seed=3"], "--model.seed 3"),
        (["fit", "trainer.logger='a b'"], "--trainer.logger"),
        (["fit", "+data.batch_size=2"], "--data.batch_size 2"),
        (["generate", "a dog", "guidance_scale=3"], "--guidance_scale 3"),
        (["evaluate", "generated=out", "reference=real"], "--generated out"),
        (["export", "last.ckpt", "half=true"], "--half true"),
        (["encode", "--model", "tiny-teacher", "data.batch_size=4"], "--data.batch_size 4"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_the_right_option_is_named(args: list[str], right: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(args)
    assert f"did you mean {right}" in capsys.readouterr().err


def test_a_caption_or_a_value_may_have_an_equals_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def record(texts: list[str], model: str) -> None:
        taken.append((texts, model))

    monkeypatch.setattr("consistency_tta.generate.generate", record)
    main(["generate", "E=mc2 on a blackboard", "--model", "seed=3"])
    assert taken == [(["E=mc2 on a blackboard"], "seed=3")]


def test_settings_and_systems_are_assignments(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def sweep(settings: list[str], model: str) -> None:
        taken.append(settings)

    def make(systems: list[str], output: str) -> None:
        taken.append(systems)

    monkeypatch.setattr("consistency_tta.evaluation.sweep.command.sweep", sweep)
    monkeypatch.setattr("consistency_tta.listening.builder.make", make)
    main(["sweep", "seed=1,2", "model=a,b", "--model", "tiny-student"])
    main(["listening-test", "--systems", "ours=a", "output=b", "--output", "c"])
    assert taken == [["seed=1,2", "model=a,b"], ["ours=a", "output=b"]]


@pytest.mark.parametrize("subcommand", ["fit", "validate", "test", "predict"])
def test_a_training_without_options_names_a_recipe(subcommand: str) -> None:
    with pytest.raises(SystemExit, match=f"{subcommand} --config tiny/demo"):
        main([subcommand])


def test_the_program_alone_prints_all_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "listening-test serve" in capsys.readouterr().err
