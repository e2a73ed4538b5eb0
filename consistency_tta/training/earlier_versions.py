"""Configurations and checkpoints of version 0.1, read as what they mean today.

There each distillation was a LightningModule with flat arguments; now both are objectives of one module, whose
arguments are grouped. Classes and arguments that were only renamed are here, too.
"""

from __future__ import annotations

from typing import Any

#: Classes that moved.
CLASSES = {
    "consistency_tta.training.adversary.Adversary": "consistency_tta.losses.AdversarialLoss",
    "consistency_tta.teacher_samples.TeacherSamples": "consistency_tta.generation.teacher_samples.TeacherSamples",
    "consistency_tta.training.lora.LoRA": "consistency_tta.training.LoRA",
    "consistency_tta.training.num_steps.DoublingSteps": "consistency_tta.training.DiscretizationSchedule",
}
#: Modules of version 0.1 that became objectives.
DISTILLATIONS = ("ConsistencyDistillation", "GuidanceDistillation")
#: Arguments that were renamed, of any training.
RENAMED = {"average_decay": "ema_decay", "unet": "network"}
#: Arguments of the callback SoundMetrics, which are its ``sampling`` now.
SAMPLING = ("guidance_scale", "steps", "num_samples", "batch_size", "seed")
#: Arguments of a distillation: the group that has them now, and their name there.
OBJECTIVE = {
    "solver": "solver",
    "grid": "grid",
    "num_steps": "num_discretization_steps",
    "top_share": "terminal_fraction",
    "trajectory_share": "teacher_trajectory_fraction",
    "teacher_steps": "teacher_steps",
    "weighting": "weighting",
    "target_decay": "target_ema_decay",
}
STUDENT = {
    "student": "folder",
    "prediction_type": "prediction_type",
    "guidance_scale": "guidance_scale",
    "caption_dropout": "caption_dropout",
    "lora": "lora",
}
DECODING = {
    "train_decoder": "train_decoder",
    "checkpoint_decoders": "gradient_checkpointing",
    "crop_frames": "crop_frames",
}


def moved_option(name: str) -> str | None:
    """Where an argument of a distillation of version 0.1 is today, below ``model``; None if it was none."""
    groups = {"objective": OBJECTIVE, "student": STUDENT, "decoding": DECODING}
    return next((f"{group}.{names[name]}" for group, names in groups.items() if name in names), RENAMED.get(name))


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as it reads today; the same object where nothing of version 0.1 is in it."""
    moved = _moved(config)
    model = moved.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("class_path"), str):
        return moved
    given = model.get("init_args") or {}
    upgraded = upgrade_model(model["class_path"], given) if isinstance(given, dict) else None
    if upgraded is None:
        return moved
    class_path, arguments = upgraded
    return moved | {"model": model | {"class_path": class_path, "init_args": arguments}}


def upgrade_model(class_path: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Class and arguments of a training as they are today; None if they are of today already."""
    module, _, name = class_path.rpartition(".")
    of_ours = module in ("", "consistency_tta.training") or module.startswith("consistency_tta.training.")
    if not of_ours:
        return None
    if name in DISTILLATIONS:
        return "consistency_tta.training.Distillation", _grouped(name, arguments)
    renamed = {RENAMED.get(key, key): value for key, value in arguments.items()}
    adversary = renamed.pop("adversary", None)
    if name in ("VocoderTraining", "DecoderRefinement") and isinstance(adversary, dict):
        settings = {"of": "mel"} if name == "DecoderRefinement" else {}
        adversary = adversary | {"init_args": settings | (adversary.get("init_args") or {})}
        renamed["losses"] = (renamed.get("losses") or {}) | {"adversary": adversary}
    return None if renamed == arguments else (class_path, renamed)


def upgrade_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's class, arguments and names of weights as they are today; the same object if they are already."""
    arguments = dict(checkpoint.get("hyper_parameters") or {})
    own = {key: arguments.pop(key) for key in list(arguments) if key.startswith("_")}  # Lightning's
    upgraded = upgrade_model(own.get("_class_path") or "", arguments)
    if upgraded is None:
        return checkpoint
    own["_class_path"], arguments = upgraded
    state = {_weight(name): value for name, value in checkpoint["state_dict"].items()}
    return checkpoint | {"hyper_parameters": own | arguments, "state_dict": state}


def _grouped(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The flat arguments of a distillation in their groups."""
    rest = {RENAMED.get(key, key): value for key, value in arguments.items()}

    def group(names: dict[str, str]) -> dict[str, Any]:
        return {new: rest.pop(old) for old, new in names.items() if old in rest}

    settings = group(OBJECTIVE)
    objective = {"class_path": f"consistency_tta.training.{name}"} | ({"init_args": settings} if settings else {})
    groups = {"objective": objective, "student": group(STUDENT), "decoding": group(DECODING)}
    return rest | {key: value for key, value in groups.items() if value}


def _moved(value: Any) -> Any:
    """The same, with the classes that moved under their present path."""
    if isinstance(value, dict):
        new = {key: _moved(item) for key, item in value.items()}
        if isinstance(path := new.get("class_path"), str):
            new["class_path"] = CLASSES.get(path, path)
            arguments = new.get("init_args")
            if path.rpartition(".")[2] == "SoundMetrics" and isinstance(arguments, dict):
                sampling = {key: arguments[key] for key in SAMPLING if key in arguments}
                rest = {key: item for key, item in arguments.items() if key not in SAMPLING}
                new["init_args"] = rest | ({"sampling": sampling} if sampling else {})
        return value if new == value else new
    if isinstance(value, list):
        items = [_moved(item) for item in value]
        return value if items == value else items
    return value


def _weight(name: str) -> str:
    """The present name of a weight."""
    if name.startswith("hearing."):
        return "decoders." + name.removeprefix("hearing.")
    if name.startswith("adversary."):
        return "losses.learnable.loss adversary." + name.removeprefix("adversary.")
    return name
