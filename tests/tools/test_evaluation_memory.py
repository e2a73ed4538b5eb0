import mmap
import sys

import pytest

from tools import evaluation_memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_what_was_held_meanwhile():
    with evaluation_memory.Peak() as peak:
        # A mapping: the heap of a process that ran other tests may have as much free, which counts before and after.
        held = mmap.mmap(-1, 60_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        held[::4096] = b"x" * len(held[::4096])
        evaluation_memory.threading.Event().wait(0.5)
        held.close()
    assert 50 < peak.mb - evaluation_memory.own_mb() < 200


@pytest.mark.filterwarnings("ignore:.*span fewer than")
def test_an_evaluation_of_any_shape_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_memory.tempfile, "tempdir", str(tmp_path))
    evaluation_memory.evaluate(6, (2, 3, 4))
    assert not list(tmp_path.iterdir())
