"""Sounds and pictures in the log, and a model folder at the end."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from consistency_tta.components.mel import full_band_mel
from consistency_tta.contracts import Batch
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.reporting.spectrogram_plot import spectrogram_plot
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import Distillation, ExportFolder, LogSounds
from consistency_tta.training.callbacks import sounds
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.sounds import pictures, without_padding
from consistency_tta.training.step_rng import VALIDATION_SEED
from tests.toys import NUM_SAMPLES, stereo_parts, toy_parts
from tests.training.runs import MAKERS, data, diffusion, trainer


def voiceless() -> dict[str, Any]:
    return {name: part for name, part in toy_parts().items() if name != "vocoder"}


def fit(name: str, teacher: Path, folder: Path, callback: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    module = MAKERS[name](teacher)
    if isinstance(module, Distillation):
        module.teacher_pipeline.sampler.default_steps = 2
    settings = {"max_steps": 4, "limit_val_batches": 1, "val_check_interval": 2, "callbacks": [callback]}
    trainer(folder, **(settings | kwargs)).fit(module, data(num_clips=16))
    return module


def test_wav_files_without_tensorboard(teacher_folder: Path, tmp_path: Path) -> None:
    fit("vocoder", teacher_folder, tmp_path, LogSounds(num_sounds=2))
    names = sorted(path.name for path in (tmp_path / "sounds").iterdir())
    recordings = [f"{index}_val_{index}_recording.wav" for index in (0, 1)]
    assert names == recordings + [f"step{step:07d}_{index}_val_{index}.wav" for step in (2, 4) for index in (0, 1)]
    for name in names:
        sound, rate = soundfile.read(tmp_path / "sounds" / name)
        assert (len(sound), rate) == (NUM_SAMPLES, 16000)


def test_wav_files_next_to_another_loggers_files(teacher_folder: Path, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="run", version="7")
    fit("distillation", teacher_folder, tmp_path, LogSounds(num_sounds=1), logger=logger, log_every_n_steps=1)
    names = sorted(path.name for path in (tmp_path / "run" / "7" / "sounds").iterdir())
    references = ["0_a_low_tone_recording.wav", "0_a_low_tone_teacher.wav"]
    assert names == [*references, "step0000002_0_a_low_tone.wav", "step0000004_0_a_low_tone.wav"]


def test_latents_that_nothing_decodes_are_refused_before_training(teacher_folder: Path, tmp_path: Path) -> None:
    parts = TextToAudioPipeline.from_pretrained(teacher_folder)
    codec = TextToAudioPipeline(parts.mel, parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer)
    codec.save_pretrained(tmp_path / "codec")
    module = diffusion(tmp_path / "codec", network=parts.unet)
    with pytest.raises(ConfigurationError, match="has no vocoder"):
        trainer(tmp_path, max_steps=1, callbacks=[LogSounds()]).fit(module, data(num_clips=4))
    assert module.global_step == 0


@pytest.mark.parametrize("name", ["vocoder", "distillation"])
def test_sounds_end_before_the_padding_of_the_latents(name: str, teacher_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher_folder, tmp_path / "teacher")
    index = tmp_path / "teacher/model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"audio_length_in_s": 0.25}))
    fit(name, tmp_path / "teacher", tmp_path, LogSounds(num_sounds=1), max_steps=2)
    files = list((tmp_path / "sounds").iterdir())
    assert len(files) == (3 if name == "distillation" else 2)
    assert {soundfile.info(file).frames for file in files} == {4000}


def test_tensorboard_gets_audio_and_spectrograms(teacher_folder: Path, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    fit("distillation", teacher_folder, tmp_path, LogSounds(num_sounds=2), logger=logger, log_every_n_steps=1)
    events = EventAccumulator(logger.log_dir, size_guidance={"audio": 0, "images": 0})
    events.Reload()
    labels = [f"{clip}{name}" for clip in ("0_a_low_tone", "1_a_tone") for name in ("", "_recording", "_teacher")]
    assert sorted(events.Tags()["audio"]) == [f"sound/{label}" for label in labels]
    assert sorted(events.Tags()["images"]) == [f"spectrogram/{label}" for label in labels]
    for label in labels[:3]:
        audio = events.Audio(f"sound/{label}")
        assert [event.step for event in audio] == [2, 4]
        assert audio[0].sample_rate == 16000
        assert audio[0].length_frames == NUM_SAMPLES
    pixels = np.asarray(Image.open(io.BytesIO(events.Images("spectrogram/1_a_tone")[0].encoded_image_string)))
    assert pixels.shape == (300, 640, 3)
    assert (pixels.max(-1).astype(int) - pixels.min(-1)).max() > 100  # in colour
    assert (pixels[:, :4] == 255).all()  # with a margin for the axes
    assert not (tmp_path / "run" / "version_0" / "sounds").exists()
    assert {"train/loss", "val/loss", "train/skipped_steps"} <= set(events.Tags()["scalars"])


def test_a_training_without_sound_shows_pictures_alone(teacher_folder: Path, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    fit("autoencoder", teacher_folder, tmp_path, LogSounds(num_sounds=1), logger=logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert sorted(events.Tags()["images"]) == ["spectrogram/0_val_0", "spectrogram/0_val_0_recording"]
    assert events.Tags()["audio"] == []


def test_the_teacher_is_sampled_once_from_the_students_noise(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, torch.Tensor]] = []
    original = Distillation.references

    def counted(self: Any, *args: Any) -> dict[str, torch.Tensor]:
        made.append(original(self, *args))
        return made[-1]

    monkeypatch.setattr(Distillation, "references", counted)
    module = fit("distillation", teacher_folder, tmp_path, LogSounds(num_sounds=2))
    (sounds,) = made
    batch = next(iter(data().val_dataloader())).first(2)
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)(batch.captions, 3.0, 2, generator=generator).audios
    assert torch.allclose(sounds["teacher"], teacher, atol=1e-5)
    assert torch.equal(sounds["recording"], batch.waveform)
    assert list(module.references(batch, False)) == ["recording"]


def test_latents_are_decoded_for_comparison(teacher_folder: Path) -> None:
    module = MAKERS["distillation"](teacher_folder)
    batch = next(iter(data().val_dataloader())).first(2)
    moments = module.frozen.codec.encode(batch.waveform)
    encoded = Batch(batch.captions, batch.ids, moments=moments)
    (name, decoded) = next(iter(module.references(encoded, False).items()))
    latent = moments.chunk(2, 1)[0] * module.parts["vae"].config.scaling_factor
    assert name == "recording"
    assert torch.allclose(decoded, module.frozen.codec.decode(latent), atol=1e-5)


def test_every_second_validation_and_never_in_the_sanity_check(teacher_folder: Path, tmp_path: Path) -> None:
    callback = LogSounds(num_sounds=1, every_n_validations=2)
    fit("vocoder", teacher_folder, tmp_path, callback, max_steps=8, num_sanity_val_steps=1)
    assert sorted(path.name[:11] for path in (tmp_path / "sounds").glob("step*")) == ["step0000002", "step0000006"]


def test_logging_sounds_does_not_change_training(teacher_folder: Path, tmp_path: Path) -> None:
    with_sounds = fit("distillation", teacher_folder, tmp_path, LogSounds()).state_dict()
    without = fit("distillation", teacher_folder, tmp_path, LogSounds(num_sounds=1), limit_val_batches=0).state_dict()
    assert all(torch.equal(value, without[name]) for name, value in with_sounds.items())


def test_pictures_have_one_colour_scale() -> None:
    loud = torch.rand(16000) - 0.5
    mel = torch.zeros(100, 64)
    quiet = pictures(Preview("a", mel, 0.01 * loud), {"recording": loud}, 16000)
    equal = pictures(Preview("a", mel, loud), {"recording": loud}, 16000)
    same_titles = [np.asarray(one)[40:, 80:] for one in (quiet["model"], equal["model"], equal["recording"])]
    assert np.array_equal(same_titles[1], same_titles[2])
    assert same_titles[0][..., :3].mean() < 0.8 * same_titles[1][..., :3].mean()
    assert list(pictures(Preview("a", mel), {}, 16000)) == ["model"]


def test_a_picture_without_sound_ends_before_the_padding_too() -> None:
    mel = torch.arange(100.0)[:, None].expand(100, 64)
    assert torch.equal(without_padding(Preview("a", mel), 4000, 16000).mel, mel[:25])
    assert without_padding(Preview("a", mel), None, 16000).mel is mel


RATE = 8000
LONG = "a dog, barks: " + "x" * 60


@pytest.fixture
def module(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training whose sounds are given, in stereo and half precision."""
    made = MAKERS["vocoder"](teacher_folder)
    made.audio_length_in_s = 0.1
    made.seen, made.referred = [], []

    def previews(batch: Batch) -> list[Preview]:
        made.seen.append((len(batch), torch.is_grad_enabled()))
        return [Preview(name, torch.rand(100, 16), sounds_of(index)) for index, name in enumerate(batch.captions)]

    def references(batch: Batch, teacher: bool) -> dict[str, torch.Tensor]:
        made.referred.append((list(batch.captions), teacher))
        return {"recording": batch.waveform} | ({"teacher": -batch.waveform} if teacher else {})

    monkeypatch.setattr(type(made), "sample_rate", RATE)
    monkeypatch.setattr(made, "previews", previews)
    monkeypatch.setattr(made, "references", references)
    return made


def sounds_of(seed: int) -> torch.Tensor:
    return 3 * torch.rand(2, 1000, generator=torch.Generator().manual_seed(seed)).half() - 1.5


def clips(*captions: str) -> Batch:
    return Batch(list(captions), [""] * len(captions), waveform=torch.linspace(-1, 1, 1000).repeat(len(captions), 1))


def run_of(folder: Path, *loggers: Any, **more: Any) -> Any:
    settings: dict[str, Any] = {"log_dir": str(folder / "logs"), "global_step": 7, "loggers": loggers}
    return SimpleNamespace(**(settings | {"sanity_checking": False, "is_global_zero": True} | more))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.wav"))


def test_wav_files_have_names_of_captions_and_end_with_the_models_sounds(module: Any, tmp_path: Path) -> None:
    callback, label = LogSounds(num_sounds=2), "1_a_dog_barks_" + "x" * 48
    for step in (7, 12):
        run = run_of(tmp_path, CSVLogger(tmp_path), global_step=step)
        callback.on_validation_batch_start(run, module, clips("rain", LONG, "left out"), 0)
    folder = tmp_path / "logs" / "sounds"
    references = [f"{label}_{kind}.wav" for kind in ("recording", "teacher")]
    assert [name for name in names(folder) if "rain" not in name] == [
        *references,
        f"step0000007_{label}.wav",
        f"step0000012_{label}.wav",
    ]
    assert len(names(tmp_path)) == 8
    for name, expected in (
        (f"step0000007_{label}", sounds_of(1).float().T),
        (references[0][:-4], clips("").waveform[0]),
    ):
        written, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
        assert rate == RATE
        torch.testing.assert_close(torch.from_numpy(written), expected[:800].clamp(-1, 1), atol=1e-4, rtol=0)
    assert module.seen == [(2, False)] * 2
    module.audio_length_in_s = None
    LogSounds(num_sounds=1).on_validation_batch_start(run_of(tmp_path / "whole"), module, clips("rain"), 0)
    assert {soundfile.info(file).frames for file in (tmp_path / "whole").rglob("*.wav")} == {1000}


def test_the_first_batch_of_the_first_and_every_nth_validation(module: Any, tmp_path: Path) -> None:
    callback = LogSounds(every_n_validations=3)
    callback.on_validation_batch_start(run_of(tmp_path, sanity_checking=True), module, clips("rain"), 0)
    callback.on_validation_batch_start(run_of(tmp_path), LightningModule(), clips("rain"), 0)
    assert not module.seen
    for validation in range(4):
        for index in range(2):
            callback.on_validation_batch_start(run_of(tmp_path, global_step=validation), module, clips("rain"), index)
    assert [name for name in names(tmp_path) if "step" in name] == [f"step000000{step}_0_rain.wav" for step in (0, 3)]


def test_references_are_made_again_for_other_captions_alone(module: Any, tmp_path: Path) -> None:
    callback = LogSounds(teacher=False)
    for captions in (["rain"], ["rain"], ["a dog"]):
        callback.on_validation_batch_start(run_of(tmp_path), module, clips(*captions), 0)
    assert module.referred == [(["rain"], False), (["a dog"], False)]
    module.previews = lambda batch: []  # as of a training without sounds
    callback.on_validation_batch_start(run_of(tmp_path), module, clips("a bell"), 0)
    assert len(module.referred) == 2


@pytest.mark.parametrize("sharded", [False, True])
def test_of_several_processes_the_first_one_writes_and_all_query_what_is_sharded(
    sharded: bool, module: Any, tmp_path: Path
) -> None:
    module.sharded = SimpleNamespace() if sharded else None
    sent: list[bool] = []
    strategy = SimpleNamespace(broadcast=lambda changed: (sent.append(changed), True)[1])
    callback = LogSounds()
    for _ in range(2):
        run = run_of(tmp_path, is_global_zero=False, strategy=strategy)
        callback.on_validation_batch_start(run, module, clips("rain"), 0)
    assert len(module.seen) == 2 * sharded
    assert len(module.referred) == 2 * sharded  # the first process says whether captions changed
    assert sent == [True, False] * sharded
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("teacher", [True, False])
def test_loggers_get_sounds_and_pictures_by_name(
    teacher: bool, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[Any, ...]] = []
    monkeypatch.setattr(sounds, "log_pictures", lambda *given: logged.append(given))
    monkeypatch.setattr(sounds, "log_sounds", lambda *given: logged.append(given))
    logger = TensorBoardLogger(tmp_path)
    run = run_of(tmp_path, logger, CSVLogger(tmp_path))
    LogSounds(teacher=teacher).on_validation_batch_start(run, module, clips("rain"), 0)
    expected = ["student", "recording", "teacher"] if teacher else ["model", "recording"]
    (_, key, pictures, step), (_, sound_key, waveforms, rate, sound_step) = logged
    assert {id(one[0]) for one in logged} == {id(logger)}
    assert (key, sound_key, step, sound_step, rate) == ("spectrogram/0_rain", "sound/0_rain", 7, 7, RATE)
    assert list(pictures) == list(waveforms) == expected
    assert torch.equal(waveforms[expected[0]], sounds_of(0)[:, :800])
    assert torch.equal(waveforms["recording"], clips("").waveform[0, :800])
    assert not names(tmp_path)


@pytest.mark.parametrize("loggers", [True, False])
def test_mels_without_sounds_are_pictures_alone(
    loggers: bool, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[Any, ...]] = []
    monkeypatch.setattr(sounds, "log_pictures", lambda *given: logged.append(given))
    monkeypatch.setattr(module, "previews", lambda batch: [Preview("rain", torch.rand(100, 16))])
    run = run_of(tmp_path, *[TensorBoardLogger(tmp_path)] * loggers)
    LogSounds(teacher=False).on_validation_batch_start(run, module, clips("rain"), 0)
    assert [list(given[2]) for given in logged] == [["model", "recording"]] * loggers
    assert not names(tmp_path)


@pytest.mark.parametrize(("parts", "refused"), [(stereo_parts, False), (toy_parts, False), (voiceless, True)])
def test_latents_need_a_vocoder_where_they_are_mels(
    parts: Any, refused: bool, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("diffusion", "vocoder"):  # which trains what is missing
        made = MAKERS[name](teacher_folder)
        monkeypatch.setattr(made, "pipeline", lambda: TextToAudioPipeline(**parts()))
        with pytest.raises(ConfigurationError) if refused and name == "diffusion" else nullcontext():
            LogSounds().setup(trainer(Path()), made, "fit")


@pytest.mark.parametrize("channels", [None, 2])
def test_a_waveform_is_drawn_that_is_long_enough_for_a_frame(channels: int | None) -> None:
    enough = full_band_mel(RATE).config["n_fft"] // 2 + 1
    shape = [channels] if channels else []
    sound = torch.rand(*shape, enough, dtype=torch.float64)
    assert list(pictures(Preview("a", torch.rand(9, 16)), {"other": sound}, RATE, "own")) == ["own", "other"]
    assert list(pictures(Preview("a", torch.rand(9, 16)), {"other": sound[..., :-1]}, RATE, "own")) == ["own"]


def test_a_picture_has_the_name_and_the_frequencies_of_what_it_shows() -> None:
    """A preview's mel is drawn where there is no waveform, with as many bins as it has."""
    sound, mel = torch.rand(4000) - 0.5, torch.zeros(100, 16)
    front_end = full_band_mel(RATE)
    drawn = pictures(Preview("a", mel, sound), {"recording": sound}, RATE)
    own = front_end(sound[None])[0]
    for name, picture in drawn.items():
        expected = spectrogram_plot(own, dict(front_end.config), float(own.max()), title=f"{name}: a")
        assert np.array_equal(np.asarray(picture), np.asarray(expected))
    alone = pictures(Preview("a", mel), {}, RATE)["model"]
    expected = spectrogram_plot(mel, dict(front_end.config) | {"n_mels": 16}, 0.0, title="model: a")
    assert np.array_equal(np.asarray(alone), np.asarray(expected))


@pytest.mark.parametrize("name", list(MAKERS))
def test_the_folder_is_written_when_training_ends(name: str, teacher_folder: Path, tmp_path: Path) -> None:
    export = ExportFolder(str(tmp_path / "model"), license="mit")
    module = fit(name, teacher_folder, tmp_path, export, limit_val_batches=0)
    assert "license: mit" in (tmp_path / "model" / "README.md").read_text()
    written = TextToAudioPipeline.from_pretrained(tmp_path / "model")
    (stage,) = written.config["training"]
    assert (stage["training"], stage["steps"]) == (type(module).__name__, 4)
    assert "16" in stage["data"]
    assert bool(written.sampler and written.sampler.one_query) == (name == "distillation")
    averaged = dict(module.emas()[-1].module.named_parameters())
    if name in ("autoencoder", "refinement"):
        assert written.unet is None
        if name == "autoencoder":
            assert written.vae.config.scaling_factor == pytest.approx(float(module.second_moment.rsqrt()))
        assert all(torch.equal(value, averaged[key]) for key, value in written.vae.named_parameters())
    else:
        assert written("a tone", num_inference_steps=1).waveform.shape == (1, NUM_SAMPLES)
