"""Latents that a teacher makes once, before a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from consistency_tta.cli import main
from consistency_tta.contracts import LatentSource
from consistency_tta.datamodules import GeneratedLatentsDataModule
from consistency_tta.datamodules.latents_dataset import LatentsDataset
from consistency_tta.pipeline import TextToAudioPipeline


def test_a_student_is_distilled_from_the_teacher_alone(teacher_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a tone\n\nnoise\na low tone\n")
    source = [
        "--data.source",
        "consistency_tta.generation.teacher_samples.TeacherSamples",
        "--data.source.model",
        str(teacher_folder),
    ]
    arguments = [
        *(
            "fit",
            "--model",
            "Distillation",
            "--model.objective",
            "ConsistencyDistillation",
            "--model.teacher",
            str(teacher_folder),
        ),
        *(
            "--model.losses",
            "{latent: {class_path: LatentL2Loss}}",
            "--trainer.default_root_dir",
            str(tmp_path / "run"),
        ),
        *("--data", "GeneratedLatentsDataModule", *source, "--data.source.num_inference_steps", "4"),
        *("--data.captions", str(tmp_path / "captions.txt"), "--data.train_folder", str(tmp_path / "samples")),
        *("--data.copies", "2", "--data.batch_size", "3", "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"),
    ]
    main(arguments)
    dataset = LatentsDataset(tmp_path / "samples")
    assert [dataset[index][1] for index in range(6)] == ["a tone", "noise", "a low tone"] * 2
    assert not torch.equal(dataset[0][0], dataset[3][0])  # another copy, another noise
    codec = TextToAudioPipeline.from_pretrained(teacher_folder)
    generator = torch.Generator().manual_seed(0)
    expected, _ = codec.sample(["a tone", "noise", "a low tone"], 3.0, 4, generator=generator)
    got = codec.codec.moments_to_latent(torch.stack([dataset[index][0] for index in range(3)]), torch.randn(3, 4, 8, 4))
    torch.testing.assert_close(got, expected, atol=2e-2, rtol=2e-3)  # stored in float16, and a point
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "samples").iterdir()}
    main(arguments)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "samples").iterdir()} == made


class CountsCalls(LatentSource):
    calls = 0

    def __call__(self, captions: Sequence[str], seed: int) -> torch.Tensor:
        self.calls += 1
        return torch.zeros(len(captions), 8, 8, 4)


@pytest.mark.parametrize(("node_rank", "calls"), [(0, 2), (1, 0)])
def test_one_node_makes_the_latents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node_rank: int, calls: int
) -> None:
    monkeypatch.setattr(pl.Trainer, "node_rank", node_rank)
    (tmp_path / "captions.txt").write_text("a tone\n")
    source = CountsCalls()
    data = GeneratedLatentsDataModule(source, str(tmp_path / "captions.txt"), str(tmp_path / "made"), copies=2)

    class Stop(Exception):  # noqa: N818 - the end of the test
        pass

    def setup(stage: str | None = None) -> None:
        raise Stop

    monkeypatch.setattr(data, "setup", setup)
    with pytest.raises(Stop):
        pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).fit(BoringModel(), data)
    assert source.calls == calls


def test_captions_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        GeneratedLatentsDataModule(CountsCalls(), str(tmp_path / "none.txt"), str(tmp_path))
