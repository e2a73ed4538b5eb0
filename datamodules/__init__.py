"""Datamodules, imported as ``consistency_tta.datamodules``."""
