"""Objectives of distillation, one file each."""
