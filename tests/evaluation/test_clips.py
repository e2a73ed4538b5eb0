"""Bad input: clips that can be evaluated are, and others are named with the reason."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.audio.sound_file import BadClip, Fault
from consistency_tta.evaluation.clips import is_silent, read_sound
from consistency_tta.evaluation.pairing import find_pairs, numbered
from consistency_tta.evaluation.protocol import AudioSettings
from consistency_tta.evaluation.protocol_file import load_protocol
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.captions import read_clips
from tests.evaluation.cases import RATE, noise, write_protocol, write_sounds

AUDIO = AudioSettings(sample_rate=RATE, resampler="", seconds=0.25, mean_removed=True, peak=None)
HEADER = "audiocap_id,youtube_id,start_time,caption\n"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Protocol, generated sounds, recordings."""
    return write_protocol(tmp_path), write_sounds(tmp_path / "generated"), write_sounds(tmp_path / "reference", seed=1)


def test_pairs_are_matched_by_name(folders: tuple[Path, Path, Path]) -> None:
    protocol, generated, reference = folders
    found = find_pairs(load_protocol(protocol), generated, reference)
    assert [pair.id for pair in found.pairs] == [f"clip{k}" for k in range(6)]
    assert found.pairs[2].generated == generated / "clip2.wav"
    assert found.pairs[2].reference == reference / "clip2.wav"
    assert found.pairs[2].caption == "Noise i number 2"
    assert (found.requested, found.left_out, found.unused, found.other_captions) == (6, [], [], [])


def test_names_of_audiocaps(tmp_path: Path) -> None:
    """``video_start``, ``Yvideo`` and others are names of one clip."""
    generated, reference = write_sounds(tmp_path / "generated"), write_sounds(tmp_path / "reference")
    (generated / "clip0.wav").rename(generated / "clip0_0.wav")
    (reference / "clip0.wav").rename(reference / "Yclip0.wav")
    found = find_pairs(load_protocol(write_protocol(tmp_path)), generated, reference)
    assert (len(found.pairs), found.unused) == (6, [])


def test_clips_are_those_of_the_protocol_whatever_a_caption_file_calls_them(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """As TANGO's and the official ConsistencyTTA's JSON lines do, and the table of a folder that was made of them."""
    protocol, generated, reference = folders
    for folder in (generated, reference):
        for file in list(folder.iterdir()):
            file.rename(folder / f"{file.stem}_0.wav")
    lines = [
        {"location": f"data/audio/clip{k}_0.wav", "captions": f"Noise {letter} number {k}"}
        for k, letter in ((3, "o"), (1, "e"))
    ]
    captions = tmp_path / "captions.json"
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = find_pairs(load_protocol(protocol), generated, reference, captions)
    assert [(pair.id, pair.generated.name) for pair in found.pairs] == [
        ("clip3", "clip3_0.wav"),
        ("clip1", "clip1_0.wav"),
    ]
    assert (found.requested, found.left_out, found.other_captions) == (2, [], [])
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\nclip3_0.wav,Noise o number 3\nYclip3.wav,Again\nclip9_0.wav,Unknown\n")
    found = find_pairs(load_protocol(protocol), generated, reference, table)
    assert [pair.id for pair in found.pairs] == ["clip3"]
    assert [(fault.id, fault.reason) for fault in found.left_out] == [
        ("Yclip3", "duplicate"),
        ("clip9_0", "not in the protocol"),
    ]


def test_the_official_list_of_prompts_is_that_of_its_protocol(tmp_path: Path) -> None:
    """Its first lines, as https://github.com/Bai-YT/ConsistencyTTA has them in data/test_audiocaps_subset.json."""
    captions = tmp_path / "test_audiocaps_subset.json"
    captions.write_text(
        '{"dataset": "audiocaps", "location": "dataset/audiocaps_test_set/7fmOlUlwoNg_20.wav", '
        '"captions": "A machine is making clicking sound as people talk in the background"}\n'
    )
    for name in ("generated", "reference"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "7fmOlUlwoNg_20.wav", noise(0), RATE)
    found = find_pairs(load_protocol("audiocaps-882"), tmp_path / "generated", tmp_path / "reference", captions)
    assert [pair.id for pair in found.pairs] == ["7fmOlUlwoNg"]
    assert found.other_captions == []


def missing(folder: Path) -> None:
    (folder / "clip1.wav").unlink()


def duplicate(folder: Path) -> None:
    soundfile.write(folder / "clip1.flac", noise(7), RATE)


def wrong_extension(folder: Path) -> None:
    (folder / "clip1.wav").rename(folder / "clip1.m4a")


def folder_instead(folder: Path) -> None:
    missing(folder)
    (folder / "clip1.wav").mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason", "detail"),
    [
        (missing, "missing", "clip1"),
        (duplicate, "duplicate", "clip1.flac, clip1.wav"),
        (wrong_extension, "missing", "clip1.m4a"),
        (folder_instead, "missing", "clip1.wav is a folder"),
    ],
)
@pytest.mark.parametrize("side", ["generated", "reference"])
def test_files_that_cannot_be_matched(
    spoil: Callable[[Path], None], reason: str, detail: str, side: str, folders: tuple[Path, Path, Path]
) -> None:
    protocol, generated, reference = folders
    spoil(generated if side == "generated" else reference)
    found = find_pairs(load_protocol(protocol), generated, reference)
    assert [(f.id, f.side, f.reason) for f in found.left_out] == [("clip1", side, reason)]
    assert detail in found.left_out[0].detail
    assert (len(found.pairs), found.requested, found.unused) == (5, 6, [])


def test_two_folders_with_one_name(folders: tuple[Path, Path, Path]) -> None:
    protocol, generated, reference = folders
    (generated / "clip1.wav").unlink()
    for name in ("a", "b"):
        (generated / name).mkdir()
        soundfile.write(generated / name / "clip1.wav", noise(7), RATE)
    found = find_pairs(load_protocol(protocol), generated, reference)
    assert [(f.id, f.side, f.reason) for f in found.left_out] == [("clip1", "generated", "ambiguous")]


def test_a_missing_clip_with_a_point_claims_no_other_file(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    protocol, generated, reference = folders
    captions = tmp_path / "captions.csv"
    captions.write_text(HEADER + "0,clip0,0,Noise\n1,clip1.5,0,Noise\n")
    found = find_pairs(
        load_protocol(write_protocol(protocol.parent, clips={"number": 2})), generated, reference, captions
    )
    assert [f.id for f in found.left_out] == ["clip1.5", "clip1.5"]
    assert {f.id for f in found.unused} == {f"clip{k}.wav" for k in range(1, 6)}


def test_a_file_without_caption_is_listed(folders: tuple[Path, Path, Path]) -> None:
    protocol, generated, reference = folders
    soundfile.write(generated / "stranger.wav", noise(7), RATE)
    found = find_pairs(load_protocol(protocol), generated, reference)
    assert len(found.pairs) == 6
    assert [(f.id, f.side, f.reason) for f in found.unused] == [("stranger.wav", "generated", "no caption")]


def test_captions_choose_clips_and_words(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    protocol, generated, reference = folders
    captions = tmp_path / "captions.csv"
    captions.write_text(HEADER + "0,clip0,0,Noise a number 0\n0,clip0,0,Second\n1,clip1,0,Others\n2,stranger,0,Wind\n")
    found = find_pairs(load_protocol(protocol), generated, reference, captions)
    assert [(pair.id, pair.caption) for pair in found.pairs] == [("clip0", "Noise a number 0"), ("clip1", "Others")]
    assert (found.requested, found.other_captions) == (2, ["clip1"])
    assert [(f.id, f.side, f.reason) for f in found.left_out] == [("stranger", "captions", "not in the protocol")]


def test_an_empty_caption_is_refused_with_its_line(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    protocol, generated, reference = folders
    captions = tmp_path / "captions.csv"
    captions.write_text(HEADER + "0,clip0,0,\n")
    with pytest.raises(DataError, match="line 2"):
        find_pairs(load_protocol(protocol), generated, reference, captions)


def test_a_protocol_without_list_needs_captions(folders: tuple[Path, Path, Path]) -> None:
    protocol, generated, reference = folders
    write_protocol(protocol.parent, clips={"number": 6})
    with pytest.raises(ConfigurationError, match="toy"):
        find_pairs(load_protocol(protocol), generated, reference)
    assert len(find_pairs(load_protocol(protocol), generated, reference, protocol.parent / "toy.csv").pairs) == 6


def test_a_list_of_another_length_is_refused(folders: tuple[Path, Path, Path]) -> None:
    protocol, generated, reference = folders
    write_protocol(protocol.parent, clips={"number": 7, "file": "toy.csv"})
    with pytest.raises(ConfigurationError, match="7"):
        find_pairs(load_protocol(protocol), generated, reference)


@pytest.mark.parametrize("kind", ["nothing", "a file", "an empty folder", "a broken link"])
def test_no_folder(kind: str, folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    protocol, generated, _ = folders
    reference = tmp_path / "other"
    if kind == "a file":
        reference.touch()
    elif kind == "an empty folder":
        reference.mkdir()
    elif kind == "a broken link":
        reference.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        find_pairs(load_protocol(protocol), generated, reference)


def write(file: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    soundfile.write(file, samples, rate, subtype=subtype)
    return file


def broken(samples: np.ndarray, value: float) -> np.ndarray:
    samples[3] = value
    return samples


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: file.touch() or file, "unreadable: "),
        (lambda file: file.write_text("no sound") and file, "unreadable: "),
        (lambda file: write(file, noise(0)[:0]), "too short: no samples in the file"),
        (lambda file: write(file, broken(noise(0), np.nan), subtype="FLOAT"), "not finite: 1 samples are NaN"),
        (lambda file: write(file, broken(noise(0), np.inf), subtype="FLOAT"), "not finite: 1 samples are NaN or"),
        (
            lambda file: write(file, noise(0) * 4e37, subtype="FLOAT"),
            r"not finite: samples up to 1.*e\+37",
        ),
        (lambda file: file.symlink_to("nowhere.wav") or file, "missing: no file"),
        (lambda file: file.mkdir() or file, "missing: no file"),
        (lambda file: os.mkfifo(file) or file, "missing: no file"),
    ],
    ids=["empty", "text", "zero length", "NaN", "infinity", "overflow", "broken link", "folder", "pipe"],
)
def test_files_that_cannot_be_read(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadClip, match=message):
        read_sound(make(tmp_path / "clip.wav"), AUDIO)


@pytest.mark.parametrize("extension", ["flac", "mp3", "ogg"])
def test_a_truncated_file(extension: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"whole.{extension}", np.concatenate([noise(k) for k in range(8)]), RATE)
    whole = (tmp_path / f"whole.{extension}").read_bytes()
    (tmp_path / "third").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(BadClip) as caught:
        read_sound(tmp_path / "third", AUDIO)
    assert caught.value.fault == Fault.TRUNCATED


@pytest.mark.parametrize(
    ("rate", "channels", "subtype", "tolerance"),
    [(RATE, 1, "PCM_U8", 5e-3), (96000, 1, "PCM_24", 2e-3), (RATE, 6, "PCM_16", 1e-4), (11025, 2, "DOUBLE", 2e-3)],
    ids=["8 bits", "96 kHz", "6 channels", "11 kHz, stereo"],
)
def test_other_formats_are_the_same_tone(
    rate: int, channels: int, subtype: str, tolerance: float, tmp_path: Path
) -> None:
    def tone(rate: int) -> np.ndarray:
        return 0.4 * np.sin(2 * np.pi * 440 * np.arange(rate // 4) / rate)

    file = write(tmp_path / "tone.wav", np.repeat(tone(rate)[:, None], channels, axis=1), rate, subtype)
    waveform, kind, _ = read_sound(file, AUDIO)
    assert kind == f"{rate} Hz, {channels} channel{'s' if channels > 1 else ''}"
    assert waveform.shape == (2000,)
    inner = slice(200, 1800)  # resampled tones rise and fall at their ends
    np.testing.assert_allclose(waveform[inner], tone(RATE)[inner], atol=tolerance)


def test_the_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    file = write(tmp_path / "a.flac", noise(0)).rename(tmp_path / "a.wav")
    np.testing.assert_allclose(read_sound(file, AUDIO)[0].numpy(), (noise(0) - noise(0).mean())[:, 0], atol=1e-4)


@pytest.mark.parametrize("samples", [1000, 2000, 3000])
def test_length_and_loudness(samples: int, tmp_path: Path) -> None:
    sound = 0.05 + 0.1 * np.random.default_rng(0).standard_normal(samples)
    file = write(tmp_path / "a.wav", sound)
    kept = torch.from_numpy(sound[:2000] - sound[:2000].mean()).float()
    for peak in (None, 0.5):
        waveform, *_ = read_sound(file, AudioSettings(RATE, "", 0.25, True, peak))
        assert waveform.shape == (2000,)
        expected = kept if peak is None else kept * peak / kept.abs().max()
        torch.testing.assert_close(waveform[: len(kept)], expected, atol=1e-3, rtol=0)
        assert not waveform[len(kept) :].any()


def test_silence_stays_silence(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", np.zeros(2000))
    waveform, *_ = read_sound(file, AudioSettings(RATE, "", 0.25, True, 0.5))
    assert is_silent(waveform)
    assert waveform.isfinite().all()
    assert not is_silent(torch.from_numpy(noise(0)))


@pytest.mark.parametrize("kind", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
def test_a_wav_file_cut_short_is_named(form: str, kind: str, tmp_path: Path) -> None:
    """Its decoder takes what is left for the whole."""
    soundfile.write(tmp_path / "whole.wav", noise(0)[:1601], RATE, kind, format=form)
    content = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    (tmp_path / "longer.wav").write_bytes(content + b"LIST\x04\x00\x00\x00INFO")
    with pytest.raises(BadClip, match=str(Fault.TRUNCATED)):
        read_sound(tmp_path / "cut.wav", AUDIO)
    for name in ("whole", "longer"):
        assert read_sound(tmp_path / f"{name}.wav", AUDIO)[0].abs().max() > 0


def test_no_file_of_another_clip_is_taken(tmp_path: Path) -> None:
    """A number beside a video is no name of its file, and the end of two clips' paths is none of either."""
    protocol = write_protocol(tmp_path)
    (tmp_path / "toy.csv").write_text("audiocap_id,youtube_id,start_time,caption\n8,Z,0,b\n")
    digest = hashlib.sha256((tmp_path / "toy.csv").read_bytes()).hexdigest()
    protocol = write_protocol(tmp_path / "other", clips={"number": 1, "file": "../toy.csv", "sha256": digest})
    (tmp_path / "requested.csv").write_text("id,caption\nZ,b\n")
    for name in ("generated", "reference"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "8.wav", noise(0), RATE)
    places = load_protocol(protocol), tmp_path / "generated", tmp_path / "reference", tmp_path / "requested.csv"
    assert [(fault.id, fault.reason) for fault in find_pairs(*places).left_out] == 2 * [("Z", "missing")]
    places[-1].write_text("audiocap_id,youtube_id,start_time,caption\n8,Z,0,b\n")  # here it is stated
    assert [pair.reference.name for pair in find_pairs(*places).pairs] == ["8.wav"]


@pytest.mark.parametrize("name", ["clip3", "Yclip3", "Yclip3_0"])
def test_files_are_found_by_the_protocols_names_too(
    name: str, folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    protocol, generated, reference = folders
    (reference / "clip3.wav").rename(reference / f"{name}.wav")
    captions = tmp_path / "captions.json"
    captions.write_text('{"location": "audio/clip3_0.wav", "captions": "Noise o number 3"}\n')
    (pair,) = find_pairs(load_protocol(protocol), generated, reference, captions).pairs
    assert (pair.generated.name, pair.reference.name) == ("clip3.wav", f"{name}.wav")


def test_clip_lists_of_protocols_are_caption_files_by_name() -> None:
    assert len(read_clips("audiocaps-957")) == 957
    assert read_clips("esc50-fold5")["5-103415-A-2"] == ["A pig oinks"]


def test_numbered_folders_are_sets_where_generate_left_them(tmp_path: Path) -> None:
    def leave(name: str, caption: str = "rain") -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "captions.csv").write_text(f"file,caption\nclip0.wav,{caption}\n")
        return tmp_path / name

    sets = [leave(name) for name in ("0", "2", "10")]
    assert numbered(tmp_path) == [tmp_path]  # somebody's own folders
    (tmp_path / "generation.json").write_text("{}")
    assert numbered(tmp_path) == sets
    leave("2", "another caption of the clip")
    leave("rest")
    (tmp_path / "3").mkdir()
    assert numbered(tmp_path) == [sets[0], sets[2]]
    (sets[0] / "captions.csv").unlink()
    assert numbered(tmp_path) == [tmp_path]
