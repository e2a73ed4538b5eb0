"""All files below a folder are found once for each way that leads to them, and no link leads in circles."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.storage.folder_files import files_below


def found(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in files_below(folder))


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.wav").touch()
    (tmp_path / "y.wav").touch()
    for place in (".", "a", "a/b"):
        for number in range(4):  # os.walk would follow them in 12 ** 40 orders
            (tmp_path / place / f"up{number}").symlink_to(tmp_path)
    assert found(tmp_path) == ["a/b/x.wav", "y.wav"]


def test_other_links_are(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").symlink_to("../elsewhere")
    (tmp_path / "folder" / "two").symlink_to("../elsewhere")
    (tmp_path / "folder" / "nowhere").symlink_to("missing")
    assert found(tmp_path / "folder") == ["nowhere", "one/x.wav", "two/x.wav"]


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    errors: list[OSError] = []
    assert list(files_below(tmp_path / "missing", errors.append)) == []
    assert len(errors) == 1
    with pytest.raises(StopIteration):
        next(files_below(tmp_path / "missing"))
