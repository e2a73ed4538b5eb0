"""What a run's configuration has otherwise than the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that differ, as ``name: before -> now``; classes first, which make another training.

    Args:
        before: a checkpoint's. A version that wrote it may lack settings of today, which are not compared, unless a
            group of settings has come in the place of a value, or a value in the place of a group.
        now: the configuration's.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    compared = (
        name
        for name in old | new
        if (name in old and name in new) or name.endswith("class_path") or _inside(name, old) or _inside(name, new)
    )
    changed = sorted((name for name in compared if old.get(name) != new.get(name)), key=_is_argument)
    return [f"{name}: {old.get(name)!s:.80} -> {new.get(name)!s:.80}" for name in changed]


def _inside(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a group that a setting belongs to is a single value on the other side, such as ``lora: null``."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in values for length in range(1, len(parts)))


def _is_argument(name: str) -> bool:
    return not name.endswith("class_path")


def _flat(settings: Mapping[str, Any], place: str = "model") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if str(key).startswith("_"):  # what Lightning needs to make the training
            continue
        name = place if key == "init_args" else f"{place}.{key}"
        if isinstance(value, Mapping) and key != "loss_weights":  # whose names are the user's, none of a version
            yield from _flat(value, name)
        else:
            yield name, list(value) if isinstance(value, tuple) else value
