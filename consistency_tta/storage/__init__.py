"""Captions, shards, model folders, checksums."""
