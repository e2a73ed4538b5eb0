"""A module of an unknown author, which leaves a file when it is imported or one of its classes is made."""

from __future__ import annotations

from pathlib import Path

import pytest

SOURCE = """
from pathlib import Path
from torch import nn
Path({marker!r}).touch()

class Network(nn.Module):
    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        return cls()
"""


class Untrusted:
    """The module, named ``foreign``, on the import path.

    Args:
        folder: empty; where the module lies.
        monkeypatch: of the test.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.marker = folder / "was-imported"
        self.source = SOURCE.format(marker=str(self.marker))
        (folder / "path" / "scattered").mkdir(parents=True)
        (folder / "path" / "foreign.py").write_text(self.source)
        (folder / "path" / "scattered" / "foreign.py").write_text(self.source)
        monkeypatch.syspath_prepend(folder / "path")
        monkeypatch.delitem(__import__("sys").modules, "foreign", raising=False)

    @property
    def ran(self) -> bool:
        """Whether the module was imported."""
        return self.marker.exists()
