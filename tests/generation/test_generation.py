"""A folder of sounds has the same bytes however often it was begun, and whoever made them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.diffusion.grid import KarrasGrid
from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.generate import generate
from consistency_tta.generation.fill import fill
from consistency_tta.generation.folder import Folder, weights_sha256, write_sound, write_tables
from consistency_tta.generation.sampling_config import SamplingConfig, sounds_of
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.distributed import LAUNCHERS
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.captions import read_clips
from tests.toys import NUM_SAMPLES

NAMES = ["a", "b", "c", "d", "e"]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of other threads have other rounding; nor does a launcher of the tests count."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    for name in (name for names in LAUNCHERS for name in names):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Five clips with captions of several lengths, the first two of them with two."""
    file = tmp_path / "captions.csv"
    file.write_text("id,caption\na,rain\nb,a dog barks\na,water\nc,wind\nd,a long caption of many words\ne,x\nb,bark\n")
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.wav"))}


def make(captions: Path, model: Path, output: Path, **settings: object) -> list[Path]:
    plain = {"steps": 1, "batch_size": 2, "device": "cpu", "captions": captions}
    return generate([], str(model), output, **(plain | settings))


def test_an_interrupted_run_goes_on_to_the_same_bytes(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    files = make(captions, teacher_folder, tmp_path / "out")
    whole = contents(tmp_path / "out")
    assert [file.stem for file in files] == NAMES
    assert len(set(whole.values())) == 5
    assert soundfile.info(files[0]).subtype == "PCM_16"
    assert soundfile.info(files[0]).frames == NUM_SAMPLES

    (tmp_path / "out" / "b.wav").unlink()  # its neighbour in the batch is there
    (tmp_path / "out" / "e.wav").write_bytes(b"")  # as a machine that failed may leave it
    kept = files[0].stat().st_mtime_ns
    make(captions, teacher_folder, tmp_path / "out")
    assert contents(tmp_path / "out") == whole
    assert files[0].stat().st_mtime_ns == kept
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_processes_of_a_launcher_make_what_one_makes(
    launcher: tuple[str, str, str],
    teacher_folder: Path,
    captions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(captions, teacher_folder, tmp_path / "one")
    monkeypatch.setenv(launcher[1], "2")
    monkeypatch.setenv(launcher[0], "1")
    make(captions, teacher_folder, tmp_path / "two")
    assert list(contents(tmp_path / "two")) == ["c.wav", "d.wav"]  # the second of three batches
    with pytest.raises(ConfigurationError, match="devices=2"):
        make(captions, teacher_folder, tmp_path / "two", devices=2)
    monkeypatch.setenv(launcher[0], "0")
    make(captions, teacher_folder, tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.long
def test_processes_of_our_own_make_what_one_makes(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    make(captions, teacher_folder, tmp_path / "one")
    make(captions, teacher_folder, tmp_path / "two", devices=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_noise_depends_on_the_clips_name_alone(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    make(captions, teacher_folder, tmp_path / "all", batch_size=1)
    captions.write_text("id,caption\nd,a long caption of many words\na,rain\nz,rain\n")
    make(captions, teacher_folder, tmp_path / "some", batch_size=1)
    every, some = contents(tmp_path / "all"), contents(tmp_path / "some")
    assert some["a.wav"] == every["a.wav"]
    assert some["d.wav"] == every["d.wav"]
    assert some["z.wav"] != every["a.wav"]


def test_several_sounds_of_a_clip_are_sets_with_its_name(captions: Path, teacher_folder: Path, tmp_path: Path) -> None:
    make(captions, teacher_folder, tmp_path / "out", all_captions=True, num_samples=2)
    made = contents(tmp_path / "out")
    everyone, few = [f"{name}.wav" for name in NAMES], ["a.wav", "b.wav"]
    assert sorted(made) == [*(f"{k}/{n}" for k in (0, 1) for n in everyone), *(f"{k}/{n}" for k in (2, 3) for n in few)]
    assert len(set(made.values())) == len(made)
    assert [len(read_clips(tmp_path / "out" / str(number) / "captions.csv")) for number in range(4)] == [5, 5, 2, 2]
    assert read_clips(tmp_path / "out" / "3" / "captions.csv") == {"a": ["water"], "b": ["bark"]}
    make(captions, teacher_folder, tmp_path / "first", batch_size=8)
    rows = list(csv.DictReader((tmp_path / "first" / "captions.csv").open()))
    assert rows[:2] == [{"file": "a.wav", "caption": "rain"}, {"file": "b.wav", "caption": "a dog barks"}]


def test_other_settings_are_refused_or_begin_anew(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    sounds, output = sounds_of(captions), tmp_path / "out"

    def generate_by(request: SamplingConfig, **options: bool) -> None:
        fill([Folder(output, request, sounds)], str(teacher_folder), 2, "cpu", **options)

    generate_by(SamplingConfig(steps=1))
    first = contents(output)
    manifest = json.loads((output / "generation.json").read_text())
    assert manifest["weights"] == weights_sha256(TextToAudioPipeline.from_pretrained(teacher_folder))
    with pytest.raises(DataError, match=r"guidance_scale 3\.0 .* 4\.0, seed 0 .* 1"):
        generate_by(SamplingConfig(4.0, 1, seed=1))
    assert contents(output) == first
    (output / "mine.wav").touch()
    generate_by(SamplingConfig(steps=1), overwrite=True)  # nothing is other
    generate_by(SamplingConfig(4.0, 1), overwrite=True)
    again = contents(output)
    assert again.pop("mine.wav") == b""
    assert not set(again.values()) & set(first.values())
    captions.write_text("id,caption\na,thunder\n")
    with pytest.raises(DataError, match=r"5 .* 1"):
        make(captions, teacher_folder, output, guidance_scale=4.0)
    make(captions, teacher_folder, output, guidance_scale=4.0, overwrite=True)
    assert list(contents(output)) == ["a.wav", "mine.wav"]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_manifest_is_refused_or_overwritten(
    content: str, teacher_folder: Path, captions: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    files = generate([], str(teacher_folder), output, captions=captions, steps=1, device="cpu")
    made = files[0].read_bytes()
    (output / "generation.json").write_text(content)
    with pytest.raises(DataError, match=r"generation\.json"):
        generate([], str(teacher_folder), output, captions=captions, steps=1, device="cpu")
    generate([], str(teacher_folder), output, captions=captions, steps=1, device="cpu", overwrite=True)
    assert json.loads((output / "generation.json").read_text())["steps"] == 1
    assert files[0].read_bytes() == made


def test_the_number_format_is_a_setting(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    make(captions, teacher_folder, output, dtype="bfloat16")
    manifest = json.loads((output / "generation.json").read_text())
    assert manifest["dtype"] == "bfloat16"
    assert manifest["weights"] == weights_sha256(TextToAudioPipeline.from_pretrained(teacher_folder))
    with pytest.raises(DataError, match=r"bfloat16 .* float32"):
        make(captions, teacher_folder, output, dtype="float32")
    whole = contents(output)
    (output / "a.wav").unlink()
    make(captions, teacher_folder, output)  # auto goes on as the folder began
    assert contents(output) == whole

    make(captions, teacher_folder, tmp_path / "float32", dtype="float32")
    exact = contents(tmp_path / "float32")
    assert exact != whole
    manifest = json.loads((tmp_path / "float32" / "generation.json").read_text())
    del manifest["dtype"]  # as an earlier version wrote it
    (tmp_path / "float32" / "generation.json").write_text(json.dumps(manifest))
    (tmp_path / "float32" / "a.wav").unlink()
    make(captions, teacher_folder, tmp_path / "float32")
    assert contents(tmp_path / "float32") == exact


def test_other_weights_are_refused(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    make(captions, teacher_folder, tmp_path / "out")
    pipeline = TextToAudioPipeline.from_pretrained(teacher_folder)
    pipeline.save_pretrained(tmp_path / "copy")
    make(captions, tmp_path / "copy", tmp_path / "out")  # the same model elsewhere
    with torch.no_grad():
        pipeline.vae.decoder.conv_out.bias += 1e-3
    pipeline.save_pretrained(tmp_path / "other")
    with pytest.raises(DataError, match="weights"):
        make(captions, tmp_path / "other", tmp_path / "out")


def test_sounds_of_unknown_origin_are_refused(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "c.wav").touch()
    with pytest.raises(DataError, match=r"c\.wav"):
        make(captions, teacher_folder, output)
    make(captions, teacher_folder, output, overwrite=True)
    assert soundfile.info(output / "c.wav").frames == NUM_SAMPLES


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_caption_file_is_not_replaced_by_that_of_the_sounds(
    overwrite: bool, teacher_folder: Path, captions: Path
) -> None:
    before = captions.read_text()
    with pytest.raises(DataError, match=r"captions\.csv exists"):
        make(captions, teacher_folder, captions.parent, overwrite=overwrite)
    assert captions.read_text() == before
    assert not contents(captions.parent)


def test_a_run_that_ended_before_its_manifest_goes_on(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_tables(Folder(output, SamplingConfig(steps=1), sounds_of(captions)))
    make(captions, teacher_folder, output)
    assert len(contents(output)) == len(NAMES)


def test_only_files_of_the_folder_are_removed(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "out", tmp_path / "other.wav"
    output.mkdir()
    other.touch()
    (output / "old.wav").touch()
    (output / "generation.json").write_text("{}")
    (output / "captions.csv").write_text("file,caption\n../other.wav,x\nold.wav,x\n,x\n")
    make(captions, teacher_folder, output, overwrite=True)
    assert other.exists()
    assert [Path(name).stem for name in contents(output)] == NAMES


def test_a_grid_is_known_by_its_settings(teacher_folder: Path, captions: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    make(captions, teacher_folder, output, steps=3, grid=KarrasGrid(7.0))
    assert json.loads((output / "generation.json").read_text())["grid"] == "KarrasGrid(rho=7.0)"
    make(captions, teacher_folder, output, steps=3, grid=KarrasGrid(7.0))
    with pytest.raises(DataError, match=r"rho=1\.0"):
        make(captions, teacher_folder, output, steps=3, grid=KarrasGrid(1.0))


def test_another_sampler_is_refused_and_a_folder_that_names_none_is_not(
    teacher_folder: Path, captions: Path, tmp_path: Path
) -> None:
    pipeline, output = TextToAudioPipeline.from_pretrained(teacher_folder), tmp_path / "out"
    make(captions, teacher_folder, output)
    pipeline.use_sampler(ODESampler(50, "Heun"))
    pipeline.save_pretrained(tmp_path / "heun")
    with pytest.raises(DataError, match="Heun"):
        make(captions, tmp_path / "heun", output)
    manifest = json.loads((output / "generation.json").read_text())
    del manifest["sampler"]
    (output / "generation.json").write_text(json.dumps(manifest))
    make(captions, teacher_folder, output)
    assert json.loads((output / "generation.json").read_text())["sampler"]["class"] == "ODESampler"


def test_stereo_sounds_are_stereo_files(tmp_path: Path) -> None:
    waveform = torch.rand(2, 300) - 0.5
    write_sound(tmp_path / "a.wav", waveform, 44100)
    written, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 44100
    np.testing.assert_allclose(written, waveform.T.numpy(), atol=2**-15)
