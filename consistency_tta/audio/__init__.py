"""Sound files, resampling, folders of recordings."""
