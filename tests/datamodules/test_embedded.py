"""Clips in tar files and tables are the clips of a folder: the same batches, shares of processes and resumed runs."""

import io
import json
import tarfile
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace

import datasets
import lightning.pytorch as pl
import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from consistency_tta.audio.sound_file import BadClip, Fault
from consistency_tta.contracts import Batch
from consistency_tta.datamodules import AudioCapsDataModule, HuggingFaceDataModule, WebDatasetDataModule
from consistency_tta.datamodules.embedded_times import times_of
from consistency_tta.datamodules.recordings import RecordingsDataModule
from consistency_tta.datamodules.tar_shards import read_shards
from consistency_tta.runtime.errors import ConfigurationError, DataError

CLIPS = 12
SOURCES = ["tar", "saved", "parquet", "folder of sounds"]


def sound(index: int, kind: str = "WAV", samples: int = 3000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(0.02 * (index + 1) * np.arange(1, samples + 1)), 8000, format=kind)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips c0, c1, ... in a folder, in tar files, as a saved table, as parquet and as a folder of sounds."""
    root = tmp_path_factory.mktemp("clips")
    captions = [f"Sound {index}" for index in range(CLIPS)]
    (root / "sounds").mkdir()
    for index in range(CLIPS):
        (root / "sounds" / f"c{index}.wav").write_bytes(sound(index))
    rows = "".join(f"c{index}.wav,{caption}\n" for index, caption in enumerate(captions))
    (root / "sounds" / "metadata.csv").write_text("file_name,caption\n" + rows)
    for shard in range(3):
        own = range(shard * 4, shard * 4 + 4)
        members = {f"c{i}.wav": sound(i) for i in own} | {f"c{i}.txt": captions[i].encode() for i in own}
        write_tar(root / f"clips-{shard}.tar", members)
    table = datasets.Dataset.from_dict(
        {
            "audio": [{"bytes": sound(index), "path": f"c{index}.wav"} for index in range(CLIPS)],
            "caption": captions,
            "name": [f"c{index}" for index in range(CLIPS)],
        }
    ).cast_column("audio", datasets.Audio())
    datasets.DatasetDict(train=table, validation=table.select(range(2))).save_to_disk(root / "saved")
    (root / "parquet").mkdir()
    table.to_parquet(root / "parquet" / "train.parquet")
    return root


@pytest.fixture(autouse=True)
def own_cache(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", stored / "cache")


def module(stored: Path, source: str, **options) -> RecordingsDataModule:
    options = {"sample_rate": 8000, "num_samples": 2000, "batch_size": 2, "seed": 5, "min_seconds": 0.1, **options}
    match source:
        case "audiocaps":
            folder = stored / "sounds"
            return AudioCapsDataModule(str(folder), train_captions=str(folder / "metadata.csv"), **options)
        case "tar":
            return WebDatasetDataModule(str(stored / "clips-*.tar"), **options)
        case "folder of sounds":
            return HuggingFaceDataModule(str(stored / "sounds"), id_column="file_name", **options)
    return HuggingFaceDataModule(str(stored / source), id_column="name", **options)


def contents(batches: list[Batch]) -> list[tuple[list[str], list[str], list[float]]]:
    names = [[name.removesuffix(".wav").replace(".wav+", "+") for name in batch.ids] for batch in batches]
    return [(name, batch.captions, batch.waveform.tolist()) for name, batch in zip(names, batches, strict=True)]


@pytest.mark.parametrize("source", SOURCES)
def test_batches_are_those_of_a_folder(stored: Path, source: str) -> None:
    expected, data = (module(stored, name, pair_mixing=0.5) for name in ("audiocaps", source))
    expected.setup("fit")
    data.prepare_data()
    data.setup("fit")
    assert contents(list(data.train_dataloader())) == contents(list(expected.train_dataloader()))


@pytest.mark.parametrize("source", ["tar", "saved"])
def test_two_processes_share_out_all_clips(stored: Path, source: str) -> None:
    seen = []
    for rank in range(2):
        data = module(stored, source)
        strategy = SimpleNamespace(broadcast=lambda findings: findings)
        data.trainer = SimpleNamespace(
            world_size=2, global_rank=rank, is_global_zero=rank == 0, training=False, strategy=strategy
        )
        data.setup("fit")
        seen.append([name for batch in data.train_dataloader() for name in batch.ids])
    assert len(seen[0]) == len(seen[1]) == CLIPS / 2
    assert {*seen[0], *seen[1]} == {f"c{index}" for index in range(CLIPS)}


class Recorder(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Batch] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch)
        return self.weight * batch.waveform.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("source", ["tar", "saved"])
def test_a_resumed_run_sees_the_same_batches(stored: Path, tmp_path: Path, source: str) -> None:
    def fit(resume: Path | None = None) -> list[Batch]:
        recorder, saved = Recorder(), ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=4)
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=False,
            callbacks=[] if resume else [saved],
            enable_checkpointing=resume is None,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(recorder, module(stored, source, pair_mixing=0.5), ckpt_path=resume)
        return recorder.seen

    straight = fit()
    assert contents(fit(tmp_path / "step=8.ckpt")) == contents(straight[8:])  # inside the second epoch


def test_a_bad_sound_is_replaced_or_named(tmp_path: Path) -> None:
    members = {f"a/c{i}.flac": sound(i, "FLAC") if i else b"no sound" for i in range(3)}
    members |= {f"a/c{i}.json": json.dumps({"text": [f"Sound {i}", "again"]}).encode() for i in range(3)}
    write_tar(tmp_path / "x.tar", members)
    options = {"sample_rate": 8000, "num_samples": 2000, "batch_size": 3, "min_seconds": 0.1}
    data = WebDatasetDataModule(str(tmp_path), **options)
    data.setup("fit")
    assert [clip.captions for clip in data.train_dataset.clips] == [[f"Sound {i}", "again"] for i in range(3)]
    (batch,) = data.train_dataloader()
    assert set(batch.ids) == {"a_c1", "a_c2"}
    data = WebDatasetDataModule(str(tmp_path), bad_clips="fail", **options)
    data.setup("fit")
    with pytest.raises(BadClip, match=r"x\.tar/a/c0\.flac"):
        data.train_dataset[0]


@pytest.mark.parametrize(
    ("members", "mode", "named"),
    [
        ({"a.wav": sound(0)}, "w", r"a\.json"),
        ({"a.wav": sound(0), "a.json": b'{"label": 3}'}, "w", r"a\.json"),
        ({"a.wav": sound(0), "a.txt": b"nan"}, "w", "nan"),
        ({"a.wav": sound(0), "a.txt": b"\xff\xfe"}, "w", r"a\.txt"),
        ({"a.wav": sound(0), "a.txt": b"Sound"}, "w:gz", r"x\.tar"),
        ({"a.txt": b"Sound"}, "w", r"x\.tar"),
        ({"a_30.000.wav": sound(0), "a_30.000.txt": b"Sound"}, "w", r"x\.tar"),
    ],
)
def test_shards_that_cannot_be_used_are_named(tmp_path: Path, members: dict, mode: str, named: str) -> None:
    write_tar(tmp_path / "x.tar", members, mode)
    with pytest.raises(DataError, match=named):
        WebDatasetDataModule(str(tmp_path / "x.tar")).setup("fit")


def test_sounds_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tar(tmp_path / "x.tar", {"a.wav": sound(0), "a.txt": b"Sound", "b.5.wav": sound(1)})
    assert [clip.id for clip in read_shards(str(tmp_path / "x.tar"))] == ["a"]
    assert "b.5.wav" in caplog.text


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    header = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(2**60)}  # which is in the file, and which it stands for
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.txt")
        member.size, member.pax_headers = 1, header
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(DataError, match=r"a\.txt"):
        read_shards(str(tmp_path / "x.tar"))


def test_shards_that_do_not_exist_are_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"no-\*\.tar"):
        WebDatasetDataModule("no-*.tar").setup("fit")


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"train_split": "half"}, ConfigurationError, "half"),
        ({"caption_column": "words"}, ConfigurationError, "words"),
        ({"path": "nowhere"}, DataError, "nowhere"),
    ],
)
def test_tables_that_do_not_fit_are_named(stored: Path, options: dict, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        HuggingFaceDataModule(**{"path": str(stored / "saved"), **options}).setup("fit")


@pytest.mark.parametrize("file", ["", "1"])
def test_a_row_without_the_name_of_a_file_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "metadata.csv").write_text(f"file_name,caption\n{file},A dog barks\n")
    with pytest.raises(DataError, match=r"metadata\.csv"):
        HuggingFaceDataModule(str(tmp_path)).setup("fit")


def test_a_column_of_something_else_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"number": [3], "caption": ["A dog barks"]}).save_to_disk(tmp_path)
    with pytest.raises(ConfigurationError, match="number"):
        HuggingFaceDataModule(str(tmp_path), audio_column="number").setup("fit")


#: Keys next to a sound of 1 s, and the words for it if its captions are of a part.
TIMES = [
    ({}, ""),
    ({"start_time": 0}, ""),
    ({"start_time": None, "end_time": "nan"}, ""),
    ({"start_time": 0, "end_time": 1.05}, ""),
    ({"start_time": 30, "end_time": 31}, ""),  # of what the sound was cut from
    ({"start_time": 30}, ""),
    ({"youtube_id": "abcdefghijk", "start_time": 0.5}, ""),
    ({"video_id": "abcdefghijk", "start_time": 0.5}, ""),
    ({"onset": [0.2, 0.5], "offset": [0.4, 0.8]}, ""),  # of events
    ({"start_time": 0.2, "end_time": 0.6}, "0.2 s to 0.6 s of this sound of 1.00 s"),
    ({"Start Time": "0.2", "end": "0.6"}, "0.2 s to 0.6 s"),
    ({"start": 0.5}, "0.5 s to its end"),
    ({"offset": 0.25, "duration": 0.5}, "0.25 s to 0.75 s"),
    ({"start_time": 200, "end_time": 600}, "write times in seconds"),
]


@pytest.mark.parametrize("source", ["tar", "tar with text", "parquet"])
@pytest.mark.parametrize(("keys", "said"), TIMES, ids=[str(keys) for keys, _ in TIMES])
def test_captions_of_parts_are_refused_by_name(source: str, keys: dict, said: str, tmp_path: Path) -> None:
    options = {"sample_rate": 8000, "num_samples": 2000, "bad_clips": "fail", "train_split": None}
    if source == "parquet":
        row = {"audio": {"bytes": sound(0, samples=8000), "path": None}, "caption": "A tone", **keys}
        datasets.Dataset.from_list([row]).to_parquet(tmp_path / "a.parquet")
        data = HuggingFaceDataModule(str(tmp_path / "a.parquet"), test_split="train", **options)
    else:
        caption = {"caption": "A tone"} if source == "tar" else {}
        members = {"a.wav": sound(0, samples=8000), "a.json": json.dumps(caption | keys).encode()}
        write_tar(tmp_path / "a.tar", members | ({} if caption else {"a.txt": b"A tone"}))
        options.pop("train_split")
        data = WebDatasetDataModule(test_shards=str(tmp_path / "a.tar"), **options)
    data.setup("test")
    if not said:
        assert data.test_dataset[0].caption == "A tone"
        return
    with pytest.raises(BadClip, match=said) as caught:
        data.test_dataset[0]
    assert caught.value.fault == Fault.MISSING


@pytest.mark.parametrize("value", [[0.5], {"a": 1}, date(2026, 1, 1), datetime(2026, 1, 1, 12)])
def test_what_is_of_another_type_is_no_time(value: object) -> None:
    assert times_of({"start": value}, "row 0") is None


@pytest.mark.parametrize("keys", [{"start_time": "half"}, {"start_time": 2, "end_time": 1}])
def test_times_that_are_none_are_named(keys: dict, tmp_path: Path) -> None:
    entry = {"caption": "A tone", **keys}
    write_tar(tmp_path / "a.tar", {"a.wav": sound(0), "a.json": json.dumps(entry).encode()})
    with pytest.raises(DataError, match=r"a\.json"):
        read_shards(str(tmp_path / "a.tar"))
