"""The AudioCaps protocols from generated folders to a report, with stand-ins for the published weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from consistency_tta.evaluation.protocol_file import load_protocol
from consistency_tta.storage.captions import caption_file
from consistency_tta.storage.checksum import checksum
from tools import stand_in_weights

CLIPS = 12
NETWORKS = ("vggish", "panns", "laion-clap")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    stand_in_weights.main([str(folder), "--networks", *NETWORKS])
    return folder


def write(folder: Path, names: list[str], seed: int) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng([seed, number]).standard_normal(160_000).cumsum()
        soundfile.write(folder / f"{name}.wav", 0.5 * noise / np.abs(noise).max(), 16_000)


@pytest.mark.parametrize("name", ["audiocaps-882", "audiocaps-957"])
def test_a_protocol_of_the_papers_from_folders_to_a_report(name: str, stand_ins: Path, tmp_path: Path) -> None:
    published = load_protocol(name)
    content = yaml.safe_load(published.source.read_text())
    for network in NETWORKS:
        assert content["networks"][network]["sha256"]
        content["networks"][network]["sha256"] = checksum(stand_ins / content["networks"][network]["weights"])
    # Two hundred draws would take ten times as long and test no more.
    content["bootstrap"] |= {"set_resamples": 20}
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(content))
    listed = caption_file(name)
    shutil.copy(listed, tmp_path)
    head, *rows = listed.read_text().splitlines()[: CLIPS + 1]
    (tmp_path / "captions.csv").write_text("\n".join([head, *rows]))
    names = ["_".join(row.split(",")[:2]) for row in rows]
    assert head.startswith("youtube_id,start_time")
    for number in range(2):  # as `generate --num_samples 2` leaves them
        made = tmp_path / "generated" / str(number)
        write(made, names, number)
        (made / "captions.csv").write_text("file,caption\n" + "".join(f"{name}.wav,something\n" for name in names))
    (tmp_path / "generated" / "generation.json").write_text("{}")
    write(tmp_path / "reference", names, 2)
    command = [sys.executable, "-m", "consistency_tta", "evaluate", "--protocol", "protocol.yaml"]
    command += ["--generated", "generated", "--reference", "reference", "--captions", "captions.csv"]
    command += ["--cache", str(stand_ins / "cache")]  # by content: the second protocol's sounds are the first's
    command += ["--weights", ",".join(f"{network}={stand_ins}" for network in NETWORKS), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_CACHE": str(stand_ins / "hub")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report" / "result.json").read_text())
    assert (found["clips_used"], found["clips_in_protocol"]) == (CLIPS, published.clips.number)
    assert {network["name"]: network["pinned"] for network in found["networks"]} == dict.fromkeys(NETWORKS, True)
    values = {value["name"]: value["value"] for value in found["metric_values"]}
    names = [settings.name for settings in published.metrics]
    assert sorted({name.rsplit("/", 1)[0] if name not in names else name for name in values}) == sorted(names)
    assert np.isfinite(list(values.values())).all()
