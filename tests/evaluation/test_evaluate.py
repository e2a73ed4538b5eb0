"""The command and the library function, from two folders to a result, a text and a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.cli import main
from consistency_tta.components.reward_lineage import EncoderFingerprint, RewardLineage
from consistency_tta.contracts import AudioEmbedding
from consistency_tta.evaluation import networks
from consistency_tta.evaluation.evaluate import evaluate
from consistency_tta.evaluation.folder_evaluation import evaluate_folder
from consistency_tta.evaluation.result import FORMAT, EvaluationResult
from consistency_tta.runtime.errors import ConfigurationError, DataError
from tests.evaluation.cases import CHECKSUM, RATE, ToyNetwork, noise, write_protocol, write_sounds


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyNetwork:
    """The network of every protocol here, one object, which counts."""
    network = ToyNetwork()
    monkeypatch.setattr(networks, "make_network", lambda name, weights: network)
    return network


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {
        "generated": write_sounds(tmp_path / "generated"),
        "reference": write_sounds(tmp_path / "reference", seed=1),
        "output": tmp_path / "report",
    }


def run(folders: dict[str, Path], **options: Any) -> EvaluationResult:
    protocol = str(write_protocol(folders["output"].parent, **options.pop("changes", {})))
    return evaluate(**(folders | {"protocol": protocol, "device": "cpu"} | options))


def value(result: EvaluationResult, name: str) -> float:
    return next(found.value for found in result.metric_values if found.name == name)


@pytest.mark.usefixtures("toy")
def test_result_is_complete(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    result = run(folders)
    content = json.loads((folders["output"] / "result.json").read_text())
    assert content["format"] == FORMAT
    assert content["protocol"]["name"] == "toy"
    assert content["protocol"]["version"] == 3
    assert content["protocol"]["sha256"] == result.protocol.sha256
    assert content["networks"] == [{"name": "toy", "sha256": CHECKSUM, "pinned": True, "is_reward": None}]
    assert [content[f"clips_{kind}"] for kind in ("in_protocol", "requested", "used")] == [6, 6, 6]
    assert [one["name"] for one in content["metric_values"]] == ["clap_score/toy", "distance/toy", "frechet/toy"]
    for one in content["metric_values"]:
        assert one["interval"]["low"] <= one["interval"]["high"]
    values = [clip["distance/toy"] for clip in content["clips"]]
    assert np.mean(values) == pytest.approx(content["metric_values"][1]["value"])
    assert content["formats"]["generated"] == {f"{RATE} Hz, 1 channel": 6}
    printed = capsys.readouterr().out
    text = (folders["output"] / "report.md").read_text()
    page = (folders["output"] / "report.html").read_text()
    for place in (printed, text, page):
        assert result.protocol.sha256 in place
        assert "6 of 6 clips used" in place


def test_a_second_run_embeds_nothing(folders: dict[str, Path], toy: ToyNetwork) -> None:
    first = run(folders, batch_size=4).to_dict()
    assert toy.embedded == 12
    assert run(folders, batch_size=5).to_dict() == first
    assert toy.embedded == 12
    soundfile.write(folders["generated"] / "clip3.wav", noise(77), RATE)
    assert run(folders).to_dict()["metric_values"] != first["metric_values"]
    assert toy.embedded == 13
    toy.checksum = "1" * 64
    run(folders, changes={"networks": {"toy": {"sha256": None}}})
    assert toy.embedded == 25


def test_two_evaluations_share_a_cache(folders: dict[str, Path], toy: ToyNetwork, tmp_path: Path) -> None:
    run(folders, cache=tmp_path / "cache")
    run(folders | {"generated": folders["reference"], "output": tmp_path / "other"}, cache=tmp_path / "cache")
    assert toy.embedded == 12
    assert not (folders["output"] / "embeddings").exists()


@pytest.mark.usefixtures("toy")
def test_a_folder_compared_with_itself(folders: dict[str, Path]) -> None:
    result = run(folders | {"generated": folders["reference"]})
    assert value(result, "frechet/toy") == pytest.approx(0, abs=1e-6)
    assert value(result, "distance/toy") == 0
    shuffled = folders["reference"].parent / "shuffled"
    shuffled.mkdir()
    for k in range(6):
        (shuffled / f"clip{k}.wav").symlink_to(folders["reference"] / f"clip{(k + 1) % 6}.wav")
    result = run(folders | {"generated": shuffled})
    assert value(result, "frechet/toy") == pytest.approx(0, abs=1e-6)
    assert value(result, "distance/toy") > 0.1


@pytest.mark.usefixtures("toy")
def test_clips_that_cannot_be_evaluated_are_named(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (folders["generated"] / "clip0.wav").write_bytes(b"")
    (folders["reference"] / "clip1.wav").unlink()
    soundfile.write(folders["generated"] / "clip2.wav", np.zeros(2000), RATE)
    soundfile.write(folders["generated"] / "stranger.wav", noise(1), RATE)
    (folders["generated"] / "no_text\udcff.wav").write_bytes(b"")  # how Python keeps a byte that is no UTF-8
    soundfile.write(folders["reference"] / "clip3.wav", noise(1)[:1000], RATE)
    result = run(folders)
    assert {(f.id, f.side, f.reason) for f in result.left_out} == {
        ("clip0", "generated", "unreadable"),
        ("clip1", "reference", "missing"),
    }
    assert [(f.id, f.side) for f in result.silent_or_short if f.reason == "silent"] == [("clip2", "generated")]
    assert [(f.id, f.detail) for f in result.silent_or_short if f.reason == "short"] == [
        ("clip3", "clip3.wav: 0.12 s, padded with silence")
    ]
    assert [f.id for f in result.unused] == ["no_text\udcff.wav", "stranger.wav"]
    assert [pair.id for pair in result.pairs] == ["clip2", "clip3", "clip4", "clip5"]
    assert json.loads((folders["output"] / "result.json").read_text())["unused_files"][0]["id"] == "no_text\udcff.wav"
    printed = capsys.readouterr().out
    text = (folders["output"] / "report.md").read_text()
    page = (folders["output"] / "report.html").read_text()
    for place in (printed, text, page):
        assert "4 of 6 clips used" in place
        assert "which flatters a model" in place
        for name in ("clip0", "clip1", "clip2"):
            assert name in place


@pytest.mark.usefixtures("toy")
def test_too_little_is_an_error(folders: dict[str, Path]) -> None:
    for k in range(1, 6):
        (folders["generated"] / f"clip{k}.wav").unlink()
    with pytest.raises(DataError, match="clip1"):
        run(folders)
    assert not folders["output"].exists() or not list(folders["output"].glob("re*"))


@pytest.mark.usefixtures("toy")
def test_files_named_by_number_are_named_in_the_error(folders: dict[str, Path]) -> None:
    for number, file in enumerate(sorted(folders["generated"].iterdir())):
        file.rename(file.with_name(f"output_{number}.wav"))
    with pytest.raises(DataError, match=r"output_0\.wav"):
        run(folders)


@pytest.mark.usefixtures("toy")
def test_silent_sounds_and_files_without_a_clip_are_warned_of(folders: dict[str, Path]) -> None:
    (folders["generated"] / "clip1.wav").rename(folders["generated"] / "output_1.wav")
    soundfile.write(folders["generated"] / "clip2.wav", np.zeros(RATE), RATE)
    warnings = "\n".join(run(folders).warnings)
    assert "output_1.wav" in warnings
    assert "1 of 5 generated sounds are silent" in warnings


@pytest.mark.usefixtures("toy")
def test_values_do_not_depend_on_the_batch_size_or_the_cache(folders: dict[str, Path], tmp_path: Path) -> None:
    values = [
        [found.value for found in run(folders | {"cache": tmp_path / str(size)}, batch_size=size).metric_values]
        for size in (1, 4, 8)
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert values[2] == pytest.approx(values[0], rel=1e-5)


@pytest.mark.usefixtures("toy")
def test_part_of_a_protocol_is_warned_of(folders: dict[str, Path], tmp_path: Path) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("youtube_id,caption\nclip1,Something else\nclip2,Noise i number 2\n")
    result = run(folders, captions=captions, changes={"networks": {"toy": {"sha256": None}}})
    assert (result.requested, len(result.pairs)) == (2, 2)
    warnings = "\n".join(result.warnings)
    assert "2 clips were used, not the 6 of toy" in warnings
    assert "1 clips have another caption than that of toy" in warnings
    assert "toy pins no weights of toy" in warnings
    assert "frechet/toy: 2 vectors span fewer than the network's 4 dimensions" in warnings
    captions.write_text(captions.read_text() + "stranger,Not of this protocol\n")
    result = run(folders, captions=captions)
    assert [finding.reason for finding in result.left_out] == ["not in the protocol"]
    assert not any("flatters" in warning for warning in result.warnings)  # it was not requested


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("given", ["option", "model"])
def test_a_network_that_was_the_reward(given: str, folders: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model_index.json").write_text(
        json.dumps(
            {
                "rewards": RewardLineage(
                    (EncoderFingerprint("2" * 64), EncoderFingerprint(CHECKSUM)), complete=True
                ).to_dict()
            }
        )
    )
    result = run(folders, **({"reward": CHECKSUM} if given == "option" else {"model": model}))
    assert result.networks[0].is_reward is True
    (warning,) = (warning for warning in result.warnings if "fine-tuned with toy" in warning)
    assert warning in (folders["output"] / "report.html").read_text()
    both = run(folders, model=model, reward="1" * 64)
    assert both.networks[0].is_reward is True
    assert both.provenance.rewards == RewardLineage(
        tuple(map(EncoderFingerprint, ("2" * 64, CHECKSUM, "1" * 64))), complete=True
    )
    other = run(folders, reward="1" * 64)
    assert other.networks[0].is_reward is None  # there may be others
    assert not any("fine-tuned" in warning for warning in other.warnings)


@pytest.mark.usefixtures("toy")
def test_metrics_of_waveforms_and_metrics_with_several_values(folders: dict[str, Path]) -> None:
    metrics = [
        {"metric": "lsd", "options": {"floor": 1e-6}},
        {"metric": "inception", "network": "toy", "options": {"splits": 2}, "interval": False},
    ]
    result = run(folders, changes={"metrics": metrics})
    assert [found.name for found in result.metric_values] == ["lsd", "inception/toy/mean", "inception/toy/std"]
    assert result.metric_values[1].interval is None
    assert [found.higher_is_better for found in result.metric_values] == [False, True, None]
    assert len(result.per_clip["lsd"]) == 6
    lsd = result.per_clip["lsd"]
    assert result.ranking == sorted(range(6), key=lambda k: lsd[k])


@pytest.mark.usefixtures("toy")
def test_what_few_clips_do_not_allow_is_left_out_alone(folders: dict[str, Path]) -> None:
    """The other values stay."""

    def inception(splits: int) -> dict[str, Any]:
        return {"metric": "inception", "network": "toy", "options": {"splits": splits}}

    metrics = [{"metric": "diversity", "network": "toy"}, inception(4), {"metric": "lsd"}]
    result = run(folders, changes={"metrics": metrics})
    assert [found.name for found in result.metric_values] == ["inception/toy/mean", "inception/toy/std", "lsd"]
    assert result.metric_values[0].interval is None  # half of six clips are no four
    warnings = "\n".join(result.warnings)
    assert "diversity/toy has no value: diversity needs at least two sounds of one prompt" in warnings
    assert "inception/toy: no interval, since draws of so few clips have no value: expected at least 4" in warnings
    assert "diversity/toy has no value" in (folders["output"] / "report.html").read_text()
    with pytest.raises(DataError, match="inception/toy"):
        run(folders, changes={"metrics": [inception(7)]})


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"changes": {"metrics": [{"metric": "fad", "network": "toy"}]}}, "fad"),
        ({"changes": {"metrics": [{"metric": "frechet"}]}}, "frechet"),
        ({"changes": {"metrics": [{"metric": "lsd", "network": "toy"}]}}, "toy"),
        ({"changes": {"metrics": []}}, "metrics"),
        ({"changes": {"metrics": [{"metric": "lsd"}] * 2}}, "lsd, lsd"),
        ({"weights": "toy"}, "--weights"),
        ({"weights": "mn04=x,vggish=y"}, "vggish"),
        ({"batch_size": 0}, "batch_size"),
        ({"model": Path("nowhere")}, "nowhere"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str, folders: dict[str, Path]) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        run(folders, **options)


@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("frechet", {"shrink": 1}),
        ("neighbours", {"near": 3}),
        ("inception", {"splits": 0}),
        ("kad", {"scale": 0}),
        ("lsd", {"floor": -1}),
    ],
)
def test_wrong_options_of_a_metric_are_found_before_anything_is_embedded(
    metric: str, options: dict[str, Any], folders: dict[str, Path], toy: ToyNetwork
) -> None:
    network = {} if metric == "lsd" else {"network": "toy"}
    with pytest.raises(ConfigurationError, match=rf"{metric}.*{next(iter(options))}"):
        run(folders, changes={"metrics": [{"metric": metric, "options": options} | network]})
    assert toy.embedded == 0


@pytest.mark.parametrize("option", ["output", "cache"])
def test_a_file_in_place_of_a_folder_is_refused_before_anything_is_embedded(
    option: str, folders: dict[str, Path], toy: ToyNetwork, tmp_path: Path
) -> None:
    (tmp_path / "taken").touch()
    places = {"cache": tmp_path / "cache", option: tmp_path / "taken"}
    with pytest.raises(NotADirectoryError, match=f"--{option}.*taken"):
        run(folders, **places)
    assert toy.embedded == 0


@pytest.mark.usefixtures("toy")
def test_the_library_function_returns_the_result_and_writes_its_cache_alone(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    protocol = write_protocol(tmp_path)
    result, counts = evaluate_folder(
        folders["generated"], folders["reference"], protocol, tmp_path / "cache", device="cpu"
    )
    assert (counts.embedded, counts.recalled) == (12 + 6, 0)
    assert not folders["output"].exists()
    assert result.to_dict() == run(folders).to_dict()


def test_a_network_that_fails_is_named(
    folders: dict[str, Path], toy: ToyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = torch.full((6, 1, 4), torch.nan)
    monkeypatch.setattr(toy, "embed_windows", lambda waveform, sample_rate: AudioEmbedding(broken[: len(waveform)]))
    with pytest.raises(DataError, match="toy"):
        run(folders)


@pytest.mark.usefixtures("toy")
def test_the_command(folders: dict[str, Path], tmp_path: Path) -> None:
    protocol = str(write_protocol(tmp_path))
    options = [f"--{name}={path}" for name, path in folders.items()]
    result = main(["evaluate", *options, "--protocol", protocol, "--device", "cpu"])
    assert len(result.pairs) == 6
    with pytest.raises(SystemExit, match="esc50"):
        main(["evaluate", *options, "--protocol", "esc50"])


@pytest.mark.usefixtures("toy")
def test_the_page_is_one_file_with_sounds(folders: dict[str, Path], tmp_path: Path) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("youtube_id,caption\n" + "".join(f"clip{k},<b>{'aeiou'[k % 5]}</b> & {k}\n" for k in range(6)))
    result = run(folders, captions=captions)
    page = (folders["output"] / "report.html").read_text()
    assert len(re.findall(r'<figure class="player"', page)) == 2 * len(result.pairs)
    assert page.count('title="clip4"') == len(result.per_clip) - 1
    assert "<b>a</b>" not in page
    assert "&lt;b&gt;a&lt;/b&gt; &amp; 0" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    worst = result.pairs[result.ranking[-1]].id
    assert page.index("Worst by clap_score/toy") < page.index(f"<small>{worst}</small>")
    assert str(tmp_path) not in page.split("How the values were computed")[0]


@pytest.mark.usefixtures("toy")
def test_equal_clips_can_be_drawn(folders: dict[str, Path]) -> None:
    """All distances are 0: the axis still has two ends."""
    run(folders | {"generated": folders["reference"]}, changes={"metrics": [
        {"metric": "distance", "network": "toy"}, {"metric": "lsd"}
    ]})  # fmt: skip
    assert "nan" not in (folders["output"] / "report.html").read_text().split("<script>")[0].split("</style>")[-1]


@pytest.mark.usefixtures("toy")
def test_more_sounds_of_each_clip_are_used_for_diversity_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    metrics = [{"metric": name, "network": "toy", "interval": False} for name in ("diversity", "frechet")]
    alone = run(folders, changes={"metrics": metrics[1:]})
    several = tmp_path / "several"
    several.mkdir()
    folders["generated"].rename(several / "0")
    others = [write_sounds(several / name, seed) for name, seed in (("2", 7), ("10", 8))]
    (several / "generation.json").write_text("{}")
    for folder in (several / "0", *others):
        (folder / "captions.csv").write_text("file,caption\nclip0.wav,rain\n")
    folders["generated"] = several
    result = run(folders, changes={"metrics": metrics})
    assert (result.generated, result.more) == (several / "0", others)
    assert value(result, "frechet/toy") == pytest.approx(value(alone, "frechet/toy"))
    vectors = torch.stack(
        [
            torch.cat([ToyNetwork().embed(_sound(folder / f"clip{k}.wav"), RATE) for k in range(6)])
            for folder in (several / "0", *others)
        ]
    )
    apart = [torch.pdist(vectors[:, k].double()).mean() for k in range(6)]
    assert value(result, "diversity/toy") == pytest.approx(float(torch.stack(apart).mean()), rel=1e-5)
    assert f"{others[0]}, {others[1]}: for diversity alone" in (folders["output"] / "report.md").read_text()
    (others[1] / "clip4.wav").unlink()
    (others[1] / "clip5.wav").write_bytes(b"")
    rest = run(folders, changes={"metrics": metrics})
    assert [pair.id for pair in rest.pairs] == [f"clip{k}" for k in range(4)]
    assert {(one.id, one.side, one.reason) for one in rest.left_out} == {
        ("clip4", "generated, 10", "missing"),
        ("clip5", "generated, 10", "unreadable"),
    }


def _sound(file: Path) -> torch.Tensor:
    return torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None]
