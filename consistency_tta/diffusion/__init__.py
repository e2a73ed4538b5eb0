"""Diffusion mathematics: pure functions of tensors, no Lightning, no input or output."""
