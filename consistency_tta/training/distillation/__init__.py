"""Distillation of a guided teacher."""
