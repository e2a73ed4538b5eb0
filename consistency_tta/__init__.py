"""ConsistencyTTA: text to audio in one network query."""

__version__ = "0.1.0"
