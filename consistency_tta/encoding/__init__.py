"""What ``encode`` writes of recordings and captions, shared out over processes, in as many runs as it takes."""
