"""Errors in what a user gave, one class for each kind of remedy; all are ``ValueError``, unless stated.

A message names what was expected, what came, and what to do. Tests assert the class, and at most a name or a value that
the caller gave, never the sentence.
"""


class ConfigurationError(ValueError):
    """An option or argument has a value that cannot be right: correct the configuration."""


class ShapeError(ValueError):
    """A tensor has not the expected shape or length: correct the caller."""


class DataError(ValueError):
    """A sound, caption or encoded file cannot be used: repair or leave out the file it names."""


class ModelFolderError(ValueError):
    """A model folder lacks a part, or its parts do not go together: train, add or convert the part it names."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, or another training's: name another file."""


class UntrustedClassError(ValueError):
    """A file names a class of a module that is not trusted: read that module's code, then trust it, or do without."""


class ExportError(ValueError):
    """A written graph computes something else than the network: report it, or accept the difference it names."""


class MissingExtraError(ModuleNotFoundError):
    """An optional package is not installed; the message has the command that installs it."""
