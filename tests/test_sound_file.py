"""Sound files as they come: whole, cut short, damaged."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.sound_file import BadClip, Fault, decode, missing_bytes


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.9, 0.9, (500, 3)), 16000, subtype="FLOAT")
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    waveform, rate = decode(tmp_path / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(waveform.numpy(), samples.mean(axis=1), atol=1e-7)


def test_bad_clip_survives_processes() -> None:
    bad = BadClip(Fault.SILENT, "no sample above -200 dBFS")
    for twin in (pickle.loads(pickle.dumps(bad)), copy.copy(bad)):
        assert (twin.fault, twin.detail, str(twin)) == (bad.fault, bad.detail, "silent: no sample above -200 dBFS")


@pytest.mark.parametrize("length", [0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_length_that_was_not_known_says_nothing(length: int, tmp_path: Path) -> None:
    """As programs write it that write into a pipe."""
    soundfile.write(tmp_path / "whole.wav", np.full(100, 0.1), 16000)
    content = (tmp_path / "whole.wav").read_bytes()
    place = content.index(b"data") + 4
    said = length.to_bytes(4, "little")
    (tmp_path / "piped.wav").write_bytes(content[:4] + said + content[8:place] + said + content[place + 4 :])
    assert missing_bytes(tmp_path / "piped.wav") == 0
