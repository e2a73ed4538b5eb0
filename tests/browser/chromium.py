"""A headless Chromium, driven through its DevTools pipe: nothing but the standard library.

Messages are JSON that end in a zero byte, on file descriptors 3 and 4; what they say is described at
https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: The keys that have no character of their own.
KEYS = {"Enter": ("Enter", 13), "Tab": ("Tab", 9), "ArrowRight": ("ArrowRight", 39), "ArrowLeft": ("ArrowLeft", 37)}


def find_chromium() -> str:
    """The browser's program."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        f"expected a browser, one of {', '.join(NAMES)}, on the PATH: `apt-get install chromium` on Debian"
    )


class Chromium:
    """A browser with one page.

    Args:
        folder: for its profile and its downloads; kept, so that a second browser finds what a first one stored.
        width: of the window, in CSS pixels.
        dark: whether the user prefers dark colours.
    """

    def __init__(self, folder: Path, width: int = 1280, dark: bool = False) -> None:
        self.downloads = folder / "downloads"
        self.downloads.mkdir(parents=True, exist_ok=True)
        commands_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        # Bash moves the pipes to 3 and 4: preexec_fn is not safe beside other threads.
        options = [
            "--headless=new",
            "--no-sandbox",  # of no use for our own page, and not to be had as root
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands_out} 4>&{answers_in}', "bash", find_chromium(), *options],
            pass_fds=(commands_out, answers_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_out)
        os.close(answers_in)
        self._buffer, self._number, self._session = b"", 0, None
        self.errors: list[str] = []
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._session = None
            self.call("Browser.close")
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._commands)
            os.close(self._answers)

    def call(self, method: str, seconds: float = 60, **parameters: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while True:
            while b"\0" not in self._buffer:
                if not select.select([self._answers], [], [], max(0, end - time.monotonic()))[0]:
                    raise TimeoutError(f"the browser did not answer {method} within {seconds} s")
                received = os.read(self._answers, 1 << 20)
                if not received:
                    raise ConnectionError(f"the browser ended before it answered {method}")
                self._buffer += received
            text, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(text)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"])[:500])
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, address: str) -> None:
        """Go to a page, or reload it, and wait until its script has run."""
        self.evaluate("window.left = true")
        self.call("Page.navigate", url=address)
        self.wait("!window.left && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:1000])
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> Any:
        """Wait until JavaScript is true."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} did not become true; the page says: {self.text()[:1000]}")
            time.sleep(0.02)
        return value

    def text(self) -> str:
        """What is on the screen."""
        return self.evaluate("document.body.innerText")

    def click(self, selector: str) -> None:
        """Click into the middle of an element, as a mouse does: something may be in the way."""
        self.wait(f"document.querySelector({selector!r}) !== null")
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", buttons=1, clickCount=1
            )

    def upload(self, selector: str, file: Path) -> None:
        """Choose a file in a field of type ``file``."""
        self.wait(f"document.querySelector({selector!r}) !== null")
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")["result"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=found["objectId"])

    def press(self, key: str) -> None:
        """Press a key: a character, or one of :data:`KEYS`."""
        name, code = KEYS[key] if key in KEYS else (key, ord(key.upper()))
        text = {"Enter": "\r", "Tab": ""}.get(key, "" if key in KEYS else key)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if kind == "keyDown" and text else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **more)

    def write(self, text: str) -> None:
        """Type into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, file: Path) -> None:
        """The window as a PNG file."""
        content = self.call("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(content))
