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


class DivergenceError(ValueError, FloatingPointError):
    """A training has gone wrong, and its weights are of no use: go on from the checkpoint that the message names."""


class UntrustedClassError(ValueError):
    """A file names a class of a module that is not trusted: read that module's code, then trust it, or do without."""


class ExportError(ValueError):
    """A written graph computes something else than the network: report it, or accept the difference it names."""


class MissingExtraError(ModuleNotFoundError):
    """An optional package is not installed; the message has the command that installs it."""


def shortened(error: BaseException, length: int = 200) -> str:
    """An error's message in one line; its class's name for a missing key, whose message is the key alone."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__} {message}"[:length] if isinstance(error, KeyError) else message[:length]
