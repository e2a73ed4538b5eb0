"""Evaluation of generated sounds: protocols, metrics, confidence intervals, reports, and sweeps of settings."""
