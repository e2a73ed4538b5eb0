"""The released ConsistencyTTA, at reduced width: old and new names, averages, fine-tuned decoder, teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.cli import main
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import ConsistencyDistillation, Distillation, StudentConfig
from tests.convert import published
from tests.convert.test_audioldm import audioldm_checkpoint

GUIDED = published.unet(**published.SMALL_UNET, guided=True)
PLAIN = published.unet(**published.SMALL_UNET)
NEW = ("student_unet.", "student_target_unet.", "student_ema_unet.", "teacher_unet.")
STAGE_1 = ("student_unet.", "student_ema_unet.", "teacher_unet.")
OLD = ("consistency_unet.", "consistency_ema_unet.", "consistency_slow_ema_unet.", "diffusion_unet.")


def networks(names: tuple[str, ...]) -> dict[str, Tensor]:
    """One U-Net after each name, told apart by their last bias: 0, 1, 2, ..."""
    weights = {}
    for index, name in enumerate(names):
        guided = name not in ("teacher_unet.", "diffusion_unet.", "unet.")
        network = published.filled(GUIDED if guided else PLAIN)
        network["conv_out.bias"] = torch.full((4,), float(index))
        weights |= published.prefixed(name, network)
    return weights


def convert(tmp_path: Path, weights: dict[str, Tensor], *arguments: str) -> TextToAudioPipeline:
    """Convert with AudioLDM's checkpoint and without text."""
    torch.save(weights, tmp_path / "pytorch_model_2.bin")
    codec = audioldm_checkpoint(tmp_path / "audioldm-s-full.ckpt")
    files = [str(tmp_path / "pytorch_model_2.bin"), str(codec)]
    output = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    main(["convert", "consistencytta", *files, "--output", str(output), "--without_text", "true", *arguments])
    return TextToAudioPipeline.from_pretrained(output)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (NEW, 2),  # as in the published evaluation, --use_ema
        (OLD, 2),
        (OLD[:2] + OLD[3:], 1),  # load_pretrained: without a slow average, consistency_ema_ stands in for it
        (NEW[:1], 0),
    ],
)
def test_the_average_that_the_evaluation_uses_is_taken(names: tuple[str, ...], taken: int, tmp_path: Path) -> None:
    weights = networks(names)
    pipeline = convert(tmp_path, weights)
    assert pipeline.unet.conv_out.bias.tolist() == [taken] * 4
    for name, tensor in pipeline.unet.state_dict().items():
        if name in PLAIN:
            assert torch.equal(tensor, weights[names[taken] + name]), name
    assert torch.equal(pipeline.guidance_embedding.frequencies, weights[f"{names[taken]}guidance_proj.weight"])
    assert pipeline.guidance_embedding.config["log"] is False
    assert pipeline.sampler.one_query
    assert pipeline.config["guidance_range"] == [0.0, 6.0]
    assert pipeline.scheduler.config.prediction_type == "sample"


def test_a_converted_student_makes_sound_in_one_query(
    text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From what easy_inference reads: a U-Net alone, and the autoencoder with its scale."""
    source = tmp_path / "consistencytta_clapft_ckpt"
    source.mkdir()
    torch.save(published.filled(GUIDED), source / "unet_state_dict.pt")
    codec = published.small_autoencoder().state_dict()
    torch.save({"state_dict": codec, "scale_factor": 0.5}, source / "vae_state_dict.pt")
    output = tmp_path / "student"
    main(["convert", "consistencytta", str(source), "--output", str(output), "--text_encoder", str(text_folder)])
    arguments = ["--model", str(output), "--output", str(tmp_path / "wav"), "--device", "cpu"]
    assert len(main(["generate", "a dog barks", *arguments])) == 1
    assert "1 query each" in capsys.readouterr().out
    pipeline, noise = TextToAudioPipeline.from_pretrained(output), torch.randn(1, 4, 256, 4)
    assert pipeline.vae.config.scaling_factor == 0.5
    low, high = (pipeline.sample("a dog", guidance_scale=scale, latents=noise)[0] for scale in (1.0, 5.0))
    assert float((high - low).abs().max()) > 0.01


def test_the_fine_tuned_decoder_is_taken_by_its_average(tmp_path: Path) -> None:
    """Names as in ``AudioLCM_FTVAE``: its own autoencoder, the loss's copy of it, and two averages."""
    codec = published.small_autoencoder().state_dict()
    decoder = {name: tensor + 1 for name, tensor in codec.items() if name.startswith("decoder.")}
    average = published.prefixed("ema_vae_", {name: tensor + 1 for name, tensor in decoder.items()})
    average |= {f"ema_vae_pqconv.{kind}": codec[f"post_quant_conv.{kind}"] + 3 for kind in ("weight", "bias")}
    inner = {name.replace("ema_vae_", "ema_").replace("pqconv", "post_quant_conv"): average[name] for name in average}
    own = published.prefixed("vae.", codec | decoder | inner)
    weights = networks(NEW) | own | average | published.prefixed("loss.", own)
    pipeline = convert(tmp_path, weights)
    bias = codec["decoder.conv_out.bias"]
    assert torch.equal(pipeline.vae.decoder.conv_out.bias.data, bias + 1 + 1)
    assert torch.equal(pipeline.vae.post_quant_conv.bias.data, codec["post_quant_conv.bias"] + 3)
    assert torch.equal(pipeline.vae.encoder.conv_out.bias.data, codec["encoder.conv_out.bias"])
    # Its own autoencoder serves where no other is given, too, with a scale.
    alone = ["convert", "consistencytta", str(tmp_path / "pytorch_model_2.bin"), "--without_text", "true"]
    main([*alone, "--output", str(tmp_path / "alone"), "--scale_factor", "0.5"])
    again = TextToAudioPipeline.from_pretrained(tmp_path / "alone")
    autoencoder = pipeline.vae.state_dict()
    for name, tensor in again.vae.state_dict().items():
        assert torch.equal(tensor, autoencoder[name]), name


@pytest.mark.parametrize(
    ("names", "arguments"),
    [(("unet.",), []), (NEW, ["--network", "teacher"]), (OLD, ["--network", "teacher"])],
)
def test_teachers_are_converted_too(names: tuple[str, ...], arguments: list[str], tmp_path: Path) -> None:
    """LightweightLDM, and what students were distilled from."""
    pipeline = convert(tmp_path, networks(names), *arguments)
    assert pipeline.unet.conv_out.bias.tolist() == [len(names) - 1] * 4
    assert pipeline.unet.config.class_embed_type is None
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.sampler.one_query is False


def test_stage_1_becomes_a_diffusion_model_of_one_query_a_step(
    text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names as in ``AudioGDM``, which has no target network."""
    weights = networks(STAGE_1)
    pipeline = convert(tmp_path, weights, "--without_text", "false", "--text_encoder", str(text_folder))
    assert pipeline.unet.conv_out.bias.tolist() == [1] * 4
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.sampler.one_query is False
    assert pipeline.config["guidance_range"] == [0.0, 6.0]
    noise = torch.randn(1, 4, 16, 4)
    low, queries = pipeline.sample("a dog", 1.0, 2, latents=noise)
    high, _ = pipeline.sample("a dog", 5.0, 2, latents=noise)
    assert queries == 2
    assert float((high - low).abs().max()) > 0.01
    # It is a teacher for stage 2.
    folder = str(tmp_path / "stage 1")
    pipeline.save_pretrained(folder)
    module = Distillation(
        folder, ConsistencyDistillation(), {"latent": LatentL2Loss()}, student=StudentConfig(folder, "sample")
    )
    assert torch.equal(module.student.unet.conv_in.weight, pipeline.unet.conv_in.weight)
    assert torch.equal(module.frozen.teacher.unet.conv_in.weight, pipeline.unet.conv_in.weight)
    assert convert(tmp_path, weights, "--network", "teacher").unet.conv_out.bias.tolist() == [2] * 4


def test_stage_1_of_one_guidance_scale_is_still_asked_once_a_step(text_folder: Path, tmp_path: Path) -> None:
    """Without ``--teacher_guidance_scale=-1`` its U-Net is an ordinary one; guided again, it would be guided twice."""
    weights: dict[str, Tensor] = {}
    for name in STAGE_1:
        weights |= published.prefixed(name, published.filled(PLAIN))
    text = ["--without_text", "false", "--text_encoder", str(text_folder)]
    pipeline, teacher = convert(tmp_path, weights, *text), convert(tmp_path, weights, *text, "--network", "teacher")
    noise = torch.randn(1, 4, 16, 4)
    for scale in (1.0, 5.0):
        latent, queries = pipeline.sample("a dog", scale, 2, latents=noise)
        assert queries == 2
        torch.testing.assert_close(latent, teacher.sample("a dog", 1.0, 2, latents=noise)[0])


def test_what_cannot_be_converted_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="student"):
        convert(tmp_path, networks(("unet.",)), "--network", "student")
    with pytest.raises(SystemExit, match="teacher"):
        convert(tmp_path, networks(NEW[:3]), "--network", "teacher")
    truncated = networks(NEW)
    del truncated["student_ema_unet.conv_in.bias"]
    with pytest.raises(SystemExit, match=r"pytorch_model_2\.bin.*conv_in\.bias"):
        convert(tmp_path, truncated)
    with pytest.raises(SystemExit, match=r"--network.*tango"):
        main(["convert", "tango", "x", "--output", str(tmp_path / "x"), "--network", "student"])
    with pytest.raises(SystemExit, match=r"\.ckpt|\.pt|\.bin"):
        main(["convert", "consistencytta", str(tmp_path / "audioldm-s-full.ckpt"), "--output", str(tmp_path / "x")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audioldm-s-full.ckpt", "pytorch_model_2.bin"]
