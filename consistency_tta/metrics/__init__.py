"""Metrics of generated audio, and the encoders that they use."""
