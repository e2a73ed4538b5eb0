"""Batches turned into latents and text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from consistency_tta.contracts import Batch, Optimization, TextEmbedding
from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import codec_fingerprint, text_fingerprint
from consistency_tta.runtime.errors import DataError, ShapeError
from consistency_tta.training.latents import (
    LatentTraining,
    embed_with_dropout,
    sample_quietly,
    text_rows,
    waveform_of,
)
from consistency_tta.training.step_rng import StepRNG
from consistency_tta.training.time_binned_losses import TimeBinnedLosses
from tests.toys import NUM_SAMPLES, toy_parts
from tests.training.runs import batch, distillation, rng


class OfLatents(LatentTraining):
    """Trains nothing on a toy's latents; its model answers with noise."""

    latent_shape = (4, 8, 4)

    def __init__(self, text: bool = True, settings: dict[str, Any] | None = None) -> None:
        folder = TextToAudioPipeline(**toy_parts())
        folder.register_to_config(**(settings or {}))
        super().__init__(folder, Optimization(), 7, **({"text": folder.text} if text else {}))
        self.binned = TimeBinnedLosses(["loss"], 1000)

    def trainable(self) -> nn.Module:
        raise NotImplementedError

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        raise NotImplementedError

    def pipeline(self) -> Any:
        class Model:
            latent_seconds = 0.5
            set_progress_bar_config = mock.Mock()

            def __call__(self, captions: list[str], generator: torch.Generator, audio_length_in_s: float) -> Any:
                samples = int(audio_length_in_s * 2 * NUM_SAMPLES)
                return SimpleNamespace(waveform=torch.randn(len(captions), samples, generator=generator))

        return Model()


class OfAModel(OfLatents):
    """Which has an argument of that name."""

    def __init__(self, model: str) -> None:
        super().__init__()


class OfATeacher(OfLatents):
    """Which has both arguments."""

    def __init__(self, teacher: str, model: str = "another") -> None:
        super().__init__()


def placed(module: Any, training: bool = True, **state: Any) -> Any:
    """The module in a training, or outside of it."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"), checkpoint_io=None)
    settings = {"training": training, "testing": False, "precision": "32-true", "strategy": strategy}
    module._trainer = SimpleNamespace(**(settings | {"world_size": 1, "global_rank": 0} | state))
    return module


def moments(rows: int = 2) -> Tensor:
    return torch.randn(rows, 8, 8, 4)


def of(given: Tensor) -> Batch:
    """A batch encoded beforehand."""
    return Batch(["a"] * len(given), ["a"] * len(given), moments=given)


def test_what_the_folder_says_of_the_model_is_kept() -> None:
    stages = [{"training": "VocoderTraining"}]
    module = OfLatents(settings={"training": stages, "audio_length_in_s": 0.25})
    assert (module.earlier_stages, module.audio_length_in_s, module.seed) == (stages, 0.25, 7)
    assert module.sample_rate == 16000
    assert (OfLatents().earlier_stages, OfLatents().audio_length_in_s) == ((), None)


def test_networks_are_recognised_unless_they_are_trained() -> None:
    module, without = OfLatents(), OfLatents(text=False)
    found = {name: compute and compute() for name, compute in module.fingerprints().items()}
    assert found == {"codec": codec_fingerprint(module.frozen.codec), "text": text_fingerprint(module.frozen.text)}
    assert without.fingerprints()["text"] is None


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: OfATeacher("runs/teacher"), "runs/teacher"),
        (lambda: OfAModel("runs/model"), "runs/model"),
        (OfLatents, "this model"),
    ],
)
def test_data_by_another_codec_are_refused_with_the_models_name(make: Any, named: str) -> None:
    made = placed(make(), datamodule=SimpleNamespace(sample_rate=16000))
    made.setup("fit")
    made._trainer.datamodule.encodings = {"latents": {"codec": {"model": "another", "sha256": "0" * 64}}}
    with pytest.raises(DataError, match=f"by the autoencoder of another.*that of {named} is another"):
        made.setup("fit")
    made._trainer.datamodule = SimpleNamespace(sample_rate=8000)
    with pytest.raises(ValueError, match="8000"):
        made.setup("fit")
    del made._trainer.datamodule  # as with loaders of one's own
    made.setup("fit")


@pytest.mark.parametrize("inference", [True, False])
def test_the_empty_caption_is_embedded_once_on_a_device_and_can_be_trained_with(inference: bool) -> None:
    module = OfLatents()
    calls: list[Any] = []
    module.frozen.text.register_forward_hook(lambda *_: calls.append(1))
    module.frozen.text.requires_grad_(True)  # as networks that are held twice may be
    with torch.inference_mode(inference):
        first, again = module.embed_empty(), module.embed_empty()
    assert first is again
    assert len(calls) == 1
    assert not first.embedding.requires_grad
    assert not first.embedding.is_inference()
    assert torch.equal(first.embedding, module.frozen.text([""]).embedding)
    module.to("meta")
    assert module.embed_empty().mask.device.type == "meta"


def test_moments_stand_for_the_waveform_they_were_made_of() -> None:
    module, sounds = OfLatents(), batch(3)
    codec = module.frozen.codec
    latents = module.latents(sounds, rng())
    moments = codec.mel_to_moments(codec.waveform_to_mel(sounds.waveform)).detach()
    assert torch.equal(module.latents(Batch(sounds.captions, sounds.ids, moments=moments), rng()), latents)
    # A draw from the posterior, not its mean.
    epsilon = rng().normal_like(latents)
    assert torch.equal(latents, codec.moments_to_latent(moments, epsilon))
    assert not torch.equal(latents, codec.moments_to_latent(moments))
    assert not latents.requires_grad


def test_latents_have_no_gradients_and_the_networks_size() -> None:
    module = OfLatents()
    assert not module.latents(of(moments().requires_grad_()), rng()).requires_grad
    with pytest.raises(ShapeError, match=r"\(4, 8, 4\).*\(4, 8, 6\)"):
        module.latents(of(torch.randn(2, 8, 8, 6)), rng())
    module.latent_shape = (5, 8, 4)  # of another codec
    with pytest.raises(ShapeError, match=r"\(5, 8, 4\).*\(4, 8, 4\)"):
        module.latents(of(moments()), rng())


def test_a_batch_without_sounds_is_refused() -> None:
    sounds = batch(2)
    assert waveform_of(sounds) is sounds.waveform
    with pytest.raises(DataError, match="waveforms"):
        waveform_of(of(moments()))
    with pytest.raises(DataError, match="waveforms"):
        OfLatents().latents(Batch(["a"], ["a"]), rng())


def test_networks_are_told_how_long_the_sounds_are() -> None:
    durations = OfLatents().durations(torch.zeros(3, 4, 8, 2))
    assert durations["seconds_start"].tolist() == [0, 0, 0]
    assert durations["seconds_total"].tolist() == pytest.approx([NUM_SAMPLES / 16000] * 3)


@pytest.mark.parametrize(("testing", "stage"), [(False, "val"), (True, "test")])
def test_losses_are_gathered_by_time_outside_training(testing: bool, stage: str) -> None:
    module, logged = placed(OfLatents(), testing=testing), []
    module.log_dict = logged.append
    losses = {"loss": torch.tensor([1.0, 2.0])}
    module.bin_by_time(losses, torch.tensor([1000.0, 3.0]))
    module.on_validation_epoch_end()
    placed(module, training=False, testing=testing).bin_by_time(losses, torch.tensor([1000.0, 3.0]))
    module.on_validation_epoch_end()
    placed(module, training=False, testing=testing).bin_by_time(losses, torch.tensor([3.0, 1000.0]))
    module.on_test_epoch_end()
    names = [f"{stage}/loss_t/0000-0250", f"{stage}/loss_t/1000"]
    assert logged == [{}, dict(zip(names, (2, 1), strict=True)), dict(zip(names, (1, 2), strict=True))]


def test_previews_are_of_the_same_noise_each_time() -> None:
    module, sounds = OfLatents(), batch(2)
    first, again = module.previews(sounds), module.previews(sounds)
    assert [preview.name for preview in first] == sounds.captions
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.waveform, other.waveform)
        assert torch.equal(one.mel, module.frozen.codec.waveform_to_mel(one.waveform[None])[0])


def test_references_are_the_recordings_or_what_was_encoded_of_them() -> None:
    module, sounds, given = OfLatents(), batch(2), moments()
    assert module.references(sounds) == {"recording": sounds.waveform}
    both = Batch(["a"] * 2, ["a"] * 2, sounds.waveform, given)
    assert module.references(both) == {"recording": sounds.waveform}
    assert module.references(Batch(["a"], ["a"])) == {}
    codec = module.frozen.codec
    decoded = module.references(of(given.bfloat16()))["recording"]
    assert torch.equal(decoded, codec.decode(codec.moments_to_latent(given.bfloat16().float())))


def test_models_are_sampled_without_a_bar_and_as_long_as_their_latents(
    teacher_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = TextToAudioPipeline.from_pretrained(teacher_folder)
    model.register_modules(sampler=ODESampler(num_steps=2))
    model.register_to_config(audio_length_in_s=0.1)
    capfd.readouterr()
    first, again = (sample_quietly(model, ["a tone"], torch.Generator().manual_seed(3)) for _ in range(2))
    assert capfd.readouterr().err == ""
    assert first.shape == (1, NUM_SAMPLES)
    assert torch.equal(first, again)


def test_captions_encoded_beforehand_are_used(teacher_folder: Path) -> None:
    module = distillation(teacher_folder)
    text = TextEmbedding(torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool))
    assert module.embed(Batch(["a dog"], [""], text=text)) is text
    assert module.embed(Batch(["a dog"], [""])).embedding.shape == (1, 6, 16)


def letters(captions: Sequence[str]) -> TextEmbedding:
    """One token each, the number of letters."""
    return TextEmbedding(torch.tensor([[[float(len(c))]] for c in captions]), torch.ones(len(captions), 1).bool())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("encoded", [False, True])
def test_dropped_captions_are_replaced_by_what_means_none(dropout: float, encoded: bool) -> None:
    captions, read = ["a" * (row + 1) for row in range(40)], []

    def encoder(given: Sequence[str]) -> TextEmbedding:
        read.append(list(given))
        return letters(given)

    def unconditional(empty: TextEmbedding) -> TextEmbedding:
        return TextEmbedding(torch.full_like(empty.embedding, -1.0), empty.mask)

    given = Batch(captions, captions, text=letters(captions) if encoded else None)
    found = embed_with_dropout(given, encoder, dropout, rng(), unconditional, lambda: letters([""]))  # type: ignore[arg-type]
    kept = (rng().uniform(40) >= dropout).tolist()
    assert found.embedding[:, 0, 0].tolist() == [row + 1 if keep else -1 for row, keep in enumerate(kept)]
    assert read == ([] if encoded else [[c if keep else "" for c, keep in zip(captions, kept, strict=True)]])
    assert found is given.text or dropout or not encoded


def test_the_empty_caption_is_embedded_in_every_process_even_where_no_caption_is_dropped() -> None:
    text = TextEmbedding(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    calls: list[int] = []

    def empty() -> TextEmbedding:
        calls.append(1)
        return text

    captions = Batch(["a", "b"], ["", ""], text=text)
    found = embed_with_dropout(captions, None, 1e-9, rng(), lambda embedding: embedding, empty)
    assert found is text
    assert calls == [1]


def test_rows_of_two_lengths_are_chosen_and_padded() -> None:
    captions = TextEmbedding(torch.randn(3, 2, 4), torch.tensor([[True, True], [True, False], [True, True]]))
    for tokens in (1, 2, 5):
        empty = TextEmbedding(torch.randn(1, tokens, 4), torch.ones(1, tokens, dtype=torch.bool))
        mixed = text_rows(torch.tensor([True, False, True]), captions, empty)
        longest = max(2, tokens)
        assert mixed.embedding.shape == (3, longest, 4)
        assert torch.equal(mixed.embedding[[0, 2], :2], captions.embedding[[0, 2]])
        assert torch.equal(mixed.embedding[1, :tokens], empty.embedding[0])
        assert mixed.mask.sum(1).tolist() == [2, tokens, 2]


@pytest.mark.parametrize(("given", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_latents_are_at_least_float32(given: torch.dtype, expected: torch.dtype) -> None:
    """As the trainer's precision bf16-true hands over encoded latents."""
    module = OfLatents()
    moments = torch.randn(1, 8, 8, 4).to(given)
    latents = module.latents(Batch(["a"], ["a"], moments=moments), rng())
    assert latents.dtype == expected
    assert torch.equal(latents, module.latents(Batch(["a"], ["a"], moments=moments.to(expected)), rng()))
