import sys

import pytest

from consistency_tta.runtime.errors import MissingExtraError
from tools import metric_behaviour


def test_the_table_marks_what_does_not_worsen():
    steps = [f"{kind} {step:g}" for kind, steps in metric_behaviour.STEPS.items() for step in steps]
    metrics = metric_behaviour.HIGHER_IS_BETTER
    found = {"": [1.0] * len(metrics)} | {
        name: [float(2 + place % 3)] * len(metrics) for place, name in enumerate(steps)
    }
    found[steps[1]] = [2.0] * len(metrics)
    rows = {line.split(" |")[0]: line for line in metric_behaviour.table(found).splitlines()}
    assert rows["| KAD ↓"] == "| KAD ↓ | 1 | 2 | (2) | 4 " + "| 2 | 3 | 4 " * 5 + "|"
    assert rows["| IS ↑"] == "| IS ↑ | 1 | (2) | (2) | (4) " + "| (2) | (3) | (4) " * 5 + "|"


def test_without_matplotlib_the_error_comes_before_anything_is_computed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    inputs = [str(tmp_path / "nothing"), f"--weights={tmp_path / 'nothing'}"]
    with pytest.raises(MissingExtraError, match="matplotlib"):
        metric_behaviour.main([*inputs, f"--output={tmp_path / 'picture.png'}"])
