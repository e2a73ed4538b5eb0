"""A training checkpoint to a model folder, and a student to graphs that run without this package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import nn

from consistency_tta.graphs.file_formats import FORMATS
from consistency_tta.graphs.folder import export_graphs
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.finite_weights import check_finite
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError, ModelFolderError, shortened
from consistency_tta.runtime.trust import trust as trust_modules
from consistency_tta.runtime.trusted_class import check_settings, trusted_class, untrusted
from consistency_tta.storage.atomic_directory import require_empty
from consistency_tta.training.absent_losses import without_absent_losses
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.checkpoint_file import identity, read_checkpoint
from consistency_tta.training.earlier_versions import upgrade_checkpoint
from consistency_tta.training.training_record import FACTS_KEY, record_training

#: What weights can be in besides float32, by the format of the files.
SMALLER_NUMBERS = {name: {*form.smaller} for name, form in FORMATS.items()} | {
    "folder": {"float16"},
    "torch": {"bfloat16"},
}


def export(
    checkpoint: Path,
    output: Path,
    half: bool = False,
    trust: list[str] | None = None,
    format: Literal["folder", "onnx", "openvino", "torch", "web"] = "folder",  # noqa: A002  # the option's name
    int8: bool = False,
    tolerance: float = 1e-3,
    license: str | None = None,  # noqa: A002  # the hub's name
    bf16: bool = False,
) -> Path:
    """Write a checkpoint as a model folder, or a student as ONNX, OpenVINO, torch.export programs or a web page.

    Args:
        checkpoint: a ``.ckpt`` file of any training of this project; the folders it was trained from must still be
            there. For the formats other than ``folder`` also a model folder, or a bundled model's name.
        output: folder to write.
        half: whether to store the weights of a model folder or of OpenVINO's graphs in float16, at half the size.
        trust: modules, in addition to this package and installed plugins, whose classes the checkpoint may name.
        format: ``folder``, which ``generate`` and further trainings read; ``onnx``, ``openvino`` or ``torch``, three
            graphs of a one-query student (docs/export.md); or ``web``, a page that runs them in a browser.
        int8: whether to store the weights of ONNX's or OpenVINO's graphs in 8 bits.
        tolerance: the most that a graph may differ from torch, relative to the largest value of its output.
        license: of the weights, for a model folder's card, by the hub's name such as ``mit``.
        bf16: whether torch.export's programs store their weights and compute in bfloat16.

    Raises:
        CheckpointError: if the checkpoint is damaged.
        ConfigurationError: if an option does not go with the format, or there is something at ``output`` already.
        ExportError: if a graph differs from torch by more than the tolerance.
        MissingExtraError: if the format needs a package that is not installed.
        ModelFolderError: if a weight is not finite, or a graph is wanted of a model that is no one-query student.
        UntrustedClassError: if the checkpoint names classes of other modules.
    """
    trust_modules(trust or [])
    if license is not None and format != "folder":
        raise ConfigurationError(
            f"expected --license with --format folder, which has a model card, got --format {format}: leave it out"
        )
    flags = {"float16": half, "int8": int8, "bfloat16": bf16}
    smaller = [numbers for numbers, wanted in flags.items() if wanted]
    if len(smaller) > 1 or (smaller and smaller[0] not in SMALLER_NUMBERS[format]):
        raise ConfigurationError(
            "expected one of --half (of --format folder and openvino), --int8 (of onnx, openvino and web) and --bf16 "
            f"(of torch), got {' and '.join(smaller)} with --format {format}: leave out what does not fit"
        )
    try:
        if format == "folder":
            return export_folder(checkpoint, output, half, license)
        export_graphs(load_model(checkpoint), output, format, smaller[0] if smaller else "float32", tolerance)
    except ModelFolderError as error:  # of the model's weights
        if str(checkpoint) in str(error):
            raise
        raise ModelFolderError(f"{checkpoint}: {error}") from error
    return output


def export_folder(checkpoint: Path, output: Path, half: bool, licence: str | None = None) -> Path:
    """Write the model of a checkpoint as a folder; see :func:`export`."""
    read_checkpoint(checkpoint, mmap=True)  # a damaged one is named first
    require_empty(output)
    pipeline, training = load_checkpoint(checkpoint)
    check_finite(pipeline.components, output)
    if half:
        halve(pipeline.components.values())
    # A CLAP is no pipeline and has no card.
    card: dict[str, Any] = {"license": licence} if licence and isinstance(pipeline, TextToAudioPipeline) else {}
    pipeline.save_pretrained(output, **card)
    print(f"{training} of {checkpoint} written to {output}")
    return output


def load_model(source: Path) -> TextToAudioPipeline:
    """The model of a checkpoint, a model folder, a bundled model's name or a hub id."""
    if source.suffix != ".ckpt":
        return TextToAudioPipeline.from_pretrained(source)
    return load_checkpoint(source)[0]


def load_checkpoint(checkpoint: Path) -> tuple[TextToAudioPipeline, str]:
    """The model of a checkpoint, with what is known of its training, and the training's name.

    Losses whose packages are not installed are left out, with a note: the model does not need them.

    Raises:
        CheckpointError: if the file changes while it is read, as ``last.ckpt`` of a run that still trains.
    """
    before = identity(checkpoint)
    content, absent = without_absent_losses(upgrade_checkpoint(read_checkpoint(checkpoint, mmap=True)))
    check_classes(content, checkpoint)
    module = load_training(checkpoint)
    if identity(checkpoint) != before:  # the weights may be of another step than what `content` says of them
        raise CheckpointError(f"{checkpoint} changed while it was read, as by a run that still trains: export again")
    pipeline = module.pipeline()
    facts = content.get(FACTS_KEY) or {}  # checkpoints of before have none
    record_training(
        pipeline, module, steps=content.get("global_step"), data=facts.get("data"), metrics=facts.get("metrics")
    )
    if absent:
        # What trained the model through them is not known.
        pipeline.register_to_config(rewards=replace(pipeline.rewards, complete=False).to_dict())
        print(f"left out what is not installed here, and the model does not need: losses {', '.join(absent)}")
    return pipeline, type(module).__name__


def check_classes(content: dict[str, Any], checkpoint: Path) -> None:
    """Raise if a checkpoint names a class of a module that is not trusted: exporting would import and call it.

    Raises:
        UntrustedClassError: names the class.
    """
    upgraded = upgrade_checkpoint(content)
    # Lightning reads the arguments under the names of its earlier versions, too.
    for key in ("hyper_parameters", "hparams", "module_arguments"):
        arguments = dict(upgraded.get(key) or {})
        instantiator = arguments.pop("_instantiator", None)
        if instantiator not in (None, "lightning.pytorch.cli.instantiate_module"):
            raise untrusted(str(instantiator), checkpoint)
        check_settings(arguments, checkpoint)


def load_training(checkpoint: Path) -> TrainingModule:
    """The training that a checkpoint holds, one of version 0.1 read as today's; losses that are absent are left out."""
    content = read_checkpoint(checkpoint, mmap=True)
    upgraded, _ = without_absent_losses(upgrade_checkpoint(content))
    if upgraded is content:
        return _load(checkpoint, checkpoint)
    with TemporaryDirectory() as folder:
        file = Path(folder) / checkpoint.name
        torch.save(upgraded, file)
        return _load(file, checkpoint)


def _load(file: Path, named: Path) -> TrainingModule:
    """Load the training of a file; errors name the file that the user gave."""
    try:
        return training_class(file).load_from_checkpoint(file, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno is None and str(named) not in str(error):  # no error of a file, but of a model that is not here
            missing = type(error)(f"{named}: {error}")
            raise missing from error
        raise
    except Exception as error:  # of Lightning, torch, jsonargparse or a class that the settings name
        if type(error).__module__ == CheckpointError.__module__:  # whose classes all take a message alone
            if str(named) in str(error):
                raise
            again = type(error)(f"{named}: {error}")
            raise again from error
        raise CheckpointError(
            f"{named} does not hold the weights or settings of its training, or is damaged: {shortened(error)}"
        ) from error


def halve(parts: Iterable[object]) -> None:
    """Turn the weights of a model's parts to float16, in place; they are float32 again when loaded."""
    for part in parts:
        # Mel filters and guidance frequencies are not weights: they are small, and are needed exactly.
        if isinstance(part, nn.Module) and any(True for _ in part.parameters()):
            part.half()


def class_of_checkpoint(checkpoint: Path) -> str | None:
    """Full path of the class that wrote a checkpoint under the command line; None if it was written from Python."""
    content = read_checkpoint(checkpoint, mmap=True)
    return content.get("hyper_parameters", {}).get("_class_path")


def training_class(checkpoint: Path) -> type[TrainingModule]:
    """The class that wrote a checkpoint under the command line.

    Raises:
        CheckpointError: if the checkpoint does not name it.
        UntrustedClassError: if it is of a module that is not trusted.
    """
    class_path = class_of_checkpoint(checkpoint)
    if class_path is None:
        raise CheckpointError(
            f"{checkpoint} was not written by `consistency-tta fit` and does not name its class: in Python, load it "
            "with that class's load_from_checkpoint and call .pipeline().save_pretrained(folder)"
        )
    return trusted_class(class_path, TrainingModule, checkpoint)
