"""Loss plugins, imported as ``consistency_tta.losses``."""
