"""How fast a model generates on this machine, measured in one interleaved run."""
