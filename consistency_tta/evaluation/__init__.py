"""Sounds judged by a protocol: the same clips, captions, settings, networks and metrics for everyone."""
