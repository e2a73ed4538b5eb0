"""The page hides the systems, the key has them; wrong input is named."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from consistency_tta.cli import main
from consistency_tta.listening import make
from consistency_tta.listening.clips import clips_of_all, parse_systems
from consistency_tta.listening.key import Key
from consistency_tta.listening.trials import ANCHOR
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.listening.noise import SYSTEMS, made, noise_folders


def data_of(page: Path) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def samples(uri: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))[0]


@pytest.mark.parametrize("mode", ["rating", "comparison"])
def test_the_page_has_neither_systems_nor_files(tmp_path: Path, mode: str) -> None:
    reference = SYSTEMS[0] if mode == "comparison" else None
    folder, key = made(tmp_path, mode=mode, reference=reference, anchor=reference is not None)
    page = (folder / "index.html").read_text()
    for secret in (*SYSTEMS, ANCHOR, ".wav", str(tmp_path), "key.json", "7100"):
        assert secret not in re.sub(r"base64,[^\"]*", "", page.partition('id="data">')[2].partition("</script>")[0])
    assert not [secret for secret in (*SYSTEMS, ANCHOR, str(tmp_path)) if secret in page]
    assert "http" not in re.sub(r"//.*", "", page.replace('startsWith("http")', ""))  # it asks no network
    assert set(key.systems) == {*SYSTEMS, *([ANCHOR] if reference else [])}


def test_the_key_has_the_system_of_each_sound(tmp_path: Path) -> None:
    folder, key = made(tmp_path, loudness=None)
    shown = {item["id"]: item["sound"] for trial in data_of(folder / "index.html")["trials"] for item in trial["items"]}
    assert shown.keys() == key.items.keys()
    assert len(shown) == 9
    for name, item in key.items.items():
        original = soundfile.read(tmp_path / item.system / f"{item.clip}.wav")[0]
        np.testing.assert_allclose(samples(shown[name]), original, atol=2**-15)
        assert item.caption == f"Sound number {int(item.clip) - 7100}"


def test_a_comparison_has_all_systems_and_an_open_reference(tmp_path: Path) -> None:
    folder, key = made(tmp_path, mode="comparison", reference="yardstick", anchor=True, loudness=None)
    trials = data_of(folder / "index.html")["trials"]
    orders = set()
    for trial in trials:
        systems = [key.items[item["id"]].system for item in trial["items"]]
        assert sorted(systems) == sorted(key.systems)
        orders.add(tuple(systems))
        hidden = next(item for item in trial["items"] if key.items[item["id"]].system == "yardstick")
        assert hidden["sound"] == trial["reference"]
    assert len(orders) > 1  # the place in the page is no hint, either


def test_the_seed_decides_and_every_page_has_its_own_name(tmp_path: Path) -> None:
    systems, captions = noise_folders(tmp_path, clips=6), tmp_path / "captions.csv"
    keys = []
    for number, seed in enumerate((1, 1, 2)):
        make(systems, captions, tmp_path / str(number), num_clips=3, seed=seed)
        keys.append(Key.load(tmp_path / str(number)))
    assert keys[0].items == keys[1].items
    assert keys[0].test == keys[1].test != keys[2].test
    assert not keys[0].items.keys() & keys[2].items.keys()


def test_captions_cannot_leave_their_place(tmp_path: Path) -> None:
    systems = noise_folders(tmp_path)
    nasty = "</script><script>alert(1)</script> <!-- <b>bold</b>"
    (tmp_path / "nasty.jsonl").write_text(json.dumps({"id": "7101", "caption": nasty}))
    page = make(systems, tmp_path / "nasty.jsonl", tmp_path / "test", num_clips=1, title="<i>A & B</i>")
    assert {trial["caption"] for trial in data_of(page)["trials"]} == {nasty}
    assert "<script>alert" not in page.read_text()
    assert "<i>" not in page.read_text()


def test_files_are_found_by_every_kind_of_name(tmp_path: Path) -> None:
    names = {"a": "7", "b": "YaBc_30", "c": "deep/aBc"}
    for system, name in names.items():
        file = tmp_path / system / f"{name}.wav"
        file.parent.mkdir(parents=True)
        soundfile.write(file, np.zeros(100), 16000)
    captions = tmp_path / "captions.csv"
    captions.write_text(
        "audiocap_id,youtube_id,start_time,caption\n7,aBc,30,first\n8,aBc,30,second\n9,zzz,0,nobody has it\n"
    )
    systems = parse_systems([f"{name}={tmp_path / name}" for name in names])
    (clip,) = clips_of_all(captions, systems)
    assert (clip.name, clip.caption) == ("aBc", "first")
    captions.write_text('{"location": "/data/x/aBc.wav", "captions": ["of c", "another"]}\n')
    (clip,) = clips_of_all(captions, parse_systems([f"c={tmp_path / 'c'}"]))
    assert clip.caption == "of c"


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"systems": ["zebrafish"]}, ConfigurationError, "'zebrafish'"),
        ({"reference": "zebrafish"}, ConfigurationError, "'zebrafish'"),
        ({"mode": "comparison", "reference": "nobody"}, ConfigurationError, "'nobody'"),
        ({"mode": "comparison", "anchor": True}, ConfigurationError, "--reference"),
        ({"num_clips": 4}, DataError, "4"),
        ({"num_clips": 0}, ConfigurationError, "num_clips"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, change: dict, error: type[Exception], named: str) -> None:
    systems = noise_folders(tmp_path)
    settings = {"systems": systems, "captions": tmp_path / "captions.csv", "num_clips": 3, "output": tmp_path / "test"}
    with pytest.raises(error, match=named):
        make(**settings | change)
    assert not (tmp_path / "test").exists()


def test_captions_that_fit_no_file_are_named(tmp_path: Path) -> None:
    systems, captions = noise_folders(tmp_path), tmp_path / "other.csv"
    captions.write_text("id,caption\nunknown,a sound\n")
    with pytest.raises(DataError, match=r"other\.csv"):
        make(systems, captions, tmp_path / "test", num_clips=1)
    captions.write_text("name,text\n7100,a sound\n")
    with pytest.raises(DataError, match=r"other\.csv"):
        make(systems, captions, tmp_path / "test", num_clips=1)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def not_finite(file: Path) -> None:
    soundfile.write(file, np.r_[np.zeros(5000), np.nan], 16000, subtype="FLOAT")


@pytest.mark.parametrize("spoil", [cut_off, not_finite])
def test_a_sound_that_evaluate_would_leave_out_is_named(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    systems = noise_folders(tmp_path)
    spoil(tmp_path / "yardstick" / "7101.wav")
    command = ["listening-test", "--systems", *systems, "--captions", str(tmp_path / "captions.csv")]
    command += ["--num_clips", "3", "--output", str(tmp_path / "test")]
    with pytest.raises(SystemExit, match=r"yardstick/7101\.wav"):
        main(command)
    assert not (tmp_path / "test").exists()


def test_captions_with_one_short_sound_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = noise_folders(tmp_path, seconds=1.0)
    soundfile.write(tmp_path / "yardstick" / "7101.wav", np.full(2400, 0.1), 16000)
    make(systems, tmp_path / "captions.csv", tmp_path / "test", num_clips=3)
    said = (
        "1 of 3 captions have sounds more than 0.5 s longer .*: 7101 \\(0.15 s of yardstick, 1.00 s of zebrafish\\)\n"
    )
    assert re.search(said, capsys.readouterr().out)
    make(systems, tmp_path / "captions.csv", tmp_path / "other", num_clips=3, seconds=0.6)
    assert "warning" not in capsys.readouterr().out


def test_a_test_is_not_overwritten(tmp_path: Path) -> None:
    folder, key = made(tmp_path)
    with pytest.raises(FileExistsError, match="--output"):
        make([f"a={tmp_path / SYSTEMS[0]}"], tmp_path / "captions.csv", folder, num_clips=1)
    assert Key.load(folder) == key
    (folder / "key.json").write_text('{"test": 1}')
    with pytest.raises(DataError, match=r"key\.json"):
        Key.load(folder)


def test_a_clip_with_a_bad_file_is_left_out_for_another(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for system in ("one", "two"):
        (tmp_path / system).mkdir()
        for name in ("a", "b", "c"):
            soundfile.write(
                tmp_path / system / f"{name}.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 16000), 16000
            )
    (tmp_path / "two/b.wav").write_bytes(b"not audio")
    (tmp_path / "c.csv").write_text("file,caption\na,A\nb,B\nc,C\n")
    systems = [f"{name}={tmp_path / name}" for name in ("one", "two")]
    for seed in range(3):
        make(systems, tmp_path / "c.csv", tmp_path / f"out{seed}", num_clips=2, seed=seed)
        key = Key.load(tmp_path / f"out{seed}")
        assert {item.clip for item in key.items.values()} == {"a", "c"}
    assert "b.wav" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"b\.wav"):
        make(systems, tmp_path / "c.csv", tmp_path / "all", num_clips=3)
