"""The web app in a real browser, with the bundled models and no network.

Needs Chromium and Gradio (`make test-browser`, see docs/app.md).
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import soundfile

from consistency_tta.app.address import free_port
from consistency_tta.app.fields import Choices
from consistency_tta.app.layout import build_page, start
from consistency_tta.app.models import ModelCache
from tests.browser.chromium import Chromium

#: Addresses of everything that the page loaded or refers to in its head.
REQUESTS = (
    "[...performance.getEntriesByType('resource').map((e) => e.name),"
    "...[...document.head.querySelectorAll('link')].map((e) => e.href)]"
)
#: Whether all sounds and pictures in an element can be played and seen.
COMPLETE = (
    "[...document.querySelectorAll('{0} audio')].every((e) => e.duration >= 5 && e.error === null) &&"
    "[...document.querySelectorAll('{0} img')].every((e) => e.complete && e.naturalWidth > 300)"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    choices = Choices("tiny-student", "tiny-teacher", ("tiny-student", "tiny-teacher"), others=True)
    page = build_page(ModelCache("cpu"), choices, str(tmp_path_factory.mktemp("app")))
    yield start(page, "127.0.0.1", free_port("127.0.0.1", 0))
    page.close(verbose=False)


@pytest.fixture
def browser(address: str, tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path / "browser") as browser:
        browser.open(address)
        browser.wait("document.querySelector('.app-prompt textarea') !== null")
        yield browser
        assert browser.errors == []
    shutil.rmtree(tmp_path / "browser", ignore_errors=True)  # tens of megabytes


def fill_in(browser: Chromium, selector: str, text: str) -> None:
    browser.click(selector)
    browser.evaluate(f"document.querySelector({selector!r}).select()")
    browser.write(text)
    browser.press("Tab")


def open_tab(browser: Chromium, name: str) -> None:
    tabs = "[...document.querySelectorAll('[role=tab]')]"
    browser.evaluate(f"{tabs}.find((e) => e.innerText.includes({name!r})).click()")


def test_student_and_teacher(browser: Chromium, address: str) -> None:
    fill_in(browser, ".app-prompt textarea", "Rain <is> falling")
    fill_in(browser, "#app-teacher-steps input", "2")
    browser.click(".app-generate")
    browser.wait("document.querySelectorAll('#app-results audio').length === 2")
    assert browser.wait(COMPLETE.format("#app-results"))
    assert browser.evaluate("document.querySelectorAll('#app-results img').length") == 2
    assert browser.evaluate("document.querySelector('#app-results img').alt").count("Rain <is> falling") == 1
    shown = browser.text()
    assert "1 query" in shown
    assert "4 queries" in shown
    requests = browser.evaluate(REQUESTS)
    assert len(requests) > 10
    assert [name for name in requests if not name.startswith((address, "data:"))] == []


def test_two_models_and_a_wrong_one(browser: Chromium) -> None:
    browser.evaluate(
        "[...document.querySelectorAll('[role=tab]')].find((e) => e.innerText.includes('Compare')).click()"
    )
    fill_in(browser, "#app-model-b input", "no/such/folder")
    browser.click("#app-compare .app-generate")
    browser.wait("document.body.innerText.includes('no/such/folder') && document.querySelector('.toast-body') !== null")
    fill_in(browser, "#app-model-b input", "tiny-student")
    browser.click("#app-compare .app-generate")
    browser.wait("document.querySelectorAll('#app-compared audio').length === 2")
    assert browser.wait(COMPLETE.format("#app-compared"))
    # The same model and noise: the same sound and picture.
    for kind in ("audio", "img"):
        first, second = browser.evaluate(f"[...document.querySelectorAll('#app-compared {kind}')].map((e) => e.src)")
        assert first == second


def test_caption_file(browser: Chromium, tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    rows = [{"id": "rain", "caption": "Rain is falling"}, {"id": "dog", "caption": "A dog barks"}]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    browser.evaluate(
        "[...document.querySelectorAll('[role=tab]')].find((e) => e.innerText.includes('Caption')).click()"
    )
    browser.upload("#app-captions input[type=file]", captions)
    browser.wait("document.querySelector('#app-captions').innerText.includes('captions.jsonl')")
    browser.click("#app-batch .app-generate")
    link = browser.wait("document.querySelector('#app-archive a[href]')?.href")
    with urlopen(link) as reply, zipfile.ZipFile(io.BytesIO(reply.read())) as archive:
        assert sorted(archive.namelist()) == ["captions.csv", "dog.wav", "rain.wav"]
        samples, rate = soundfile.read(io.BytesIO(archive.read("rain.wav")))
    assert rate == 16000
    assert len(samples) == 5 * rate
    assert abs(samples).max() > 0.01
    assert "2 sounds" in browser.text()
