"""Training a CLAP: the loss, the augmentation, several processes, and what is exported."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import ClapModel
from transformers.models.clap.modeling_clap import contrastive_loss as transformers_loss

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.networks import clap
from consistency_tta.contracts import Batch, Optimization
from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training import ContrastiveTraining, ExportFolder, LogSounds
from consistency_tta.training.contrastive import caption_keys, contrastive_loss
from consistency_tta.training.step_rng import StepRNG
from tests.components.test_clap import SMALL
from tests.training.runs import trainer

ONE = torch.ones(())


def module(**kwargs: Any) -> ContrastiveTraining:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"clap": clap(**SMALL), "optimization": Optimization(learning_rate=3e-3), "seed": 0}
    return ContrastiveTraining(**(settings | kwargs))


def sounds(batch_size: int = 8, num_clips: int = 48) -> SyntheticDataModule:
    return SyntheticDataModule(
        num_clips=num_clips, num_val_clips=8, num_samples=8000, batch_size=batch_size, val_batch_size=8
    )


def vectors(rows: int) -> tuple[Tensor, Tensor]:
    return F.normalize(torch.randn(rows, 5), dim=1), F.normalize(torch.randn(rows, 5), dim=1)


def test_with_different_captions_it_is_the_loss_of_transformers() -> None:
    audio, text = vectors(6)
    expected = (transformers_loss(3 * audio @ text.T) + transformers_loss(2 * text @ audio.T)) / 2
    torch.testing.assert_close(contrastive_loss(audio, text, torch.arange(6), 3 * ONE, 2 * ONE), expected)


def test_equal_captions_are_no_negatives_of_each_other() -> None:
    keys = caption_keys(["rain", "a dog", "rain"])
    assert keys.dtype == torch.int64
    assert keys[0] == keys[2] != keys[1]
    basis = torch.eye(2)
    vector = basis[[0, 1, 0]]
    # Found alike, the two clips of rain share their probability: log 2 is the best that can be.
    torch.testing.assert_close(
        contrastive_loss(vector, vector, keys, 50 * ONE, 50 * ONE), torch.tensor(2 * 2).log() / 3, atol=1e-6, rtol=0
    )
    apart = contrastive_loss(vector, basis[[0, 1, 1]], keys, 50 * ONE, 50 * ONE)
    assert apart > 5


def test_half_precision_is_compared_in_float32() -> None:
    audio, text = (x.bfloat16() for x in vectors(6))
    keys = torch.tensor([0, 1, 0, 2, 3, 0])
    exact = contrastive_loss(audio.float(), text.float(), keys, 100 * ONE, 100 * ONE)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(contrastive_loss(audio, text, keys, 100 * ONE, 100 * ONE), exact)


def placed(made: ContrastiveTraining, folder: Path, training: bool) -> dict[str, Any]:
    """Place a module in a training, or a validation, of one process; where it will log."""
    made.trainer = trainer(folder)
    made.trainer.training = training
    logged: dict[str, Any] = {}
    made.log_losses = lambda losses, batch_size: logged.update(losses, rows=batch_size)  # type: ignore[method-assign]
    return logged


def draws() -> StepRNG:
    return StepRNG(0, 0, 0, torch.device("cpu"))


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_that_of_recordings_which_only_training_varies(training: bool, tmp_path: Path) -> None:
    made = module(clap=clap(**SMALL, dropout=0.0))
    logged, batch, again = placed(made, tmp_path, training), next(iter(sounds().train_dataloader())), draws()
    with torch.no_grad():
        for network, scale in ((made.clap, 1.0), (made.average.module, 2.0)):
            network.model.logit_scale_a.fill_(scale)
            network.model.logit_scale_t.fill_(3.0)
            network.model.text_projection.linear2.weight.mul_(scale)  # else only the scales would tell them apart
    loss = made.loss(batch, draws())

    network, waveform = made.average.module, batch.waveform
    if training:
        network, waveform = made.clap, made.augment_waveform(waveform, again)
    features = network.front_end(waveform)
    audio = network.embed_features(made.spec_augment(features, again) if training else features)
    text = network.embed_text(batch.captions)
    scales = [network.model.logit_scale_a.exp(), network.model.logit_scale_t.exp()]
    keys = caption_keys(batch.captions)
    torch.testing.assert_close(loss, contrastive_loss(audio, text, keys, *scales))
    assert torch.equal(logged.pop("loss"), loss)
    assert torch.equal(logged["scale"], scales[0])
    assert not logged.pop("scale").requires_grad
    assert logged.pop("rows") == 8
    if not training:
        nearest = [batch.captions[index] for index in (audio @ text.T).argmax(1)]
        right = sum(found == caption for found, caption in zip(nearest, batch.captions, strict=True))
        assert logged.pop("retrieval") == right / 8
    assert not logged


def test_captions_and_recordings_of_all_processes_are_contrasted(tmp_path: Path) -> None:
    """As one process with the batches of both; gradients flow to the vectors and not to the captions' keys."""
    made, gathered = module(max_gain=0.0, max_mask=0.0, clap=clap(**SMALL, dropout=0.0)), []
    placed(made, tmp_path, training=True)
    made.clap.eval()  # the running statistics of batch normalisation: each row by itself
    batch = next(iter(sounds().train_dataloader()))
    one = made.loss(batch, draws())
    halves = [Batch(batch.captions[part], batch.ids[part], batch.waveform[part]) for part in (slice(4), slice(4, 8))]

    def all_gather(rows: Tensor, sync_grads: bool) -> Tensor:
        assert sync_grads == rows.is_floating_point()
        gathered.append(rows)
        other = others[len(gathered) - 1] if len(gathered) <= len(others) else torch.zeros_like(rows)
        return torch.stack([rows, other])

    others: list[Tensor] = []
    made.all_gather = all_gather  # type: ignore[assignment,method-assign]
    made.augment_waveform = lambda waveform, rng: waveform  # type: ignore[method-assign]
    made.loss(halves[1], draws())
    assert not gathered  # one process asks no others
    made._trainer = SimpleNamespace(training=True, world_size=2)  # type: ignore[assignment]
    made.loss(halves[1], draws())
    others = gathered
    gathered = []
    two = made.loss(halves[0], draws())
    assert len(gathered) == 3
    assert two != one  # `one` was rotated in time
    made._trainer.world_size = 1
    torch.testing.assert_close(two, made.loss(batch, draws()))


def test_it_learns(tmp_path: Path) -> None:
    made = module(ema_decay=0.9)
    run = trainer(tmp_path, max_steps=40, limit_val_batches=1)
    first = run.validate(made, sounds(), verbose=False)[0]
    run.fit(made, sounds())
    last = run.validate(made, sounds(), verbose=False)[0]
    assert last["val/loss"] < 0.75 * first["val/loss"]
    assert first["val/retrieval"] == 0.25  # one of four captions, by chance
    assert last["val/retrieval"] >= 0.5


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_weight_is_trained_in_every_precision(precision: Any, tmp_path: Path) -> None:
    """DistributedDataParallel stops at a weight that has no gradient."""
    made = module()
    before = {name: value.clone() for name, value in made.trainable().named_parameters()}
    run = trainer(tmp_path, max_steps=3, precision=precision, gradient_clip_val=1.0)
    run.fit(made, sounds())
    assert run.callback_metrics["train/loss"].isfinite()
    for name, value in made.trainable().named_parameters():
        assert value.grad is not None, name
        assert not torch.equal(value, before[name]), name


def test_the_temperature_is_bounded(tmp_path: Path) -> None:
    made = module()
    with torch.no_grad():
        made.average.module.model.logit_scale_a.fill_(20.0)
    logged = trainer(tmp_path, limit_val_batches=1).validate(made, sounds(), verbose=False)[0]
    assert logged["val/scale"] == pytest.approx(100)


def test_recordings_are_turned_round_and_change_their_level() -> None:
    made, draws = module(max_gain=6.0), StepRNG(0, 0, 0, torch.device("cpu"))
    waveform = torch.randn(16, 1000)
    varied = made.augment_waveform(waveform, draws)
    spectrum, original = (torch.fft.rfft(x).abs() for x in (varied, waveform))  # which a rotation does not change
    gain = (spectrum / original).mean(1)
    torch.testing.assert_close(spectrum, gain[:, None] * original, rtol=1e-3, atol=1e-3)
    assert gain.max() <= 10**0.3
    assert gain.min() >= 10**-0.3
    assert gain.std() > 0.1
    loud = made.augment_waveform(torch.ones(2000, 2), draws)[:, 0]  # a constant is its own rotation
    assert 20 * loud.log10().max() == pytest.approx(6.0, abs=0.05)
    assert 20 * loud.log10().min() == pytest.approx(-6.0, abs=0.05)
    assert len(set(torch.fft.irfft(torch.fft.rfft(varied) * torch.fft.rfft(waveform).conj()).argmax(1).tolist())) > 12


def test_one_span_of_time_and_one_band_are_hidden() -> None:
    made, draws = module(max_mask=0.5), StepRNG(0, 0, 0, torch.device("cpu"))
    features = torch.randn(32, 1, 100, 64)
    masked = made.spec_augment(features, draws)
    hidden = (masked != features)[:, 0]
    torch.testing.assert_close(
        masked[:, 0][hidden], features.mean((1, 2, 3))[:, None, None].expand(32, 100, 64)[hidden]
    )
    frames, bins = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, frames[:, :, None] | bins[:, None])
    for share in (frames.float().mean(1), bins.float().mean(1)):
        assert share.max() <= 0.52
        assert share.mean() == pytest.approx(0.25, abs=0.1)
    assert ((frames[:, 1:] != frames[:, :-1]).sum(1) <= 2).all()


def test_spans_lie_anywhere_as_often_near_the_end_as_near_the_start() -> None:
    features = torch.randn(2000, 1, 20, 20)
    covered = (module(max_mask=0.5).spec_augment(features, draws()) != features)[:, 0]
    for axis in (1, 2):
        share = covered.all(axis).float().mean(0)
        torch.testing.assert_close(share, share.flip(0), atol=0.05, rtol=0)
        assert 0 < share[0] < share[10]


def test_the_average_is_warmed_up() -> None:
    assert module().average.warm_up


def test_validation_varies_nothing(tmp_path: Path) -> None:
    made = module()
    first, again = (trainer(tmp_path, limit_val_batches=1).validate(made, sounds(), verbose=False) for _ in range(2))
    assert first == again


class Steady(ContrastiveTraining):
    """With the recordings that each process sees normalised by the running statistics."""

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        self.clap.model.audio_model.audio_encoder.batch_norm.eval()
        return super().loss(batch, rng)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Adam would make of a gradient's rounding errors steps as large as any.
        return torch.optim.SGD(self.clap.parameters(), lr=0.1)


def weights(folder: Path, devices: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    made = Steady(clap(**SMALL, dropout=0.0), seed=0)
    strategy = "ddp_spawn" if devices > 1 else "auto"
    run = trainer(folder, max_steps=3, devices=devices, strategy=strategy)
    run.fit(made, sounds(batch_size=8 // devices))
    return {name: value.detach() for name, value in made.clap.named_parameters()}


@pytest.mark.long
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """The negatives are those of all processes, and so are the gradients."""
    one, two = weights(tmp_path / "one", 1), weights(tmp_path / "two", 2)
    start = dict(module(clap=clap(**SMALL, dropout=0.0)).clap.named_parameters())
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4)
    assert max(float((value - start[name]).abs().max()) for name, value in one.items()) > 1e-2


def test_the_exported_folder_holds_the_average(tmp_path: Path) -> None:
    made = module()
    callbacks = [ExportFolder(str(tmp_path / "model")), LogSounds()]
    trainer(tmp_path, max_steps=3, limit_val_batches=1, callbacks=callbacks).fit(made, sounds())
    exported = ClapModel.from_pretrained(tmp_path / "model")
    averaged = made.average.module.model.state_dict()
    assert all(torch.equal(value, averaged[name]) for name, value in exported.state_dict().items())
    captions, waveform = ["a tone", "noise"], 0.1 * torch.randn(2, 8000)
    encoder = TransformersClap(tmp_path / "model")
    torch.testing.assert_close(encoder.embed_text(captions), made.pipeline().embed_text(captions))
    torch.testing.assert_close(encoder.embed(waveform, encoder.sample_rate), made.pipeline().embed_audio(waveform))
    assert not list(tmp_path.rglob("sounds"))


def test_checkpoints_are_safe_and_load(tmp_path: Path) -> None:
    made, run = module(), trainer(tmp_path, max_steps=2)
    run.fit(made, sounds())
    run.save_checkpoint(tmp_path / "it.ckpt")
    loaded = ContrastiveTraining.load_from_checkpoint(tmp_path / "it.ckpt", weights_only=True, clap=clap(**SMALL))
    expected = made.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_wrong_numbers_and_predictions_are_named(tmp_path: Path) -> None:
    module(max_mask=0.0, max_gain=0.0, max_scale=1e-3)
    for wrong in ({"max_mask": 1.0}, {"max_mask": -0.1}, {"max_gain": -1.0}, {"max_scale": 0.0}):
        with pytest.raises(ConfigurationError, match=str(*wrong.values())):
            module(**wrong)
    with pytest.raises(ConfigurationError, match="predict"):
        trainer(tmp_path).predict(module(), sounds())
