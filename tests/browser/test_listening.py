"""A listening test in a real browser: rate, reload, save, analyse.

Needs Chromium (`make test-browser`, see docs/listening.md).
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consistency_tta.listening import analyse
from consistency_tta.listening.key import Key
from consistency_tta.listening.server import make_server
from tests.browser.chromium import Chromium
from tests.listening.noise import made

#: Whether all that can be used lies on the screen: no scrolling sideways, nothing too small for a finger.
FITS = (
    "document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll('button, .grade')]"
    ".filter((e) => !e.hidden && !e.matches('.all')).every((e) => e.getBoundingClientRect().height >= 43 &&"
    "e.getBoundingClientRect().right <= innerWidth)"
)


@pytest.fixture(autouse=True)
def _without_profiles(tmp_path: Path) -> Iterator[None]:
    yield
    shutil.rmtree(tmp_path / "browser", ignore_errors=True)  # tens of megabytes


def begin(browser: Chromium, address: str, rater: str) -> None:
    browser.open(address)
    browser.wait("document.activeElement.id === 'rater'")
    browser.write(rater)
    browser.press("Enter")
    browser.wait("document.querySelector('.sound') !== null")


def load_again(browser: Chromium, address: str) -> None:
    """Load the page until it finds what it stored: a browser that has just started may give a new page nothing."""
    for _ in range(5):
        browser.open(address)
        if browser.evaluate("state !== null"):
            return
        time.sleep(2)


def order(browser: Chromium) -> list:
    return browser.evaluate("state.order")


def test_rate_reload_save_analyse(tmp_path: Path) -> None:
    folder, key = made(tmp_path)
    address = (folder / "index.html").as_uri()
    with Chromium(tmp_path / "browser") as browser:
        begin(browser, address, "Ann Lee")
        # Nothing can be graded, by mouse or keys, before it was played.
        browser.press("4")
        browser.click("[name=quality] .grade")
        browser.press("n")
        assert browser.evaluate("document.querySelectorAll(':checked').length") == 0
        assert "1 of 9" in browser.text()
        # The first with the mouse.
        browser.click(".play")
        browser.wait("!document.querySelector('fieldset').disabled")
        browser.click("[name=quality] .grade:nth-of-type(2)")
        assert browser.evaluate("document.getElementById('next').disabled")
        browser.click("[name=relevance] .grade:nth-of-type(5)")
        browser.click("#next")
        browser.wait("document.body.innerText.includes('2 of 9')")
        # A second one with the keys; then the page is loaded again.
        browser.press("p")
        browser.wait("!document.querySelector('fieldset').disabled")
        browser.press("2")
        browser.press("5")
        before = order(browser)
        load_again(browser, address)
        assert "2 of 9" in browser.text(), browser.evaluate("JSON.stringify(localStorage)")
        assert order(browser) == before
        assert browser.evaluate("[...document.querySelectorAll(':checked')].map((e) => e.value)") == ["2", "5"]
        browser.press("n")
        for number in range(3, 10):
            browser.wait(f"document.body.innerText.includes('{number} of 9')")
            browser.press("p")
            browser.wait("!document.querySelector('fieldset').disabled")
            browser.press("3")
            browser.press("4")
            browser.press("n")
        browser.wait("document.body.innerText.includes('All 9 are graded')")
        browser.press("Enter")
        file = browser.downloads / "answers-Ann-Lee.json"
        end = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < end, "nothing was saved"
            time.sleep(0.02)
        assert browser.errors == []
    content = json.loads(file.read_text())
    assert content["order"] == [item for item in content["order"] if item in key.items]
    first, second = content["order"][:2]
    assert content["items"][first] == {"scores": {"quality": 4, "relevance": 1}, "plays": 1}
    assert content["items"][second] == {"scores": {"quality": 2, "relevance": 5}, "plays": 1}
    result = analyse(folder, [browser.downloads], draws=100)
    assert (result["raters"], result["faults"], result["failures"]) == (["Ann Lee"], [], [])
    scale = result["scales"]["quality"]["systems"]
    assert sum(system["mean"] * system["ratings"] for system in scale.values()) == pytest.approx(4 + 2 + 7 * 3)
    assert scale[key.items[first].system]["ratings"] == 3


def test_comparison_on_a_small_screen_goes_to_the_server(tmp_path: Path) -> None:
    folder, _ = made(tmp_path, mode="comparison", reference="yardstick", anchor=True)
    server = make_server(folder, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with Chromium(tmp_path / "browser", width=400, dark=True) as browser:
            begin(browser, f"http://127.0.0.1:{server.server_port}/", "Bob")
            assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 16, 19)"
            assert browser.evaluate(FITS)
            for number in range(1, 4):
                browser.wait(f"document.body.innerText.includes('{number} of 3')")
                browser.press("r")
                browser.wait("document.querySelector('.card .played').textContent === 'played'")
                for place in range(4):
                    sliders = f"document.querySelectorAll('input[type=range]')[{place}]"
                    assert browser.evaluate(f"{sliders}.closest('fieldset').disabled")
                    browser.press(str(place + 1))
                    browser.wait(f"!{sliders}.closest('fieldset').disabled")
                    browser.evaluate(f"{sliders}.focus()")
                    for _ in range(place + 1):
                        browser.press("ArrowRight")
                browser.press("n")
            browser.wait("document.body.innerText.includes('All 3 are graded')")
            browser.click("#save")
            browser.wait("document.body.innerText.includes('Your answers are saved')")
            # Another rater in the same browser has an order of their own, and cannot take the first one's name.
            first = order(browser)
            browser.click("#leave")
            browser.write("Cleo")
            browser.press("Enter")
            browser.wait("document.querySelector('.sound') !== null")
            assert order(browser) != first
            browser.click("#leave")
            browser.evaluate("document.getElementById('rater').value = 'Bob'")
            browser.click("#save")
            browser.wait("document.body.innerText.includes('choose another name')")
            assert browser.errors == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    result = analyse(folder, draws=100)
    assert (result["raters"], result["faults"]) == (["Bob"], [])
    assert [failure["check"] for failure in result["failures"]] == ["hidden reference"]
    systems = result["scales"]["score"]["systems"]
    assert list(systems) == list(Key.load(folder).systems)
    # Every slider began at 50; the four of a clip were moved by 1, 2, 3 and 4.
    assert sum(3 * system["mean"] for system in systems.values()) == pytest.approx(12 * 50 + 3 * 10)


def test_the_rating_page_fits_all_screens(tmp_path: Path) -> None:
    folder, _ = made(tmp_path)
    with Chromium(tmp_path / "browser", width=400) as browser:
        begin(browser, (folder / "index.html").as_uri(), "Ann")
        for width in (320, 400, 1280):
            browser.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
            )
            assert browser.evaluate(FITS), width
