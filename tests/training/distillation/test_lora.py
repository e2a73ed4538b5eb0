"""Students of which only low-rank adapters are trained, and how the guidance scale is read."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

from consistency_tta.components.backbones.unet import widen_unet
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.losses import LatentL2Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError, MissingExtraError
from consistency_tta.training import (
    BestUnderConstraints,
    ConsistencyDistillation,
    Constraint,
    Distillation,
    LoRA,
    StudentConfig,
)
from consistency_tta.training.callbacks.kept_weights import exported_state
from consistency_tta.training.distillation.lora import SaveAdapter, merged
from tests.training.runs import Losses, data, distillation, equal, guidance, inputs, snapshot, trainer

SMALL = LoRA(rank=2, target_modules=("to_q", "to_v", "to_out.0", "conv1"))


def adapted(folder: Path, **kwargs: Any) -> Any:
    return distillation(folder, **({"lora": SMALL, "ema_decay": 0.5} | kwargs))


def is_trained(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name or "class_embedding." in name


def test_adapters_and_guidance_layers_are_trained_and_nothing_else(teacher_folder: Path, tmp_path: Path) -> None:
    module = adapted(teacher_folder)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    trainer(tmp_path, max_steps=4).fit(module, data())
    after = dict(module.named_parameters())
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    # Averages move as the student does.
    assert changed == {name for name in before if is_trained(name)}
    assert {name.split(".")[0] for name in changed} == {"student", "target", "average"}
    assert sum("lora_A" in name for name in changed if name.startswith("student")) > 10
    assert any("conv1.lora_A" in name for name in changed)


def test_averages_share_what_is_not_trained(teacher_folder: Path) -> None:
    module = adapted(teacher_folder)
    for average in module.emas():
        for (name, own), (_, source) in zip(
            average.module.named_parameters(), module.student.named_parameters(), strict=True
        ):
            assert (own is source) != is_trained(name), name


def test_an_untrained_adapter_changes_nothing(teacher_folder: Path) -> None:
    plain, module = distillation(teacher_folder), adapted(teacher_folder)
    arguments = inputs(plain)
    torch.testing.assert_close(module.student(*arguments), plain.student(*arguments))


def test_the_exported_student_is_an_ordinary_one_that_answers_as_the_adapted(
    teacher_folder: Path, tmp_path: Path
) -> None:
    module = adapted(teacher_folder)
    trainer(tmp_path, max_steps=6).fit(module, data())
    module.pipeline().save_pretrained(tmp_path / "student")
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "student")
    ordinary = distillation(teacher_folder).pipeline().unet
    assert list(loaded.unet.state_dict()) == list(ordinary.state_dict())
    arguments = inputs(module)
    expected = module.average.module(*arguments)
    torch.testing.assert_close(loaded.denoiser(*arguments), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(distillation(teacher_folder).student(*arguments), expected, atol=1e-4)
    # Merging took a copy, and a later stage may start from what it wrote, with an adapter or without.
    torch.testing.assert_close(module.average.module(*arguments), expected)
    later = distillation(teacher_folder, student=str(tmp_path / "student"))
    torch.testing.assert_close(later.student(*arguments), expected, atol=1e-5, rtol=1e-5)


def test_a_u_net_without_adapters_is_merged_already(teacher_folder: Path) -> None:
    unet = distillation(teacher_folder).student.unet
    assert merged(unet) is unet


def test_resume_is_bit_identical_and_checkpoints_are_small(teacher_folder: Path, tmp_path: Path) -> None:
    straight, resumed = Losses(), Losses()
    module = adapted(teacher_folder)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=5, save_top_k=-1)
    run = trainer(tmp_path, max_steps=9, callbacks=[straight, saver], enable_checkpointing=True)
    run.fit(module, data())

    torch.manual_seed(1234)  # another process would draw other untrained adapters
    again = adapted(teacher_folder)
    rerun = trainer(tmp_path, max_steps=9, callbacks=[resumed])
    rerun.fit(again, data(), ckpt_path=str(tmp_path / "step=5.ckpt"), weights_only=True)
    assert resumed.values == straight.values[5:]
    assert equal(snapshot(module, run), snapshot(again, rerun))

    state = torch.load(tmp_path / "step=5.ckpt", weights_only=True)["state_dict"]
    unet = [name for name in state if ".unet." in name]
    assert unet
    assert all(map(is_trained, unet))
    loaded = Distillation.load_from_checkpoint(
        tmp_path / "step=5.ckpt",
        teacher=str(teacher_folder),
        losses={"latent": LatentL2Loss()},
        objective=ConsistencyDistillation(),
        student=StudentConfig(lora=SMALL),
        weights_only=True,
    )
    got = loaded.state_dict()
    assert all(torch.equal(value, got[name]) for name, value in state.items() if "extra" not in name)
    broken = torch.load(tmp_path / "step=5.ckpt", weights_only=True)
    del broken["state_dict"][unet[0]]
    torch.save(broken, tmp_path / "broken.ckpt")
    with pytest.raises(RuntimeError, match=r"student\.unet"):
        trainer(tmp_path, max_steps=9).fit(adapted(teacher_folder), data(), ckpt_path=str(tmp_path / "broken.ckpt"))


def test_the_number_of_trained_parameters_is_printed(
    teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = guidance(teacher_folder, lora=SMALL)
    with caplog.at_level(logging.INFO):
        trainer(tmp_path, max_steps=1).fit(module, data())
    trained = sum(value.numel() for name, value in module.student.named_parameters() if is_trained(name))
    total = sum(value.numel() for value in module.student.parameters())
    assert 0 < trained < total
    assert f"LoRA: {trained:,} of {total:,} parameters of the student are trained" in caplog.text


def test_the_adapter_may_be_kept_by_itself(teacher_folder: Path, tmp_path: Path) -> None:
    lora = LoRA(rank=2, alpha=4.0, adapter_folder=str(tmp_path / "adapter"))
    module = adapted(teacher_folder, lora=lora)
    trainer(tmp_path, max_steps=4).fit(module, data())
    # What it takes to put it into the teacher again.
    denoiser = distillation(teacher_folder).student
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder).unet
    denoiser.unet = widen_unet(teacher, GuidanceEmbedding().num_features)
    denoiser.unet.load_lora_adapter(
        str(tmp_path / "adapter"), prefix=None, weight_name="pytorch_lora_weights.safetensors"
    )
    denoiser.unet.class_embedding.load_state_dict(load_file(tmp_path / "adapter" / "class_embedding.safetensors"))
    arguments = inputs(module)
    torch.testing.assert_close(denoiser(*arguments), module.average.module(*arguments), atol=1e-5, rtol=1e-5)


def test_the_first_process_leaves_the_adapter_of_the_weights_that_were_kept(
    teacher_folder: Path, tmp_path: Path
) -> None:
    lora = LoRA(rank=2, adapter_folder=str(tmp_path / "adapter"))
    module = adapted(teacher_folder, lora=lora)
    guard = BestUnderConstraints("val/loss", {"val/loss": Constraint(at_least=0.0)})
    guard.weights = {n: v + 0.5 if ".lora_" in n else v for n, v in exported_state(module).items()}
    for first in (False, True):
        SaveAdapter(lora).on_train_end(SimpleNamespace(is_global_zero=first, callbacks=[guard]), module)
        assert (tmp_path / "adapter").exists() == first
    own = module.average.module.network.named_parameters()
    expected = {name.replace(".default", ""): value + 0.5 for name, value in own if ".lora_" in name}
    assert equal(load_file(tmp_path / "adapter" / "pytorch_lora_weights.safetensors"), expected)
    SaveAdapter(LoRA()).on_train_end(SimpleNamespace(is_global_zero=True, callbacks=[guard]), module)


def test_what_reads_scalars_gets_no_adapter(teacher_folder: Path) -> None:
    names = dict(adapted(teacher_folder, lora=LoRA(rank=1, target_modules=("linear_1",))).student.named_parameters())
    assert any(".time_embedding.linear_1.lora_A." in name for name in names)
    assert not any(".class_embedding." in name and ".lora_" in name for name in names)
    assert all(value.requires_grad == is_trained(name) for name, value in names.items())


def test_merging_leaves_an_ordinary_network(teacher_folder: Path) -> None:
    unet = adapted(teacher_folder).student.unet
    ordinary = distillation(teacher_folder).student.unet.state_dict()
    assert list(merged(unet).state_dict()) == list(ordinary)
    assert any(".lora_" in name for name in unet.state_dict())


def test_a_network_that_takes_no_adapters_is_named() -> None:
    with pytest.raises(ConfigurationError, match="Identity"):
        SMALL.adapt(SimpleNamespace(network=torch.nn.Identity()))  # type: ignore[arg-type]


def test_wrong_settings_are_named(teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="q_proj"):
        adapted(teacher_folder, lora=LoRA(target_modules=("to_q", "q_proj")))
    with pytest.raises(ConfigurationError, match="rank"):
        LoRA(rank=0)
    unet = distillation(teacher_folder).student.unet
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="peft"):
        SMALL.adapt(unet)
