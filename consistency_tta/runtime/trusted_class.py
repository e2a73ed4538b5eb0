"""Classes that a checkpoint or model folder names, imported only if they are trusted."""

from __future__ import annotations

import codecs
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

from torch import nn

from consistency_tta.runtime.class_path import import_class
from consistency_tta.runtime.errors import UntrustedClassError
from consistency_tta.runtime.trust import LIBRARIES, is_trusted

#: Bytes of a file that may hold settings.
LARGEST_SETTINGS = 1 << 20


def trusted_class(path: str, kind: type | tuple[type, ...], file: Path) -> Any:
    """The class of a path that a file names.

    Args:
        path: ``package.module.Class``.
        kind: what it must be.
        file: which names it, for the message.

    Raises:
        UntrustedClassError: the class is of a module that is not trusted; it is not imported.
        ConfigurationError: it does not exist, or is none of ``kind``.
    """
    if not is_trusted(path):
        raise untrusted(path, file)
    found = import_class(path, kind)
    if not is_trusted(found.__module__):
        raise untrusted(f"{found.__module__}.{found.__qualname__}", file)
    return found


def check_settings(settings: Any, file: Path) -> None:
    """Check that no value of nested settings names a class or function that is not trusted, by whatever key.

    The parser that reads the settings takes a text for YAML, or for the name of a YAML file, where it expects an
    object. So what a text would be read as is checked, too.

    Raises:
        UntrustedClassError: names the first.
    """
    _Check(file).check(settings, [Path()])


class _Check:
    """Checks settings of one file, each object once: YAML can repeat one billions of times."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seen: dict[int, Any] = {}
        self.texts: set[tuple[str, Path]] = set()  # with each folder in which they may name a file

    def check(self, settings: Any, folders: list[Path]) -> None:
        """Check settings, in which names of files are relative to one of the folders."""
        if isinstance(settings, str):
            self._check_text(settings, folders)
        elif isinstance(settings, dict | list | tuple) and id(settings) not in self.seen:
            self.seen[id(settings)] = settings  # kept, so that no other object gets its id
            for key, value in settings.items() if isinstance(settings, dict) else enumerate(settings):
                if key in ("class_path", "_class_path"):
                    _check_name(str(value), self.file, declared=True)
                else:
                    self.check(value, folders)

    def _check_text(self, text: str, folders: list[Path]) -> None:
        folders = [folder for folder in folders if (text, folder) not in self.texts]
        if not folders:
            return  # files may name themselves, and each other
        self.texts.update((text, folder) for folder in folders)
        _check_name(text, self.file, declared=False)
        if (value := _from_yaml(text)) != text:
            self.check(value, folders)
        for folder in folders:
            found = _named_file(text, folder)
            if found is not None and (content := self._text_of(found)):
                self.check(_from_yaml(content), [*folders, found.parent.resolve()])

    def _text_of(self, found: Path) -> str:
        """What is in a text file that the settings name; empty if it is no text."""
        try:
            with found.open("rb") as opened:
                content = opened.read(LARGEST_SETTINGS)
                larger = bool(opened.read(1))
            if b"\0" in content:
                return ""
            text = codecs.getincrementaldecoder("utf-8")().decode(content)  # may end within a character
        except (OSError, UnicodeDecodeError):
            return ""
        if larger:
            raise UntrustedClassError(
                f"{self.file} names {found}, which would be read as settings: expected at most {LARGEST_SETTINGS} "
                "bytes, in which classes of unknown authors are looked for, but it is larger; move it away, if these "
                "are no settings"
            )
        return text


def _from_yaml(text: str) -> Any:
    """What a text is as YAML; the text itself if it is none."""
    import yaml  # here: of all commands only those that read settings need it

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return text


def _named_file(text: str, folder: Path) -> Path | None:
    """The file that the parser would read for a text: it knows ``~`` and ``file://``, too."""
    from jsonargparse.typing import Path_fr  # here: as yaml

    try:
        return Path(Path_fr(text, cwd=folder.absolute()).absolute)
    except (TypeError, ValueError, OSError):  # no file that can be read, or no name of a file at all
        return None


def untrusted(path: str, file: Path) -> UntrustedClassError:
    """The error for a class that is not imported."""
    module = path.rpartition(".")[0] or path
    return UntrustedClassError(
        f"{file} names {path}, which is neither of consistency_tta, diffusers or transformers nor of an installed "
        f"plugin, so it is not imported: if you know its code, add --trust {module} (in Python: "
        f"consistency_tta.runtime.trust.trust([{module!r}]))"
    )


def _check_name(path: str, file: Path, declared: bool) -> None:
    """Check a text that is the path of a class, or, if it was not declared as one, may be."""
    parts = path.split(".")
    if len(parts) < 2 or not (declared or all(part.isidentifier() for part in parts)):
        return  # a class's bare name is looked up among classes that are imported already
    if not is_trusted(path):
        if declared or _importable(parts):
            raise untrusted(path, file)
        return
    found = _resolve(path)
    if found is not None and not (isinstance(found, ModuleType) and not declared) and not _is_harmless(found):
        raise untrusted(f"{getattr(found, '__module__', '?')}.{getattr(found, '__qualname__', path)}", file)


def _is_harmless(found: Any) -> bool:
    """Whether an object is trusted itself, not only the module through which it was named; of libraries, networks."""
    module = str(getattr(found, "__module__", ""))
    if module.split(".")[0] in LIBRARIES:
        return isinstance(found, type) and issubclass(found, nn.Module)
    return is_trusted(module)


def _resolve(path: str) -> Any:
    try:
        return resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return None


def _importable(parts: list[str]) -> bool:
    """Whether importing the module of a path would run a file; found out without doing so."""
    if parts[0] in sys.stdlib_module_names:
        return _resolve(".".join(parts)) is not None
    if parts[0] in sys.modules:
        return True
    spec = find_spec(parts[0])
    for end in range(2, len(parts)):
        if spec is None or spec.origin is not None:
            break
        # A folder without __init__.py, in which there may be modules.
        spec = PathFinder.find_spec(".".join(parts[:end]), spec.submodule_search_locations)
    return spec is not None and spec.origin is not None
