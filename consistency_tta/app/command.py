"""The command ``app``."""

from __future__ import annotations

import signal
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from threading import Event

from consistency_tta.app.address import free_port, is_loopback
from consistency_tta.app.extra import require_gradio
from consistency_tta.app.fields import Choices
from consistency_tta.app.layout import build_page, start
from consistency_tta.app.models import ModelCache
from consistency_tta.storage.bundled import bundled_models


def app(
    model: str = "tiny-student",
    teacher: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str | None = None,
    no_browser: bool = False,
) -> None:
    """Open a web page to sample a model, next to its teacher or another model, until Ctrl+C or SIGTERM.

    Args:
        model: model folder, bundled name or hub id.
        teacher: the model next to it; for tiny-student tiny-teacher, for others none if not given.
        host: address to listen on; 127.0.0.1 and ::1 are this machine alone, 0.0.0.0 lets others in, without a
            password.
        port: to listen on; 0 is any that is free.
        device: such as cuda or cpu; the best available if not given.
        no_browser: do not open the page in a browser.
    """
    require_gradio()
    port = free_port(host, port)
    if teacher is None and model == "tiny-student":
        teacher = "tiny-teacher"
    models = ModelCache(device)
    print(f"loading {' and '.join(filter(None, (model, teacher)))}", flush=True)
    for name in filter(None, (model, teacher)):
        models.load(name)
    offered = tuple(dict.fromkeys(filter(None, (model, teacher, *bundled_models()))))
    with ended_by_sigterm(), TemporaryDirectory(prefix="consistency-tta-app-") as folder:
        page = build_page(models, Choices(model, teacher, offered, others=is_loopback(host)), folder)
        address = start(page, host, port)
        print(f"{address} has the page; Ctrl+C ends it", flush=True)
        if not no_browser:
            webbrowser.open(address)
        try:
            Event().wait()
        except KeyboardInterrupt:
            print("ended")
        finally:
            page.close(verbose=False)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, which leaves contexts and removes their temporary folders."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
