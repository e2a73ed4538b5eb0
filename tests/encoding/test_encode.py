"""Folders of encoded clips: complete, exact, resumable, shared out, and refused where they do not go together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.contracts import Conditioning
from consistency_tta.datamodules import LatentsDataModule, SyntheticDataModule
from consistency_tta.datamodules.latents_dataset import LatentsDataset
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.sample import sample_diffusion
from consistency_tta.diffusion.solve import Heun
from consistency_tta.encode import encode
from consistency_tta.encoding.trajectories import TeacherConfig
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.guided import guided
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.toy_encoder import ToyEncoder
from tests.toys import NUM_SAMPLES

CHECKSUM = "c" * 64


class Embedder(ToyEncoder):
    checksum = CHECKSUM


def data(**settings: Any) -> SyntheticDataModule:
    return SyntheticDataModule(**({"num_clips": 7, "batch_size": 2, "num_samples": NUM_SAMPLES} | settings))


def contents(folder: Path) -> dict[str, Any]:
    """All files, without the time in the manifest."""
    files: dict[str, Any] = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    files["encoding.json"] = json.loads(files["encoding.json"]) | {"begun": None}
    return files


@pytest.fixture(scope="module")
def all_contents(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two copies of seven clips in shards of four, with everything that can be encoded."""
    folder = tmp_path_factory.mktemp("encoded") / "all"
    encode(data(), str(teacher_folder), folder, copies=2, shard_size=4, device="cpu", **everything())
    return folder


def everything() -> dict[str, Any]:
    teacher = TeacherConfig(guidance_scale=(1.0, 5.0), seed=3)
    return {"text_embeddings": True, "audio_encoder": Embedder(), "trajectories": 3, "teacher": teacher}


def test_every_clip_is_encoded_once_in_each_copy(all_contents: Path) -> None:
    dataset = LatentsDataset(all_contents)
    ids = [dataset[index].id for index in range(len(dataset))]
    assert len(set(ids[:7])) == 7
    assert sorted(ids[:7]) == sorted(ids[7:])
    assert ids[:7] != ids[7:]
    assert len(list(all_contents.glob("latents-*"))) == 4


def test_captions_are_embedded_without_padding(all_contents: Path, teacher_folder: Path) -> None:
    dataset, text = LatentsDataset(all_contents), TextToAudioPipeline.from_pretrained(teacher_folder).text.eval()
    for index in (0, 5, 13):
        clip = dataset[index]
        with torch.no_grad():
            torch.testing.assert_close(clip.text, text([clip.caption]).embedding[0], atol=2e-3, rtol=2e-3)
    batch = LatentsDataModule.collate([dataset[index] for index in range(7)])
    with torch.no_grad():
        expected = text(batch.captions)
    assert torch.equal(batch.text.mask, expected.mask)


def test_recordings_are_embedded(all_contents: Path) -> None:
    source, dataset = data(), LatentsDataset(all_contents)
    source.setup("fit")
    waveforms = {name: waveform for waveform, _, name in (source.train_dataset[index] for index in range(7))}
    batch = LatentsDataModule.collate([dataset[0], dataset[8]])
    expected = Embedder().embed(torch.stack([waveforms[name] for name in batch.ids]), source.sample_rate)
    torch.testing.assert_close(batch.audio_embeddings[CHECKSUM], expected)


def test_trajectories_lead_from_their_noise_to_what_the_teacher_samples(
    all_contents: Path, teacher_folder: Path
) -> None:
    dataset = LatentsDataset(all_contents)
    batch = LatentsDataModule.collate([dataset[index] for index in (0, 6, 9)])
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    solved = batch.trajectory
    with torch.no_grad():
        conditioning = Conditioning(teacher.text.eval()(batch.captions), solved.guidance_scale)
        denoiser = guided(teacher).eval()
        times = UniformGrid()(denoiser.schedule, 3)
        expected = sample_diffusion(denoiser, Heun(), times, solved.noise, conditioning)
    torch.testing.assert_close(solved.latent, expected, atol=5e-3, rtol=5e-3)  # stored in half precision
    assert solved.guidance_scale.unique().numel() == 3
    assert 1 <= float(solved.guidance_scale.min()) <= float(solved.guidance_scale.max()) <= 5
    noise = torch.stack([dataset[index].trajectory[0] for index in range(14)])
    assert noise.mean().abs() < 0.1
    assert abs(float(noise.std()) - 1) < 0.1
    assert len({float(each.sum()) for each in noise}) == 14


@pytest.mark.parametrize("processes", [1, 3])
def test_a_run_goes_on_to_the_same_files(
    processes: int, all_contents: Path, teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between two files of a shard, in one process, and shared out over three."""
    for file in (*all_contents.glob("*-0001*"), all_contents / "encoding.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "captions-0002.jsonl").write_text("half a li")
    with pytest.raises(DataError, match="1 of 4"):
        LatentsDataset(tmp_path)
    for rank in range(processes):
        if processes > 1:
            for name, value in (("RANK", rank), ("WORLD_SIZE", processes), ("LOCAL_RANK", rank)):
                monkeypatch.setenv(name, str(value))
        encode(data(), str(teacher_folder), tmp_path, copies=2, shard_size=4, device="cpu", **everything())
    assert contents(tmp_path) == contents(all_contents)


@pytest.mark.parametrize(
    "other",
    [{"copies": 1}, {"trajectories": 2}, {"data": data(seed=4)}],
    ids=lambda other: next(iter(other)),
)
def test_another_command_is_refused(other: dict[str, Any], all_contents: Path, teacher_folder: Path) -> None:
    before = contents(all_contents)
    settings: dict[str, Any] = {"data": data(), "copies": 2, "shard_size": 4, **everything()}
    with pytest.raises(DataError, match=str(all_contents)):
        encode(model=str(teacher_folder), output=all_contents, device="cpu", **(settings | other))
    assert contents(all_contents) == before


@pytest.mark.long
def test_processes_of_the_command_write_the_same_files(
    all_contents: Path, teacher_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    encode(data(), str(teacher_folder), tmp_path, copies=2, shard_size=4, device="cpu", devices=2, **everything())
    assert contents(tmp_path) == contents(all_contents)
    said = capfd.readouterr().out
    assert "process 1 of 2: 2 of 4" in said
    assert "process 2 of 2: 2 of 4" in said


def test_others_may_read_the_files(all_contents: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert {file.stat().st_mode & 0o777 for file in all_contents.iterdir()} == {0o666 & ~umask}


def test_numbers_that_cannot_be_right_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"shard_size": 0},
        {"devices": 0},
        {"trajectories": -1},
        {"audio_encoder": ToyEncoder()},
    ]
    wrong.append({"trajectories": 2, "teacher": TeacherConfig(guidance_scale=(3.0, 1.0))})
    for settings in wrong:
        with pytest.raises(ConfigurationError):
            encode(data(), str(teacher_folder), tmp_path / "new", device="cpu", **settings)
    assert not (tmp_path / "new").exists()


def test_latents_of_an_unknown_command_are_not_added_to(
    all_contents: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    for file in all_contents.glob("*-0000*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=r"encoding\.json"):
        encode(data(), str(teacher_folder), tmp_path, device="cpu")


def test_the_manifest_names_the_networks(all_contents: Path, teacher_folder: Path) -> None:
    manifest = json.loads((all_contents / "encoding.json").read_text())
    assert (
        manifest["codec"]["model"] == manifest["text"]["model"] == manifest["teacher"]["model"] == str(teacher_folder)
    )
    assert manifest["audio"]["sha256"] == CHECKSUM
    assert (manifest["teacher"]["steps"], manifest["teacher"]["guidance_scale"]) == (3, [1.0, 5.0])


@pytest.mark.parametrize("change", [lambda data: setattr(data, "batch_size", 3), lambda data: setattr(data, "seed", 9)])
def test_what_changes_the_data_changes_the_command(change: Callable[[Any], None]) -> None:
    from consistency_tta.encoding.order import data_settings

    one, other = data(), data()
    change(other)
    assert data_settings(one) == data_settings(data(num_workers=2))
    assert data_settings(one) != data_settings(other)
