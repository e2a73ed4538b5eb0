"""In a folder of any names each file is found by its path, however the accents are spelled."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from consistency_tta.datamodules.audio_folder import AmbiguousName, AudioFolder
from tests.strategies import NAMES, folders


@given(folders(), st.sampled_from(["NFC", "NFD"]), st.sampled_from(["NFC", "NFD"]), NAMES)
def test_each_file_is_found_and_no_other_name(paths: list[str], stored: str, looked_up: str, other: str) -> None:
    with TemporaryDirectory() as root:
        for path in paths:
            file = Path(root, unicodedata.normalize(stored, path) + ".wav")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        folder = AudioFolder(root)
        for path in paths:
            found = folder.find("/" + unicodedata.normalize(looked_up, path))
            assert found == Path(root, unicodedata.normalize(stored, path) + ".wav")
            last = path.rpartition("/")[2]
            try:
                assert (found := folder.find(last)) is not None
                assert unicodedata.normalize("NFC", found.stem) == unicodedata.normalize("NFC", last)
            except AmbiguousName:
                assert sum(one.rpartition("/")[2] == last for one in paths) > 1
        if other not in {part for path in paths for part in path.split("/")}:
            assert folder.find(other) is None
            assert all(Path(root, near).is_file() for near in folder.near(other))
