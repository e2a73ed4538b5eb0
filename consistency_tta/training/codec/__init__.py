"""Training of autoencoders, vocoders and light decoders."""
