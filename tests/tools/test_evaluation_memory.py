import sys

import pytest

from tools import evaluation_memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_what_was_held_meanwhile():
    with evaluation_memory.Peak() as peak:
        held = bytearray(60_000_000)
        held[::4096] = b"x" * len(held[::4096])
        evaluation_memory.threading.Event().wait(0.1)
        del held
    assert 50 < peak.mb - evaluation_memory.own_mb() < 200


@pytest.mark.filterwarnings("ignore:.*span fewer than")
def test_an_evaluation_of_any_shape_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_memory.tempfile, "tempdir", str(tmp_path))
    evaluation_memory.evaluate(6, (2, 3, 4))
    assert not list(tmp_path.iterdir())
