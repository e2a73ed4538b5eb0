"""A model is a folder: saved and loaded bit by bit, whole or in part, queried as often as it says."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck
from torch import Tensor

from consistency_tta.components.backbones.unet import widen_unet
from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.components.networks import hifigan
from consistency_tta.contracts import Conditioning, Denoiser
from consistency_tta.diffusion.grid import KarrasGrid, LinspaceGrid
from consistency_tta.diffusion.sampler import ConsistencySampler, ODESampler
from consistency_tta.diffusion.solve import DDIM, DPMSolver2S, Heun
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, DataError, ModelFolderError, ShapeError
from consistency_tta.runtime.trust import trust
from tests.toys import NUM_SAMPLES, OOBLECK, STEREO_SAMPLES, toy_parts


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> TextToAudioPipeline:
    pipeline = TextToAudioPipeline.from_pretrained(teacher_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def student() -> TextToAudioPipeline:
    parts, features = toy_parts(), GuidanceEmbedding()
    unet = widen_unet(parts["unet"], features.num_features)
    torch.nn.init.normal_(unet.class_embedding.linear_2.weight)  # so that w matters
    return TextToAudioPipeline(**(parts | {"unet": unet}), guidance_embedding=features, distilled=True)


def query_sizes(pipeline: TextToAudioPipeline) -> list[int]:
    """Batch sizes of the U-Net's queries from now on."""
    sizes: list[int] = []
    pipeline.unet.register_forward_pre_hook(lambda _m, args: sizes.append(len(args[0])))
    return sizes


def test_a_folder_keeps_every_bit(tmp_path: Path) -> None:
    pipeline = student()
    noise = torch.randn(2, 4, 8, 4)
    made = pipeline(["a dog", ""], latents=noise)
    pipeline.save_pretrained(tmp_path)
    loaded = TextToAudioPipeline.from_pretrained(tmp_path)
    again = loaded(["a dog", ""], latents=noise)
    assert torch.equal(again.waveform, made.waveform)
    assert torch.equal(again.latent, made.latent)
    assert loaded.sampler.one_query
    assert not list(tmp_path.rglob("*.bin"))
    assert made.waveform.shape == (2, NUM_SAMPLES)
    assert made.waveform.dtype == torch.float32
    assert made.waveform.abs().max() <= 1
    assert made.sample_rate == 16000
    assert set(made.seconds) == {"latents", "decoders"}


def test_the_folder_has_diffusers_layout(teacher_folder: Path) -> None:
    index = json.loads((teacher_folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "TextToAudioPipeline"]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]
    assert index["text_encoder"] == ["transformers", "T5EncoderModel"]
    assert index["vocoder"] == ["consistency_tta.components.vocoder", "FourierVocoder"]
    assert index["guidance_embedding"] == [None, None]
    for part in ("mel", "vae", "vocoder", "unet"):
        assert (teacher_folder / part / "diffusion_pytorch_model.safetensors").is_file()


def test_hifigan_is_a_vocoder_of_a_folder_too(tmp_path: Path) -> None:
    pipeline = student()
    pipeline.register_modules(vocoder=hifigan(n_mels=16, channels=32).eval())
    noise = torch.randn(1, 4, 8, 4)
    made = pipeline("a dog", latents=noise).waveform
    pipeline.save_pretrained(tmp_path)
    assert made.shape == (1, NUM_SAMPLES)
    assert torch.equal(TextToAudioPipeline.from_pretrained(tmp_path)("a dog", latents=noise).waveform, made)


def test_a_part_of_a_model_is_a_folder_and_what_is_missing_is_named(tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(mel=parts["mel"], vae=parts["vae"]).save_pretrained(tmp_path)
    half = TextToAudioPipeline.from_pretrained(tmp_path)
    assert half.unet is None
    moments = half.codec.mel_to_moments(half.codec.waveform_to_mel(torch.zeros(1, NUM_SAMPLES)))
    assert moments.shape == (1, 8, 8, 4)
    assert half.sampler is None
    for part in (str(tmp_path), "vocoder", "text_encoder", "tokenizer", "unet", "scheduler"):
        with pytest.raises(ModelFolderError, match=part):
            half("a dog")
    with pytest.raises(ModelFolderError, match="unet"):
        _ = half.denoiser
    with pytest.raises(ModelFolderError, match="vae"):
        _ = TextToAudioPipeline().codec
    del parts["vocoder"]
    with pytest.raises(ModelFolderError, match="vocoder"):
        TextToAudioPipeline(**parts)("a dog")


@pytest.mark.parametrize("solver", [None, DDIM(), Heun(), DPMSolver2S()])
@pytest.mark.parametrize(("guidance_scale", "twice"), [(3.0, 2), (1.0, 1)])
def test_a_teacher_is_queried_as_often_as_reported(
    teacher: TextToAudioPipeline, solver: DDIM | None, guidance_scale: float, twice: int
) -> None:
    sizes = query_sizes(teacher)
    made = teacher(["a dog", "rain"], guidance_scale, 5, solver=solver)
    cost = 1 if solver is None else solver.queries_per_step
    assert made.queries == 5 * cost * twice
    assert sum(sizes) == 2 * made.queries  # two sounds
    assert sizes == [2 * twice] * (5 * cost)  # guidance is one call of twice the batch


def test_a_teachers_default_is_50_steps_and_other_grids_give_other_sounds(teacher: TextToAudioPipeline) -> None:
    noise = torch.randn(1, 4, 8, 4)
    assert teacher("a dog", latents=noise).queries == 100
    uniform = teacher("a dog", num_inference_steps=5, latents=noise).latent
    karras = teacher("a dog", num_inference_steps=5, latents=noise, grid=KarrasGrid()).latent
    assert not torch.allclose(uniform, karras, atol=1e-3)
    guided = teacher("a dog", 6.0, num_inference_steps=5, latents=noise).latent
    assert not torch.allclose(uniform, guided, atol=1e-5)


def test_a_student_is_queried_once_or_as_often_as_specified() -> None:
    pipeline = student()
    sizes = query_sizes(pipeline)
    assert pipeline(["a dog", "rain"]).queries == 1
    assert sizes == [2]
    assert pipeline("a dog", num_inference_steps=3).queries == 3
    assert sizes == [2, 1, 1, 1]
    times: list[float] = []
    pipeline.unet.register_forward_pre_hook(lambda _m, args: times.append(float(args[1][0]) + 1))
    pipeline("a dog", num_inference_steps=4)
    pipeline("a dog", num_inference_steps=4, grid=LinspaceGrid())
    assert times == [1000, 750, 500, 250, 1000, 667, 334, 1]
    noise = torch.randn(1, 4, 8, 4)
    weak, strong = (pipeline("a dog", scale, latents=noise).latent for scale in (1.0, 5.0))
    assert not torch.allclose(weak, strong, atol=1e-4)
    with pytest.raises(ConfigurationError, match="num_steps"):
        pipeline("a dog", num_inference_steps=0)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_student_may_be_guided_from_outside_at_twice_the_queries(steps: int) -> None:
    pipeline, noise = student(), torch.randn(1, 4, 8, 4)

    def latent(prompt: str, external: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return pipeline.sample(
            prompt, 1.5, steps, latents=noise, generator=generator, external_guidance_scale=external
        )[0]

    sizes = query_sizes(pipeline)
    made = pipeline("a dog", 1.5, steps, latents=noise, external_guidance_scale=2.0)
    assert made.queries == 2 * steps
    assert sizes == [2] * steps
    torch.testing.assert_close(latent("", 2.0), latent("", 1.0))  # from no caption to no caption
    if steps == 1:
        conditional, nothing = latent("a dog", 1.0), latent("", 1.0)
        torch.testing.assert_close(latent("a dog", 2.0), nothing + 2 * (conditional - nothing), rtol=1e-4, atol=1e-5)


def test_all_guidance_of_a_plain_teacher_is_from_outside(teacher: TextToAudioPipeline) -> None:
    with pytest.raises(ConfigurationError, match="guidance_scale=2"):
        teacher("a dog", 1.0, 2, external_guidance_scale=2.0)


@pytest.mark.parametrize("steps", [1, 2])
def test_sounds_with_their_own_generators_do_not_depend_on_the_batch(steps: int) -> None:
    pipeline = student()

    def generators(*seeds: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    prompts = ["a dog", "rain on a tin roof", "a dog"]
    together = pipeline(prompts, 3.0, steps, generator=generators(1, 2, 3)).waveform
    for row, prompt in enumerate(prompts):
        alone = pipeline(prompt, 3.0, steps, generator=generators(row + 1)).waveform
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[2], atol=1e-3)
    shared = pipeline(prompts, 3.0, steps, generator=torch.Generator().manual_seed(0)).waveform
    again = pipeline(prompts, 3.0, steps, generator=torch.Generator().manual_seed(0)).waveform
    assert torch.equal(shared, again)


def test_latents_may_be_had_without_decoding(teacher: TextToAudioPipeline) -> None:
    prompts, noise = ["a dog", "rain"], torch.randn(2, 4, 8, 4)
    made = teacher(prompts, 3.0, 5, latents=noise)
    parts = {name: part for name, part in teacher.components.items() if name not in ("mel", "vae", "vocoder")}
    latent, queries = TextToAudioPipeline(**parts).sample(prompts, 3.0, 5, latents=noise)
    assert torch.equal(latent, made.latent)
    assert queries == made.queries


def test_latents_and_generators_must_match_the_prompts(teacher: TextToAudioPipeline) -> None:
    with pytest.raises(ShapeError, match=r"\(3, 4, 8, 4\)"):
        teacher(["a", "b"], latents=torch.randn(3, 4, 8, 4))
    with pytest.raises(ShapeError, match="3"):
        teacher(["a", "b"], generator=[torch.Generator()] * 3)
    with pytest.raises(ShapeError, match=r"\(4, 8, 4\)"):
        teacher("a", latents=torch.randn(4, 8, 4))
    with pytest.raises(DataError):
        teacher("a", latents=torch.full((1, 4, 8, 4), math.nan))
    with pytest.raises(ConfigurationError, match="1234"):
        teacher("a", generator=1234)


@pytest.mark.parametrize("prompt", [None, [], 5, [5], ["a", None], b"rain", {"a": 1}, "\ud800", "a\0b"])
def test_what_is_no_text_is_refused(prompt: object, teacher: TextToAudioPipeline) -> None:
    with pytest.raises(ConfigurationError):
        teacher(prompt, num_inference_steps=1)


@pytest.mark.parametrize("prompt", ["...", "10", "a\r\nb\u2028c", "雨 🐶", "x" * 100_000])
def test_any_text_is_a_prompt(prompt: str) -> None:
    pipeline, noise = student(), torch.randn(1, 4, 8, 4)
    alone = pipeline(prompt, latents=noise).waveform
    assert alone.isfinite().all()
    assert torch.equal(alone, pipeline([prompt], latents=noise).waveform)
    assert torch.equal(alone, pipeline((prompt,), latents=noise).waveform)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, True, "3"])
def test_a_scale_that_is_no_number_is_refused(scale: object, teacher: TextToAudioPipeline) -> None:
    for name in ("guidance_scale", "external_guidance_scale"):
        with pytest.raises(ConfigurationError, match=name):
            teacher("a", num_inference_steps=1, **{name: scale})


def test_a_network_that_computes_nan_is_an_error(teacher: TextToAudioPipeline) -> None:
    torch.nn.init.constant_(next(teacher.unet.parameters()), math.nan)
    with pytest.raises(DataError, match="float32"):
        teacher("a", num_inference_steps=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_griffin_lims_tables_are_exact_however_the_folder_is_cast(dtype: torch.dtype, tmp_path: Path) -> None:
    exact = GriffinLimVocoder(model_in_dim=16, num_iterations=1)
    pipeline = TextToAudioPipeline(**(toy_parts() | {"vocoder": exact}))
    pipeline.save_pretrained(tmp_path / "float32")
    mel = torch.randn(1, 32, 16)
    expected = exact(mel)
    pipeline.to(dtype).save_pretrained(tmp_path / "half")
    for folder in ("float32", "half"):
        loaded = TextToAudioPipeline.from_pretrained(tmp_path / folder, torch_dtype=dtype)
        assert torch.equal(loaded.codec.mel_to_waveform(mel), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_folders_run_in_float32_or_as_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    pipeline, noise = student(), torch.randn(1, 4, 8, 4)
    expected = pipeline("a dog", latents=noise).waveform
    pipeline.to(dtype)
    pipeline.save_pretrained(tmp_path)
    for settings, loaded_as in (({}, torch.float32), ({"torch_dtype": dtype}, dtype)):
        loaded = TextToAudioPipeline.from_pretrained(tmp_path, **settings)
        assert {getattr(loaded, name).dtype for name in ("vae", "vocoder", "text_encoder", "unet")} == {loaded_as}
        made = loaded("a dog", latents=noise)
        assert made.waveform.dtype == torch.float32
        torch.testing.assert_close(made.waveform, expected, atol=0.05 * float(expected.abs().max()), rtol=0)


def test_a_third_partys_sampler_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_sampler.py").write_text(
        "from diffusers.configuration_utils import register_to_config\n"
        "from consistency_tta.diffusion.sampler import Sampler\n\n\n"
        "class HalfSampler(Sampler):\n"
        "    @register_to_config\n"
        "    def __init__(self, share: float = 0.5) -> None:\n"
        "        self.share = share\n\n"
        "    def sample(self, denoiser, noise, conditioning, num_steps=None, **settings):\n"
        "        return self.share * noise, 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trust(["half_sampler"])
    from half_sampler import HalfSampler

    TextToAudioPipeline(**toy_parts(), sampler=HalfSampler(0.25)).save_pretrained(tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["sampler"] == ["half_sampler", "HalfSampler"]
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "model")
    noise = torch.randn(1, 4, 8, 4)
    made = loaded("a dog", latents=noise)
    assert torch.equal(made.latent, 0.25 * noise)
    assert made.queries == 0
    sys.modules.pop("half_sampler")
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="half_sampler"):
        TextToAudioPipeline.from_pretrained(tmp_path / "model")


def test_an_attribute_error_inside_a_property_is_reported_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: TextToAudioPipeline) -> None:
        self.tokenizer.no_such_attribute  # noqa: B018

    monkeypatch.setattr(TextToAudioPipeline, "text", property(broken))
    with pytest.raises(AttributeError, match="no_such_attribute"):
        _ = TextToAudioPipeline(**toy_parts()).text
    with pytest.raises(AttributeError, match="no_such_part"):
        _ = TextToAudioPipeline().no_such_part


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("guidance", [False, True])
def test_a_folder_from_before_samplers_loads_as_before(distilled: bool, guidance: bool, tmp_path: Path) -> None:
    pipeline = student() if guidance else TextToAudioPipeline(**toy_parts())
    pipeline.save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / "sampler")
    index = json.loads((tmp_path / "model_index.json").read_text()) | {"distilled": distilled}
    del index["sampler"], index["transformer"], index["projection_model"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    loaded = TextToAudioPipeline.from_pretrained(tmp_path)
    assert loaded.sampler.one_query == distilled
    assert loaded.default_steps == (1 if distilled else 50)
    assert loaded.sampler.classifier_free_guidance == (not distilled and not guidance)


def test_the_sampler_is_a_part_of_the_folder(tmp_path: Path) -> None:
    parts = toy_parts() | {"sampler": ODESampler(3, "Heun", {"class_path": "KarrasGrid", "init_args": {"rho": 3.0}})}
    TextToAudioPipeline(**parts).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["sampler"] == ["consistency_tta.diffusion.sampler", "ODESampler"]
    loaded, noise = TextToAudioPipeline.from_pretrained(tmp_path), torch.randn(1, 4, 8, 4)
    made = loaded("a dog", latents=noise)
    assert made.queries == 3 * 2 * 2
    expected = loaded("a dog", latents=noise, num_inference_steps=3, solver=Heun(), grid=KarrasGrid(3.0))
    assert torch.equal(made.latent, expected.latent)
    assert not torch.equal(made.latent, loaded("a dog", latents=noise, grid=KarrasGrid(7.0)).latent)


def test_griffin_lims_vocoder_runs_in_half_precision() -> None:
    vocoder = GriffinLimVocoder(model_in_dim=16, num_iterations=1)
    pipeline, noise = TextToAudioPipeline(**(toy_parts() | {"vocoder": vocoder})), torch.randn(1, 4, 8, 4)
    expected = pipeline("a dog", num_inference_steps=1, latents=noise).waveform
    made = pipeline.to(torch.bfloat16)("a dog", num_inference_steps=1, latents=noise).waveform
    assert made.shape == expected.shape
    assert made.dtype == torch.float32
    assert made.isfinite().all()


def test_a_stock_unet_of_one_size_has_square_latents() -> None:
    parts = toy_parts()
    parts["unet"].register_to_config(sample_size=8)
    latent, _ = TextToAudioPipeline(**parts).sample("a dog", num_inference_steps=1)
    assert latent.shape == (1, 4, 8, 8)
    parts["unet"].register_to_config(sample_size=None)
    with pytest.raises(ModelFolderError, match="sample_size"):
        TextToAudioPipeline(**parts)("a dog", num_inference_steps=1)


class RecordingSampler(ConsistencySampler):
    """Keeps what it is given."""

    def sample(self, denoiser: Denoiser, noise: Tensor, conditioning: Conditioning, **_: object) -> tuple[Tensor, int]:
        self.given = conditioning
        return noise, 1


def test_seconds_condition_the_network_and_cut_the_waveform() -> None:
    pipeline = TextToAudioPipeline(**toy_parts(), sampler=RecordingSampler())
    whole = pipeline(["a dog", "rain"], generator=torch.Generator().manual_seed(0))
    assert pipeline.sampler.given.scalars["seconds_start"].tolist() == [0, 0]
    assert pipeline.sampler.given.scalars["seconds_total"].tolist() == pytest.approx([NUM_SAMPLES / 16000] * 2)
    part = pipeline(["a dog", "rain"], generator=torch.Generator().manual_seed(0), seconds=0.25)
    assert pipeline.sampler.given.scalars["seconds_total"].tolist() == [0.25, 0.25]
    assert torch.equal(part.waveform, whole.waveform[:, :4000])
    for seconds in (0.0, -1.0, 6.0, float("nan"), "1"):
        with pytest.raises(ConfigurationError, match="audio_length_in_s"):
            pipeline("a dog", seconds=seconds)


def test_sounds_end_where_the_models_recordings_did_unless_the_caller_gives_latents(tmp_path: Path) -> None:
    parts = toy_parts()
    TextToAudioPipeline(**parts, sampler=ConsistencySampler(), audio_length_in_s=0.25).save_pretrained(tmp_path / "m")
    pipeline = TextToAudioPipeline.from_pretrained(tmp_path / "m")

    def generate(**settings: Any) -> Tensor:
        return pipeline("a dog", generator=torch.Generator().manual_seed(0), **settings).audios

    whole = generate(audio_length_in_s=pipeline.latent_seconds)
    assert whole.shape == (1, NUM_SAMPLES)
    assert torch.equal(generate(), whole[:, :4000])
    noise = torch.randn(1, *pipeline.latent_shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generate(latents=noise), whole)


def test_a_model_of_a_stereo_codec_gives_stereo_sound() -> None:
    vae = AutoencoderOobleck(**OOBLECK).eval()
    pipeline = TextToAudioPipeline(
        **(toy_parts() | {"vae": vae, "mel": None, "vocoder": None}), sampler=RecordingSampler()
    )
    noise = torch.randn(2, 4, 16)
    pipeline.sampler.sample = lambda *_, **__: (noise, 1)
    made = pipeline(["a dog", "rain"])
    assert made.sample_rate == 44100
    assert made.waveform.shape == (2, 2, STEREO_SAMPLES)
    torch.testing.assert_close(made.waveform, vae.decode(noise).sample.clamp(-1, 1))
    with pytest.raises(ModelFolderError, match="AutoencoderOobleck"):
        _ = pipeline.mel_codec
