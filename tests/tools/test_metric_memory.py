import pytest

from consistency_tta.runtime.errors import DataError
from tools import metric_memory, metric_speed


def test_tables_of_several_runs_are_read(tmp_path):
    costs = {20: metric_speed.Cost(3.0, 0.5, 1.25, 7.0), 10: metric_speed.Cost(3.0, 0.5, 0.5, 4.0)}
    first = "\n".join(metric_speed.row("kad", clips, cost) for clips, cost in costs.items())
    (tmp_path / "one.txt").write_text(f"2 threads\n\n| metric | clips | ...\n|---|---|\n{first}\nLoading weights\n")
    (tmp_path / "other.txt").write_text(metric_speed.row("panns=a/file.pth", 10, costs[10]) + "\n")
    found = metric_memory.read([tmp_path / "one.txt", tmp_path / "other.txt"])
    assert found == {"kad": [(10, 0.5, 4.0), (20, 1.25, 7.0)], "panns": [(10, 0.5, 4.0)]}


def test_nothing_to_draw_is_named(tmp_path):
    (tmp_path / "log.txt").write_text("nothing\n")
    with pytest.raises(DataError, match=r"log\.txt"):
        metric_memory.read([tmp_path / "log.txt"])
