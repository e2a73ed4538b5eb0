"""A clip has many names, and none of another clip's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from consistency_tta.evaluation.clip_names import ClipNames, NoClip
from consistency_tta.evaluation.protocol_file import load_protocol
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.captions import read_rows
from tests.evaluation.cases import write_protocol

VIDEOS = "audiocap_id,youtube_id,start_time,caption\n8,X,30,a\n9,Z,0,b\n"
PATHS = "file,caption\ndog/a.wav,a\ncat/a.wav,b\naudio/1.wav,c\n"


def names(listed: str, number: int, folder: Path) -> ClipNames:
    (folder / "list.csv").write_text(listed)
    digest = hashlib.sha256(listed.encode()).hexdigest()
    clips = {"number": number, "file": "../list.csv", "sha256": digest}
    protocol = load_protocol(write_protocol(folder / "protocol", clips=clips))
    assert protocol.clip_list is not None
    return ClipNames(protocol, protocol.clip_list)


@pytest.mark.parametrize(
    ("listed", "requested", "meant"),
    [
        (VIDEOS, "id,caption\nfolder/YX_30,a\n", "X"),
        (VIDEOS, "youtube_id,start_time,caption\nX,30,a\nX,60,a\n", "X"),
        (VIDEOS, "youtube_id,start_time,caption\nX,60,a\nX,30,a\n", None),
        (VIDEOS, "id,caption\n8,a\n", None),  # the number of a caption, or a number of its own
        (PATHS, "file,caption\n1.wav,a\n", "audio/1"),
        (PATHS, "file,caption\na.wav,a\n", None),
        (PATHS, "file,caption\nbird/a.wav,a\n", None),
        (PATHS, "file,caption\ndata/dog/a.wav,a\n", "dog/a"),
    ],
)
def test_a_name_is_another_only_where_it_is_the_end_of_its_path(
    listed: str, requested: str, meant: str | None, tmp_path: Path
) -> None:
    (tmp_path / "requested.csv").write_text(requested)
    found = names(listed, 2 if listed is VIDEOS else 3, tmp_path).find(read_rows(tmp_path / "requested.csv")[0])
    assert (found and found.name) == meant


def test_a_clip_is_claimed_once(tmp_path: Path) -> None:
    clips = names(VIDEOS, 2, tmp_path)
    (tmp_path / "requested.csv").write_text("id,caption\nX,a\nYX_30,a\nV,b\n")
    first, again, stranger = read_rows(tmp_path / "requested.csv")
    assert clips.claim(first).name == "X"
    with pytest.raises(NoClip, match="YX_30"):
        clips.claim(again)
    with pytest.raises(NoClip, match="toy"):
        clips.claim(stranger)


def test_the_list_has_as_many_clips_as_the_protocol_says(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="5"):
        names(VIDEOS, 5, tmp_path)
