"""Device, precision, processes, frozen networks, suggestions."""
