"""The whole of `make demo`, in miniature: distillation, sounds of four models, the page."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage import bundled
from tests.bundles import write_clap, write_real_clips, write_student
from tools import demo, demo_limits

ROOT = Path(__file__).parents[2]

SMALL = ["--trainer.max_steps", "3", "--data.copies", "1", "--data.batch_size", "2", "--trainer.log_every_n_steps", "1"]
SMALL += ["--data.source.num_inference_steps", "2", "--trainer.accelerator", "cpu", "--teacher_steps", "2"]


@pytest.fixture(autouse=True)
def _progress_bars() -> Iterator[None]:
    """Those that the demo switches off are for the whole process, and other tests look at them."""
    yield
    for logging in (diffusers_logging, transformers_logging):
        logging.enable_progress_bar()


@pytest.fixture
def models(teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Toys under the names of the bundled models; the current directory is empty."""
    folder = tmp_path / "models"
    shutil.copytree(teacher_folder, folder / "tiny-teacher")
    write_student(teacher_folder, folder / "tiny-student")
    write_clap(folder / "tiny-clap")
    write_real_clips(folder / "tiny-clap")
    (tmp_path / "captions.txt").write_text('A dog barks\nDog barking\nRain & <i>"wind"</i>\nRain falling\n')
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(bundled, "MODELS", folder)
    return folder


def test_make_starts_the_demo_as_a_module() -> None:
    """As a script it would not find the other modules of tools."""
    make = ["make", "--no-print-directory", "-n", "demo"]
    commands = subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert shlex.split(commands.splitlines()[-1])[1:] == ["-m", demo.__name__]


def test_the_demo_distils_and_shows_it(models: Path) -> None:
    file = demo.main([*SMALL, "--captions", "../captions.txt", "--every", "2"])
    assert file == Path("demo/report.html")
    student = TextToAudioPipeline.from_pretrained("demo/run/model")
    assert student.sampler.one_query
    html = file.read_text(encoding="utf-8")
    text = re.sub(r'"data:[^"]+"', '"data:"', html)
    assert text.count("<audio") == 2 * 4
    for part in ("One query instead of 4", "4 → 1", "A dog barks", "Rain &amp; &lt;i&gt;", "3 steps", "of 50 real"):
        assert part in text
    for part in ("Rain falling", '<i>"wind', "nan", str(models)):
        assert part not in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert text.count("<svg") == 1


@pytest.mark.usefixtures("models")
def test_without_matplotlib_the_page_has_no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    html = demo.main([*SMALL, "--captions", "../captions.txt", "--every", "2"]).read_text(encoding="utf-8")
    assert "<svg" not in html
    assert "consistency-tta[report]" in html


@pytest.mark.usefixtures("models")
def test_a_student_may_be_the_start() -> None:
    given = ["--captions", "../captions.txt", "--every", "2", "--start", "tiny-student", "--output", "other"]
    file = demo.main([*SMALL, *given])
    report = file.read_text(encoding="utf-8")
    assert "3 steps from tiny-student" in report
    assert "the time was over" not in report  # no more steps than the recipe's were requested


@pytest.mark.usefixtures("models")
def test_too_few_steps_in_the_recipes_time_are_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ENOUGH", 1000)  # more than any machine makes in a second
    given = ["--captions", "../captions.txt", "--every", "2", "--trainer.max_steps", "2000"]
    file = demo.main([*SMALL, *given, "--trainer.max_time", "00:00:00:01"])
    said = re.search(r"(\d+) steps; the time was over before 1000 steps", capsys.readouterr().out)
    assert said
    assert f"{said[1]} steps from" in (report := file.read_text(encoding="utf-8"))
    assert "--seconds 900 gives it longer" in report


@pytest.mark.usefixtures("models")
def test_a_slow_machine_makes_less_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (demo, demo_limits):
        monkeypatch.setattr(module, "seconds_per_step", lambda *_: 1.0)
    Path("many.txt").write_text("".join(f"Sound {number}\n" for number in range(16)))
    given = ["--captions", "many.txt", "--every", "4", "--trainer.max_steps", "2", "--seconds", "75"]
    file = demo.main([*given, "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"])
    samples = "1 instead of 2 samples for each caption to learn from, 10 instead of 25 steps each"
    sounds = "2 instead of 4 captions in the report, 50 instead of 200 steps of the teacher"
    report, printed = file.read_text(encoding="utf-8"), capsys.readouterr().out
    assert f"{samples}; {sounds}" in report
    assert samples in printed
    assert sounds in printed
    assert "One query instead of 100" in report
    assert report.count("<audio") == 2 * 4
    assert "--trainer.max_time 00:00:00:38" in report
    assert len(list(Path("demo/run/latents").glob("latents-*"))) == 1


@pytest.mark.usefixtures("models")
def test_what_is_missing_is_found_before_the_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--clap", "tiny-clop"])
    assert "got tiny-clop (bundled with this installation: tiny-clap)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        demo.main(["--every", "50"])
    assert "at least 2 captions for the report, got 1 of " in capsys.readouterr().err
    monkeypatch.setattr(bundled, "MODELS", Path("nowhere"))
    with pytest.raises(SystemExit):
        demo.main([])
    assert "got tiny-teacher (bundled with this installation: none)" in capsys.readouterr().err
    assert not Path("demo").exists()


def test_the_prompts_are_one_of_each_class() -> None:
    lines = demo.CAPTIONS.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == 50
    assert lines[::5][:3] == ["A dog barks", "A rooster crows", "A baby cries"]


def test_a_run_without_a_logged_loss_has_no_curve(tmp_path: Path) -> None:
    """As of fewer steps than the recipe's interval."""
    assert demo.losses(tmp_path) == ([], [])
