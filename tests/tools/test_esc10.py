import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.metrics.diversity import mean_pairwise_distance
from consistency_tta.metrics.mn04 import AudioTagger
from consistency_tta.runtime.errors import DataError
from tests.tools.tflite import write_linear_layers
from tools import esc10, esc10_classes

AUDIOSET = [name for names in esc10_classes.AUDIOSET_NAMES.values() for name in names]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights (random), AudioSet's labels, and ESC-50: of three classes, a clip in each of five folds."""
    folder = tmp_path_factory.mktemp("esc10")
    torch.manual_seed(0)
    tagger = AudioTagger().requires_grad_(False)
    for module in tagger.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().momentum = 1.0  # the statistics of noise, so that random layers keep sounds apart
    tagger(0.1 * torch.randn(8, 16_000), 32_000)
    torch.save(tagger.state_dict(), folder / "mn04.pt")
    names = AUDIOSET + [f"other {index}" for index in range(527 - len(AUDIOSET))]
    rows = [f'{index},/m/{index},"{name}"' for index, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["index,mid,display_name", *rows]))
    rows = ["file,label,fold,freesound_id,esc10"]
    for fold in range(1, 6):
        for label in ("dog", "rain", "engine"):  # an engine is in ESC-50, not in ESC-10
            write(folder / f"{label}{fold}.wav", seed=fold)
            rows.append(f"{label}{fold}.wav,{label},{fold},0,{label != 'engine'}")
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder


def write(file, seed, samples=8_000, channels=1):
    file.parent.mkdir(exist_ok=True, parents=True)
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal((samples, channels)), 16_000)


def arguments(files):
    return {"weights": files / "mn04.pt", "labels": files / "labels.csv", "real": files}


def test_every_class_has_audioset_names_of_its_own():
    assert len(esc10_classes.CLASSES) == 10
    assert len(set(AUDIOSET)) == len(AUDIOSET)


def test_both_ways_to_lay_out_a_folder(tmp_path):
    write(tmp_path / "rain" / "00.wav", seed=0)
    write(tmp_path / "clock_tick__07.wav", seed=0)
    assert [clip.label for clip in esc10_classes.clips_of_folder(tmp_path)] == ["clock_tick", "rain"]


def test_esc50_gives_the_ten_classes_of_the_folds_asked_for(files):
    clips = esc10_classes.clips_of_folds(files, folds="1234")
    assert [clip.label for clip in clips] == 4 * ["dog", "rain"]
    assert esc10_classes.clips_of_folds(files, folds="5")[0] == (files / "dog5.wav", "dog")


def test_scores_are_the_taggers_own_whatever_the_lengths(files, tmp_path):
    tagger = AudioTagger.from_checkpoint(files / "mn04.pt")
    lengths = [(8_000, 1), (8_000, 2), (8_000, 1), (5_000, 1), (8_000, 1)]
    for number, (samples, channels) in enumerate(lengths):
        write(tmp_path / f"{'dog' if number < 3 else 'rain'}__{number}.wav", number, samples, channels)
    scores = esc10.evaluate_folder(tmp_path, **arguments(files))
    columns = esc10_classes.class_columns(files / "labels.csv")
    found, vectors = [], []
    for clip in esc10_classes.clips_of_folder(tmp_path):
        samples = soundfile.read(clip.file, dtype="float32", always_2d=True)[0].mean(1)
        logits, embedding = tagger(torch.from_numpy(samples)[None], 16_000)
        best = torch.stack([logits[0, column].amax() for column in columns]).argmax()
        found.append(esc10_classes.CLASSES[int(best)] == clip.label)
        vectors.append(embedding[0])
    assert scores["accuracy"] == pytest.approx(sum(found) / 5)
    expected = [float(mean_pairwise_distance(torch.stack(group))) for group in (vectors[:3], vectors[3:])]
    assert list(scores["diversity_by_class"].values()) == pytest.approx(expected, rel=1e-3)
    assert scores["diversity"] == pytest.approx(sum(expected) / 2, rel=1e-3)


def test_only_a_copy_of_the_real_clips_is_at_distance_zero(files, tmp_path):
    for fold in range(1, 5):
        for label in ("dog", "rain"):
            write(tmp_path / "copy" / label / f"{fold}.wav", seed=fold)
            write(tmp_path / "other" / label / f"{fold}.wav", seed=fold + 10)
    scores = esc10.evaluate_folder(tmp_path / "copy", **arguments(files))
    assert scores["clips"] == scores["real_clips"] == 8
    assert scores["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert esc10.evaluate_folder(tmp_path / "other", **arguments(files))["frechet_distance"] > 0.01


def test_prints_a_table_of_fold_5_or_of_a_folder(files, tmp_path, capsys):
    options = [f"--{name}={file}" for name, file in arguments(files).items()]
    esc10.main(options)
    assert "to 8 real clips" in capsys.readouterr().out
    write(tmp_path / "sneezing__0.wav", seed=0)
    write(tmp_path / "sneezing__1.wav", seed=1)
    esc10.main([*options, f"--generated={tmp_path}"])
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:3]] == [["sneezing", "2"], ["all", "2"]]


def test_errors_say_what_was_expected(files, tmp_path, capsys):
    with pytest.raises(DataError, match=str(tmp_path)):
        esc10_classes.clips_of_folder(tmp_path)
    write(tmp_path / "piano" / "0.wav", seed=0)
    with pytest.raises(DataError, match="piano"):
        esc10_classes.clips_of_folder(tmp_path)
    with pytest.raises(DataError, match="6"):
        esc10_classes.clips_of_folds(files, folds="6")
    (tmp_path / "labels.csv").write_text("index,display_name\n0,Speech\n")
    with pytest.raises(DataError, match="Dog, Bark"):
        esc10.evaluate_real(files / "mn04.pt", tmp_path / "labels.csv", files)
    with pytest.raises(SystemExit):
        esc10.main([f"--weights={files}", f"--labels={files}", f"--real={tmp_path}"])
    assert "--generated is needed" in capsys.readouterr().err


def test_a_probe_scores_the_classes_of_an_encoder_without_labels(tmp_path, capsys):
    write_linear_layers(tmp_path / "birdnet.tflite", np.eye(30, dtype=np.float32), np.ones((7, 30)))
    for index, label in enumerate(esc10_classes.CLASSES):
        for number in range(2):  # a class is known by the place of its pulse in a window of 30 samples
            samples = np.zeros(30)
            samples[3 * index + number] = 0.9
            for folder in ("real", "generated"):
                file = tmp_path / folder / f"{label}__{number}.wav"
                file.parent.mkdir(exist_ok=True)
                soundfile.write(file, samples, 48_000)
    options = {"weights": tmp_path / "birdnet.tflite", "labels": None, "encoder": "tools.birdnet.BirdNet"}
    scores = esc10.evaluate_folder(tmp_path / "generated", real=tmp_path / "real", **options)
    assert scores["accuracy"] == scores["real_accuracy"] == 1
    assert scores["frechet_distance"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(SystemExit):
        esc10.main([f"--weights={tmp_path}", f"--real={tmp_path}"])
    assert "--labels" in capsys.readouterr().err
