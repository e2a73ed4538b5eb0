"""What is wrong is said in one line before the page opens; Gradio itself is tested in tests/browser."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from consistency_tta.app import command, layout
from consistency_tta.app.extra import require_gradio
from consistency_tta.cli import main
from consistency_tta.runtime.errors import MissingExtraError


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r"consistency-tta\[app\]"):
        require_gradio()


def test_nothing_is_reported_to_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", MagicMock())
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.setenv("NO_PROXY", "example.org")
    require_gradio()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["NO_PROXY"].split(",") == ["example.org", "localhost", "127.0.0.1"]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Stands in for the page; the command ends at once, as with Ctrl+C."""
    page = MagicMock()
    monkeypatch.setattr(command, "require_gradio", MagicMock())
    monkeypatch.setattr(command, "build_page", page.build)
    monkeypatch.setattr(command, "start", page.start)
    monkeypatch.setattr(command, "ModelCache", page.models)
    monkeypatch.setattr(command, "webbrowser", page.browser)
    monkeypatch.setattr(command, "Event", page.event)
    page.event.return_value.wait.side_effect = KeyboardInterrupt
    page.start.return_value = "http://127.0.0.1:1/"
    return page


@pytest.mark.parametrize(
    ("options", "model", "teacher", "opened"),
    [
        ([], "tiny-student", "tiny-teacher", True),
        (["--model", "mine"], "mine", None, True),
        (["--model", "mine", "--teacher", "theirs", "--no-browser"], "mine", "theirs", False),
    ],
)
def test_options_reach_the_page(
    page: MagicMock, options: list[str], model: str, teacher: str | None, opened: bool
) -> None:
    main(["app", "--port", "0", *options])
    choices = page.build.call_args.args[1]
    assert (choices.model, choices.teacher, choices.others) == (model, teacher, True)
    assert {"tiny-student", "tiny-teacher", model} <= set(choices.offered)
    assert page.start.call_args.args[1] == "127.0.0.1"
    assert page.browser.open.called == opened
    assert page.build.return_value.close.called


def test_other_machines_may_not_name_folders(page: MagicMock) -> None:
    main(["app", "--host", "0.0.0.0", "--port", "0", "--no-browser"])
    assert page.build.call_args.args[1].others is False


def test_a_port_in_use_is_one_line(page: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with pytest.raises(SystemExit, match=port) as ended:
            main(["app", "--port", port])
    assert str(ended.value).splitlines()[0].startswith("error: ")
    assert not page.models.called


@pytest.mark.parametrize(("host", "named"), [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1")])
def test_gradio_takes_addresses_of_ipv6_in_brackets(host: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", MagicMock())
    blocks = MagicMock()
    blocks.launch.return_value = None, f"http://{named}:1/", None
    assert layout.start(blocks, host, 1) == f"http://{named}:1/"
    assert blocks.launch.call_args.kwargs["server_name"] == named


def test_sigterm_removes_the_folder_of_sounds(page: MagicMock) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated() -> None:
        assert Path(page.build.call_args.args[2]).is_dir()
        os.kill(os.getpid(), signal.SIGTERM)

    page.event.return_value.wait.side_effect = terminated
    with pytest.raises(SystemExit) as ended:
        main(["app", "--port", "0", "--no-browser"])
    assert ended.value.code == 143
    assert not Path(page.build.call_args.args[2]).exists()
    assert signal.getsignal(signal.SIGTERM) == before
