"""The frozen and trained networks behind small wrappers."""
