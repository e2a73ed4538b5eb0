"""Training of autoencoders and vocoders."""
