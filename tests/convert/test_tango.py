"""TANGO's folder, at reduced width, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from consistency_tta.cli import main
from consistency_tta.pipeline import TextToAudioPipeline
from tests.convert import published
from tests.convert.tango_files import SCALE, tango_weights, write_tango


def test_a_converted_tango_is_a_teacher_that_makes_sound(
    text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tango_weights()
    source, output = write_tango(tmp_path / "tango", weights), tmp_path / "teacher"
    main(["convert", "tango", str(source), "--output", str(output), "--text_encoder", str(text_folder)])
    assert f"written to {output}" in capsys.readouterr().out
    assert {path.suffix for path in output.rglob("*model*") if path.suffix != ".json"} == {".safetensors"}

    pipeline = TextToAudioPipeline.from_pretrained(output)
    for name, tensor in pipeline.unet.state_dict().items():
        assert torch.equal(tensor, weights[f"unet.{name}"]), name
    for name, tensor in pipeline.text_encoder.state_dict().items():
        assert torch.equal(tensor, weights[f"text_encoder.{name}"]), name
    assert pipeline.unet.config.sample_size == [256, 4]
    assert pipeline.vae.config.scaling_factor == SCALE
    assert pipeline.guidance_embedding is None
    assert not pipeline.sampler.one_query
    scheduler = pipeline.scheduler.config
    assert (scheduler.beta_schedule, scheduler.prediction_type) == ("scaled_linear", "v_prediction")
    assert (scheduler.beta_start, scheduler.beta_end, scheduler.num_train_timesteps) == (0.00085, 0.012, 1000)

    arguments = ["--model", str(output), "--steps", "1", "--output", str(tmp_path / "wav"), "--device", "cpu"]
    (file,) = main(["generate", "a dog barks", *arguments])
    sound, rate = soundfile.read(file)
    assert (len(sound), rate) == (163840, 16000)
    assert sound.std() > 0


def test_without_text_the_folder_is_still_written(tmp_path: Path) -> None:
    source, output = write_tango(tmp_path / "tango", tango_weights()), tmp_path / "teacher"
    with pytest.raises(SystemExit, match="google/flan-t5-large"):
        main(["convert", "tango", str(source), "--output", str(output)])
    assert not output.exists()
    # The files by name and in another order, of which the mel's buffers are left out.
    files = [str(source / f"pytorch_model_{name}.bin") for name in ("vae", "main")]
    main(["convert", "tango", *files, "--output", str(output), "--without_text", "true"])
    pipeline = TextToAudioPipeline.from_pretrained(output)
    assert pipeline.text_encoder is None
    assert pipeline.denoiser.unet is pipeline.unet


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"unet.conv_out.weight": None}, r"pytorch_model_main\.bin.*conv_out\.weight"),
        ({"group_in.0.weight": torch.ones(1)}, r"group_in\.0\.weight"),
        ({"unet.conv_in.weight": torch.ones(32, 8, 3, 3)}, r"conv_out\.bias"),
        ({"text_encoder.encoder.final_layer_norm.weight": None}, r"final_layer_norm"),
    ],
)
def test_a_wrong_checkpoint_writes_nothing(
    damage: dict[str, Tensor | None], named: str, text_folder: Path, tmp_path: Path
) -> None:
    weights = {name: tensor for name, tensor in (tango_weights() | damage).items() if tensor is not None}
    source, output = write_tango(tmp_path / "tango", weights), tmp_path / "out" / "teacher"
    with pytest.raises(SystemExit, match=named):
        main(["convert", "tango", str(source), "--output", str(output), "--text_encoder", str(text_folder)])
    assert not output.parent.exists()


def test_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    source = write_tango(tmp_path / "tango", tango_weights())
    arguments = ["--output", str(tmp_path / "out"), "--without_text", "true"]
    settings = json.loads((source / "stft_config.json").read_text())
    (source / "stft_config.json").write_text(json.dumps(settings | {"mel_fmax": 7000}))
    with pytest.raises(SystemExit, match=r"stft\.bin"):
        main(["convert", "tango", str(source), *arguments])
    (source / "stft_config.json").write_text(json.dumps(settings | {"n_mel_channels": 64}))
    with pytest.raises(SystemExit, match="64"):
        main(["convert", "tango", str(source), *arguments])
    (source / "stft_config.json").write_text(json.dumps(settings))
    (source / "vae_config.json").unlink()
    with pytest.raises(SystemExit, match="--scale_factor"):
        main(["convert", "tango", str(source), *arguments])
    torch.save(published.small_autoencoder().state_dict(), source / "other.bin")
    with pytest.raises(SystemExit, match=r"other\.bin .*pytorch_model_vae\.bin"):
        main(["convert", "tango", str(source), *arguments])
    with pytest.raises(SystemExit, match=r"pytorch_model_main\.bin"):
        main(["convert", "tango", str(source / "other.bin"), *arguments])
    with pytest.raises(SystemExit, match="autoencoder"):
        main(["convert", "tango", str(source / "pytorch_model_main.bin"), *arguments])
    assert not (tmp_path / "out").exists()
