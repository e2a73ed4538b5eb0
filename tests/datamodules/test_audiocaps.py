import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.audio.sound_file import BadClip
from consistency_tta.cli.user_errors import one_line_errors
from consistency_tta.contracts import Batch
from consistency_tta.datamodules.audio_dataset import AudioDataset
from consistency_tta.datamodules.audiocaps import AudioCapsDataModule
from consistency_tta.datamodules.clips import Clip
from consistency_tta.runtime.errors import ConfigurationError, DataError

HEADER = "audiocap_id,youtube_id,start_time,caption\n"


def spectrum_peak(waveform: torch.Tensor) -> int:
    """In Hz, for 1 s at 16 kHz."""
    return int(torch.fft.rfft(waveform[:16000]).abs().argmax())


@pytest.fixture
def clips(write_tone) -> list[Clip]:
    """Clip i is 2 s of a tone of 100 (i + 1) Hz that has three captions."""
    return [
        Clip(
            f"c{i}",
            write_tone(f"c{i}.wav", frequency=100 * (i + 1), seconds=2),
            [f"Tone {i}, take {k}" for k in range(3)],
        )
        for i in range(8)
    ]


def dataset(clips: list[Clip], **options) -> AudioDataset:
    return AudioDataset(clips, **{"sample_rate": 16000, "num_samples": 16000, "training": True, **options})


def test_an_example_is_a_function_of_epoch_and_index(clips: list[Clip]) -> None:
    one, two = dataset(clips, pair_mixing=0.5), dataset(clips, pair_mixing=0.5)
    keys = [(epoch, index) for epoch in range(3) for index in range(8)]
    forwards = [one[key] for key in keys]
    backwards = [two[key] for key in reversed(keys)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert (a.caption, a.id) == (b.caption, b.id)
        assert torch.equal(a.waveform, b.waveform)


def test_stereo_examples_are_mixed_in_both_channels(write_tone) -> None:
    clips = [Clip(f"c{i}", write_tone(f"c{i}.wav", 100 * (i + 1), 2, 44100, channels=2), ["a"]) for i in range(4)]
    example = dataset(clips, sample_rate=44100, num_samples=44100, pair_mixing=1.0, channels=2)[0]
    assert example.waveform.shape == (2, 44100)
    assert example.waveform.abs().max().item() == pytest.approx(0.5)
    assert torch.equal(example.waveform[0], example.waveform[1])
    mono = dataset(clips, sample_rate=44100, num_samples=44100, pair_mixing=1.0)[0]
    torch.testing.assert_close(example.waveform[0], mono.waveform)


def test_seeds_and_epochs_draw_differently(clips: list[Clip]) -> None:
    def draws(seed: int, epoch: int) -> list[str]:
        data = dataset(clips, seed=seed)
        return [data[epoch, index].caption for index in range(8)]

    assert draws(0, 0) != draws(0, 1)
    assert draws(0, 0) != draws(1, 0)


def test_training_uses_every_caption_and_part(clips: list[Clip]) -> None:
    data = dataset(clips)
    examples = [data[epoch, 4] for epoch in range(30)]
    assert {example.caption for example in examples} == set(clips[4].captions)
    assert len({tuple(example.waveform[:50].tolist()) for example in examples}) > 10
    assert {spectrum_peak(example.waveform) for example in examples} == {500}


def test_evaluation_is_the_first_caption_and_the_beginning(clips: list[Clip]) -> None:
    data = dataset(clips, training=False, pair_mixing=1.0)
    for index in range(8):
        example = data[index]
        assert (example.id, example.caption) == (f"c{index}", f"Tone {index}, take 0")
        assert abs(example.waveform[0].item()) < 1e-3, "the tone begins with a zero crossing"


def test_pair_mixing(clips: list[Clip]) -> None:
    data = dataset(clips, pair_mixing=1.0)
    partners = set()
    for epoch in range(20):
        example = data[epoch, 2]
        first, second = (int(name[1:]) for name in example.id.split("+"))
        assert first == 2
        assert second != 2
        partners.add(second)
        assert example.caption.startswith("Tone 2, take ")
        assert f" and tone {second}, take " in example.caption
        strongest = torch.fft.rfft(example.waveform).abs().topk(2).indices.tolist()
        assert sorted(strongest) == sorted([300, 100 * (second + 1)])
        assert example.waveform.abs().max().item() == pytest.approx(0.5)
    assert len(partners) > 4


def test_pair_mixing_probability(clips: list[Clip]) -> None:
    data = dataset(clips, pair_mixing=1 / 3, num_samples=100)
    mixed = sum("+" in data[epoch, index].id for epoch in range(50) for index in range(8))
    assert 100 < mixed < 170  # 133 +- 9.4


def test_a_bad_clip_is_replaced_and_told_once(clips: list[Clip], write_tone, caplog: pytest.LogCaptureFixture) -> None:
    write_tone("c3.wav", level=0)
    data = dataset(clips)
    with caplog.at_level(logging.WARNING):
        examples = [data[epoch, 3] for epoch in range(10)]
    assert data.num_bad == 1
    assert [record.getMessage().split(" cannot")[0] for record in caplog.records] == ["clip c3"]
    assert "silent" in caplog.text
    assert "c3" not in {example.id for example in examples}
    assert len({example.id for example in examples}) > 3


@pytest.mark.parametrize(
    ("seconds", "channels", "said"), [(2, 1, "for 1.0 s of its 2.0 s"), (6, 1, "s of its"), (2, 2, "")]
)
def test_channels_that_cancel_in_a_part_are_named_once(
    seconds: int, channels: int, said: str, clips: list[Clip], caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (seconds * 16000, 1))
    other = noise * np.where(np.arange(len(noise)) < len(noise) // 2, 1, -1)[:, None]
    soundfile.write(clips[3].path, np.concatenate([noise, other], axis=1), 16000)
    data = dataset(clips, num_samples=2 * 16000, channels=channels)
    for epoch in range(10):
        data[epoch, 3]
    assert [message.partition(": ")[0] for message in caplog.messages] == [str(clips[3].path)] * bool(said)
    assert said in caplog.text
    assert data.num_bad == 0


def test_replacement_does_not_depend_on_what_is_known(clips: list[Clip], write_tone) -> None:
    write_tone("c3.wav", level=0)
    write_tone("c5.wav", level=0)
    knows, fresh = dataset(clips, pair_mixing=0.5), dataset(clips, pair_mixing=0.5)
    for index in range(8):
        knows[0, index]
    for epoch in range(1, 6):
        expected = fresh[epoch, 3]
        example = knows[epoch, 3]
        assert (example.id, example.caption) == (expected.id, expected.caption)
        assert torch.equal(example.waveform, expected.waveform)


def test_a_clip_with_a_bad_part_stays_in_use(clips: list[Clip]) -> None:
    # Half of what could be cut from clip 3 has a NaN: which half must not decide what comes after.
    samples = 0.3 * np.sin(2 * np.pi * 400 * np.arange(64000) / 16000)
    samples[50000] = np.nan
    soundfile.write(clips[3].path, samples, 16000, subtype="FLOAT")
    used = dataset(clips)
    forwards = [used[epoch, 3].id for epoch in range(20)]
    assert 3 < forwards.count("c3") < 17
    assert used.num_bad == 1
    assert [dataset(clips)[epoch, 3].id for epoch in range(20)] == forwards
    assert [used[epoch, 3].id for epoch in range(20)] == forwards


def test_bad_clips_can_fail(clips: list[Clip], write_tone) -> None:
    write_tone("c3.wav", level=0)
    with pytest.raises(BadClip, match=r"c3\.wav"):
        dataset(clips, bad_clips="fail")[0, 3]
    with pytest.raises(SystemExit, match=r"c3\.wav"), one_line_errors():
        dataset(clips, bad_clips="fail")[0, 3]


def test_nothing_usable_ends(clips: list[Clip], write_tone) -> None:
    for index in range(8):
        write_tone(f"c{index}.wav", level=0)
    with pytest.raises(RuntimeError, match="8 of 8"):
        dataset(clips)[0, 0]


def module(tmp_path: Path, clips: list[Clip], **options) -> AudioCapsDataModule:
    for split, chosen in {"train": clips, "val": clips[:3], "test": clips[3:5]}.items():
        rows = [
            f"{n},{clip.id},0,{caption.replace(',', ';')}" for n, clip in enumerate(chosen) for caption in clip.captions
        ]
        (tmp_path / f"{split}.csv").write_text(HEADER + "\n".join(rows))
    defaults = {f"{split}_captions": str(tmp_path / f"{split}.csv") for split in ("train", "val", "test")}
    return AudioCapsDataModule(
        str(tmp_path / "audio"), **{**defaults, "batch_size": 2, "num_samples": 16000, **options}
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(tmp_path: Path, clips: list[Clip], num_workers: int) -> None:
    data = module(tmp_path, clips, num_workers=num_workers, val_batch_size=2)
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    assert {batch.waveform.shape for batch in batches} == {(2, 16000)}
    assert sorted(name for batch in batches for name in batch.ids) == [f"c{i}" for i in range(8)]
    assert [batch.ids for batch in data.val_dataloader()] == [["c0", "c1"], ["c2"]]
    with pytest.raises(ConfigurationError):
        data.test_dataloader()
    data.setup("test")
    assert [batch.ids for batch in data.test_dataloader()] == [["c3", "c4"]]


def test_workers_change_nothing(tmp_path: Path, clips: list[Clip]) -> None:
    batches = []
    for num_workers in (0, 1, 3):
        data = module(tmp_path, clips, num_workers=num_workers, pair_mixing=0.5, seed=4)
        data.setup("fit")
        batches.append(list(data.train_dataloader()))
    for other in batches[1:]:
        for a, b in zip(batches[0], other, strict=True):
            assert (a.captions, a.ids) == (b.captions, b.ids)
            assert torch.equal(a.waveform, b.waveform)


def test_workers_share_what_is_bad(tmp_path: Path, clips: list[Clip], write_tone) -> None:
    write_tone("c3.wav", level=0)
    data = module(tmp_path, clips, num_workers=2)
    data.setup("fit")
    assert len(list(data.train_dataloader())) == 4
    assert data.train_dataset.num_bad == 1


def test_workers_need_not_be_forked(tmp_path: Path, clips: list[Clip], write_tone) -> None:
    write_tone("c3.wav", level=0)
    data = module(tmp_path, clips, num_workers=1)
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    data.trainer.cannot_be_pickled = lambda: None
    data.setup("fit")
    loader = data.train_dataloader()
    loader.multiprocessing_context = "spawn"
    ids = [name for batch in loader for name in batch.ids]
    assert data.train_dataset.num_bad == 1, "found out by the worker"
    assert ids == [loader.dataset[key].id for key in loader.sampler]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"train_captions": "none.csv"}, r"none\.csv"),
        ({"val_captions": ["none.csv"]}, r"none\.csv"),
        ({"audio_folder": "nowhere"}, "nowhere"),
    ],
)
def test_paths_that_do_not_exist_are_named(
    tmp_path: Path, clips: list[Clip], options: dict[str, Any], named: str
) -> None:
    data = module(tmp_path, clips, **{name: value for name, value in options.items() if name != "audio_folder"})
    data.audio_folder = options.get("audio_folder", data.audio_folder)
    with pytest.raises(FileNotFoundError, match=named):
        data.setup("fit")


def test_bad_headers_are_left_out(tmp_path: Path, clips: list[Clip], caplog: pytest.LogCaptureFixture) -> None:
    clips[1].path.unlink()
    clips[2].path.write_text("no audio")
    data = module(tmp_path, clips)
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert len(data.train_dataset) == 6
    assert "train: 2 of 8 clips cannot be used (1 missing, 1 unreadable)" in caplog.text
    assert len(data.val_dataset) == 1


def test_bad_headers_can_fail(tmp_path: Path, clips: list[Clip]) -> None:
    clips[1].path.unlink()
    with pytest.raises(DataError, match="c1"):
        module(tmp_path, clips, bad_clips="fail").setup("fit")


def test_no_usable_clip_is_an_error(tmp_path: Path, clips: list[Clip]) -> None:
    with pytest.raises(DataError, match="8 of 8"):
        module(tmp_path, clips, min_seconds=5.0).setup("fit")


def test_limit_and_several_caption_files(tmp_path: Path, clips: list[Clip]) -> None:
    data = module(tmp_path, clips, train_captions=[str(tmp_path / "val.csv"), str(tmp_path / "test.csv")])
    data.setup("fit")
    assert [clip.id for clip in data.train_dataset.clips] == ["c0", "c1", "c2", "c3", "c4"]
    data = module(tmp_path, clips, limit=2)
    data.setup()
    assert [len(getattr(data, f"{split}_dataset")) for split in ("train", "val", "test")] == [2, 2, 2]


@pytest.mark.parametrize(
    "options",
    [{"sample_rate": 0}, {"limit": 0}, {"pair_mixing": 1.5}, {"peak": 0}, {"bad_clips": "ignore"}],
)
def test_refuses_impossible_options(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        AudioCapsDataModule("audio", **options)


class RanksWriteIds(pl.LightningModule):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.folder = folder

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        with (self.folder / f"rank{self.global_rank}").open("a") as file:
            file.write(" ".join(batch.ids) + "\n")
        return self.weight * batch.waveform.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`")
def test_two_processes_see_the_steps_of_one(tmp_path: Path, clips: list[Clip]) -> None:
    clips[6].path.unlink()  # what one process finds out, the other must know

    def fit(folder: Path, devices: int) -> list[set[str]]:
        folder.mkdir()
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(RanksWriteIds(folder), module(tmp_path, clips, batch_size=2 // devices))
        lines = [(folder / f"rank{rank}").read_text().splitlines() for rank in range(devices)]
        return [set(" ".join(step).split()) for step in zip(*lines, strict=True)]

    one = fit(tmp_path / "one", 1)
    assert len(one) == 2 * 3
    assert all(len(step) == 2 for step in one)
    assert fit(tmp_path / "two", 2) == one
