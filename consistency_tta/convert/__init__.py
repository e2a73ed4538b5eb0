"""Published checkpoints to model folders."""

from consistency_tta.convert.command import convert

__all__ = ["convert"]
