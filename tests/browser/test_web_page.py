"""The page of `export --format web` in a real browser: from the same noise it makes the sound that torch makes.

Needs Chromium, and npm with a registry (`make test-browser`, see docs/export.md).
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from consistency_tta.components.clap import TinyClap
from consistency_tta.export import export
from consistency_tta.metrics.clap import clap_scores
from consistency_tta.pipeline import TextToAudioPipeline
from tests.browser.chromium import Chromium

CAPTION = "Ein Bär brüllt </s> 🐻"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, served on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_browser_makes_torch_s_sound(tmp_path: Path) -> None:
    student = TextToAudioPipeline.from_pretrained("tiny-student")
    export(Path("tiny-student"), tmp_path / "page", format="web")
    with served(tmp_path / "page") as address, Chromium(tmp_path / "browser", width=800) as browser:
        browser.open(address)
        browser.wait("document.getElementById('status').textContent !== 'Loading the model …'", 300)
        assert "Ready." in browser.text()
        assert browser.evaluate(f"model.tokens({json.dumps(CAPTION)})") == student.tokenizer(CAPTION).input_ids
        assert browser.evaluate("model.tokens('x'.repeat(999)).length") == 256
        # What a click makes of the form as it is first shown.
        browser.click("#generate")
        browser.wait("document.getElementById('status').textContent.includes('of sound in')", 300)
        assert browser.evaluate("!document.getElementById('player').hidden && player.src.startsWith('blob:')")
        browser.wait("document.getElementById('player').duration > 5")
        pixels = "spectrogram.getContext('2d').getImageData(0, 0, 512, 256).data"
        assert browser.evaluate(f"new Set({pixels}).size") > 50
        browser.picture(tmp_path / "page.png")
        # The same sound by torch, from the page's noise.
        made = "import('./noise.js').then(({normalNoise}) => Array.from(normalNoise(0, model.noiseSize)))"
        noise = torch.tensor(browser.evaluate(made)).reshape(1, *student.latent_shape)
        got = torch.tensor(browser.evaluate("Array.from(window.waveform)"))[None]
        assert browser.errors == []
    shutil.rmtree(tmp_path / "browser", ignore_errors=True)  # tens of megabytes
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    expected = student("A dog barks", guidance_scale=3.0, latents=noise).waveform
    assert (got - expected).abs().max() < 1e-2 * expected.abs().max()
    scores = clap_scores(TinyClap(), torch.cat([got, expected]), ["A dog barks"] * 2, student.codec.sample_rate)
    assert abs(scores[0] - scores[1]) < 1e-3
    assert scores.min() > 0.3
