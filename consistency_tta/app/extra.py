"""Gradio, the package of the extra ``app``."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from consistency_tta.runtime.errors import MissingExtraError

#: Nothing leaves this machine: no usage statistics, no look-up of the newest version, no public link.
ENVIRONMENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SHARE": "False"}


def require_gradio() -> Any:
    """The module ``gradio``, set not to report to anybody.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ |= ENVIRONMENT
    for name in ("NO_PROXY", "no_proxy"):  # Gradio's test request to its own server must not use a proxy
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost,127.0.0.1"]))
    try:
        return import_module("gradio")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The web app needs {error.name}, which is not installed: pip install 'consistency-tta[app]'"
        ) from error
