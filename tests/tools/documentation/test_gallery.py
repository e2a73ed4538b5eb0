"""The gallery of the documentation site: sounds of the bundled models, and their page."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tools.documentation.gallery import CAPTIONS, settings_digest, write_gallery
from tools.documentation.gallery_page import MARK, front_page, gallery_files, gallery_page

STEPS = {"teacher": 1, "student": 1}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    write_gallery(folder, {"dog": "A dog barks", "sea waves": "Ocean & <waves>"}, STEPS)
    return folder


def test_each_model_has_each_sound(gallery: Path) -> None:
    names = {f"gallery/{model}/{name}" for model in STEPS for name in ("dog", "sea_waves")}
    files = gallery_files(gallery)
    assert set(files) == {f"{name}{suffix}" for name in names for suffix in (".flac", ".png")}
    sound, rate = soundfile.read(files["gallery/student/dog.flac"])
    assert (len(sound), rate) == (80000, 16000)
    assert abs(sound).max() > 0.01


def test_the_page_plays_them(gallery: Path) -> None:
    text = gallery_page(gallery).text
    assert text.count("<audio") == 4
    assert 'src="gallery/student/sea_waves.flac"' in text
    assert "Ocean &amp; &lt;waves&gt;" in text
    assert "in 1 steps with classifier-free guidance: 2 queries" in text


def test_the_front_page_plays_some(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.documentation.gallery_page.FRONT", ("dog",))
    text = front_page(f"before {MARK} after", gallery)
    assert text.count("<audio") == 2
    assert 'src="gallery/student/dog.png"' in text


def test_the_same_gallery_is_not_written_again(gallery: Path) -> None:
    file = gallery / "student" / "dog.flac"
    file.write_bytes(b"kept")
    write_gallery(gallery, {"dog": "A dog barks", "sea waves": "Ocean & <waves>"}, STEPS)
    assert file.read_bytes() == b"kept"


def test_other_settings_are_another_gallery() -> None:
    assert settings_digest(CAPTIONS, STEPS) != settings_digest(CAPTIONS, {**STEPS, "teacher": 2})


def test_without_sounds_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        gallery_page(tmp_path)
