"""The whole arena on toys: train, stop, resume, evaluate, report."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.storage.shards import write_shard
from tests.tools.arena.loudness import Loudness, recordings
from tools.arena import __main__ as arena
from tools.arena import evaluate, train
from tools.arena.classifier import classifier, embed
from tools.arena.configuration import find, known
from tools.arena.metric_values import METRICS
from tools.arena.real import real_clips
from tools.arena.results import gather
from tools.esc10_classes import AUDIOSET_NAMES, CLASSES
from tools.probe_encoder import LinearProbe

BUDGET = 60
SMALL = ["--data.batch_size", "4", "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"]


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of eight toy clips."""
    folder = tmp_path_factory.mktemp("latents")
    torch.manual_seed(0)
    write_shard(folder / "train", 0, torch.randn(8, 8, 8, 4), ["a dog"] * 8, [str(k) for k in range(8)])
    return folder


@pytest.fixture(scope="module")
def contestants(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two of twelve and of eleven passes for each clip and step, or fewer."""
    folder = tmp_path_factory.mktemp("contestants")
    losses = {"latent": {"class_path": "consistency_tta.losses.LatentL2Loss"}}
    for name, objective in (
        (
            "straight",
            {"class_path": "consistency_tta.training.ConsistencyDistillation", "init_args": {"teacher_steps": 0}},
        ),
        ("matching", {"class_path": "consistency_tta.training.DistributionMatching"}),
    ):
        own = {"objective": objective} | ({"losses": losses} if name == "straight" else {})
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"model": {"init_args": own}}))
    return [str(folder / "straight.yaml"), str(folder / "matching.yaml")]


def command(output: Path, latents: Path, teacher: Path, contestants: list[str], *further: str) -> list[str]:
    options = ["--output", str(output), "--latents", str(latents), "--teacher", str(teacher), "--budget", str(BUDGET)]
    return [*options, "--contestants", ",".join(contestants), "--fractions", "0.5", "1", *SMALL, *further]


def facts(folder: Path) -> dict[str, float]:
    return json.loads((folder / "snapshot.json").read_text())


@pytest.fixture(scope="module")
def trained(
    latents: Path, teacher_folder: Path, contestants: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an arena: one seed of the first contestant, two of the second."""
    output = tmp_path_factory.mktemp("arena")
    assert train.main(command(output, latents, teacher_folder, contestants)) == {}
    assert train.main(command(output, latents, teacher_folder, contestants[1:], "--seeds", "2")) == {}
    return output


def test_all_contestants_train_to_the_same_budget(trained: Path) -> None:
    found = {folder.name: facts(folder) for folder in trained.glob("*/seed*/models/[01].*")}
    assert len(list(trained.glob("*/seed*/models/[01].*"))) == 6
    assert set(found) == {"0.50", "1.00"}
    for folder in trained.glob("*/seed*/models/[01].*"):
        one = facts(folder)
        most = 4 * 12  # of a step
        assert one["fraction"] * BUDGET <= one["passes"] < one["fraction"] * BUDGET + most
        assert not (folder / "vae").exists()  # it is the teacher's
        assert TextToAudioPipeline.from_pretrained(folder).sampler.one_query


def test_seeds_differ(trained: Path) -> None:
    one, other = (
        load_file(trained / f"matching/seed{seed}/models/1.00/unet/diffusion_pytorch_model.safetensors")
        for seed in (0, 1)
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_stopped_training_goes_on_to_the_same_models(
    trained: Path, latents: Path, teacher_folder: Path, contestants: list[str], tmp_path: Path
) -> None:
    options = command(tmp_path, latents, teacher_folder, contestants[1:], "--every", "1")
    train.main([*options, "--trainer.max_steps", "1"])
    assert not (tmp_path / "matching/seed0/models/1.00").exists()
    train.main(options)
    for fraction in ("0.50", "1.00"):
        one, other = (root / "matching/seed0/models" / fraction for root in (trained, tmp_path))
        weights, others = (load_file(folder / "unet/diffusion_pytorch_model.safetensors") for folder in (one, other))
        assert all(torch.equal(weights[name], others[name]) for name in weights)
        assert facts(one)["passes_by_network"] == facts(other)["passes_by_network"]
    before = (tmp_path / "matching/seed0/models/1.00/snapshot.json").stat().st_mtime_ns
    train.main(options)  # finished
    assert (tmp_path / "matching/seed0/models/1.00/snapshot.json").stat().st_mtime_ns == before


def test_a_contestant_that_fails_does_not_stop_the_others(
    trained: Path, latents: Path, teacher_folder: Path, contestants: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("model: {init_args: {objective: {class_path: consistency_tta.training.NoSuchObjective}}}")
    options = command(trained, latents, teacher_folder, [str(broken), contestants[0]])
    failed = train.main([*options, "--fractions", "0.7"])
    assert list(failed) == ["broken/seed0", "straight/seed0"]
    assert "config.yaml" in failed["straight/seed0"]  # it has other settings


@pytest.mark.parametrize("name", known())
def test_every_contestant_trains(name: str, latents: Path, teacher_folder: Path, tmp_path: Path) -> None:
    assert (
        train.main(command(tmp_path, latents, teacher_folder, [name], "--every", "1", "--trainer.max_steps", "1")) == {}
    )
    assert list(tmp_path.glob(f"{name}/seed0/run/**/*.ckpt"))


def test_an_unknown_contestant_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="consistencyx"):
        find("consistencyx")


def test_seeds_that_ended_early_are_one_row(trained: Path, tmp_path: Path) -> None:
    """Each at another share of its budget."""
    result = {"values": dict.fromkeys(METRICS, 0.5), "halves": {name: [0.4, 0.6] for name in METRICS}}
    result |= {"sampling": {"steps": 1}, "machine": {}}
    for seed, fraction in enumerate((0.93, 0.95)):
        folder = tmp_path / f"short/seed{seed}/models/{fraction}"
        (folder / "evaluation").mkdir(parents=True)
        (folder / "snapshot.json").write_text(json.dumps({"fraction": fraction, "passes": 9, "ended_early": True}))
        (folder / "evaluation/loudness_w3.json").write_text(json.dumps(result))
    (row,) = gather(tmp_path).values()
    assert sorted(row.evaluations) == ["0", "1"]


def test_evaluation_and_report(trained: Path, teacher_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings().save(trained / "recordings_loudness.safetensors")
    options = ["--output", str(trained), "--clips", "4", "--steps", "1", "2", "--draws", "3", "--last"]
    options += ["--encoder", "tests.tools.arena.loudness.Loudness", "--weights", "2"]
    arena.main(["evaluate", *options, "--reference", f"teacher={teacher_folder}@3", "--sounds"])
    files = sorted(trained.glob("*/seed*/models/*/evaluation/*.json"))
    assert len(files) == 6
    assert len(list(trained.glob("references/teacher/evaluation/sounds_*/*.wav"))) == 40
    kept = {file: file.stat().st_mtime_ns for file in files}
    arena.main(["evaluate", *options])
    assert {file: file.stat().st_mtime_ns for file in files} == kept
    with pytest.raises(ConfigurationError, match="loudness_w3"):
        arena.main(["evaluate", *options, "--draws", "4"])
    arena.main(["evaluate", *options, "--contestants", "straight", "--sounds"])
    assert len(list(trained.glob("straight/seed0/models/1.00/evaluation/sounds_*/*.wav"))) == 80

    arena.main(["report", "--output", str(trained), "--baseline", "straight"])
    report, content = (trained / "report.md").read_text(), json.loads((trained / "report.json").read_text())
    assert all(line in report for line in ("| straight | 1 |", "| matching | 2 |"))
    assert "| teacher |" in report
    rows = {(row["name"], row["fraction"], row["steps"]): row for row in content["rows"]}
    assert len(rows) == 5
    own = [
        json.loads(
            (trained / f"matching/seed{seed}/models/1.00/evaluation/loudness_w3_steps1_clips4_seed0.json").read_text()
        )
        for seed in (0, 1)
    ]
    for metric in METRICS:
        found = rows["matching", 1.0, 1]["metrics"][metric]
        assert found["value"] == pytest.approx(sum(one["values"][metric] for one in own) / 2)
        assert found["low"] <= found["high"]
    assert rows["matching", 1.0, 1]["snapshots"]["0"]["passes"] >= BUDGET
    assert content["machine"]["torch"] == torch.__version__
    picture = (trained / "report_loudness.svg").read_text()
    assert all(name in picture for name in ("straight", "matching", "teacher"))


def test_equal_noise_for_all_models_whatever_the_batch(teacher_folder: Path, tmp_path: Path) -> None:
    model = evaluate.Model(teacher_folder)
    found = [
        evaluate.sample(model, evaluate.Sampling(clips=3, steps=2), tmp_path / f"{size}.safetensors", size)
        for size in (2, 3)
    ]
    assert found[0].shape == (10, 3, 4, 8, 4)
    torch.testing.assert_close(found[0], found[1], atol=2e-3, rtol=2e-3)


def test_recordings_are_embedded_once(tmp_path: Path) -> None:
    esc50, file = tmp_path / "esc50", tmp_path / "recordings.safetensors"
    esc50.mkdir()
    rows = ["file,label,fold,freesound_id,esc10"]
    for fold in ("1", "4", "5"):
        for label, level in (("dog", 0.1), ("rain", 0.2)):
            soundfile.write(esc50 / f"{label}{fold}.wav", np.full(1600, level), 16_000)
            # The source of fold 4 is held out in training.
            rows.append(f"{label}{fold}.wav,{label},{fold},{'149294' if fold == '4' else fold},True")
    (esc50 / "clips.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"recordings\.safetensors"):
        real_clips(partial(embed, Loudness("1")), None, file)
    found = real_clips(partial(embed, Loudness("1")), esc50, file)
    assert [len(found.reference), len(found.train), len(found.held_out)] == [4, 2, 2]
    assert found.held_out_labels.tolist() == [CLASSES.index("dog"), CLASSES.index("rain")]
    torch.testing.assert_close(found.held_out[:, 0], torch.tensor([0.1, 0.2]), atol=1e-3, rtol=0)
    again = real_clips(partial(embed, Loudness("1")), None, file)
    assert torch.equal(again.reference, found.reference)


def test_classes_are_scored_by_logits_or_by_a_probe(tmp_path: Path) -> None:
    real, names = recordings(), [name for names in AUDIOSET_NAMES.values() for name in names]
    (tmp_path / "labels.csv").write_text("index,display_name\n" + "\n".join(f'{k},"{n}"' for k, n in enumerate(names)))
    by_probe = classifier(Loudness("1"), None, real).score(real.held_out_embedding)
    expected = LinearProbe(real.reference, real.reference_labels, 10)(real.held_out)
    assert torch.equal(by_probe, expected)
    by_labels = classifier(Loudness("1"), tmp_path / "labels.csv", real)
    logits = torch.eye(len(names))
    scores = by_labels.score(AudioEmbedding(torch.zeros(len(names), 1, 4), logits))
    own = [label for label, found in AUDIOSET_NAMES.items() for _ in found]
    assert [CLASSES[k] for k in scores.argmax(1).tolist()] == own
    with pytest.raises(DataError, match="loudness"):
        by_labels(torch.rand(1, 100), 16_000)


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(SystemExit, match="trane"):
        arena.main(["trane"])
