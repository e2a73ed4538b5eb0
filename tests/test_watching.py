"""What docs/watching.md lays over a recipe is added to the recipe's callbacks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from consistency_tta.cli import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
METRICS, BEST, GUARD = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
#: The guard is an argument of the first of them.
BOTH = METRICS.replace("    - class_path: lightning", f"{GUARD}    - class_path: lightning")


def callbacks(laid_over: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Names of what calls back in the recipe of the documentation's command with this laid over it."""
    (tmp_path / "watch.yaml").write_text(laid_over, encoding="utf-8")
    recipe = str(ROOT / "lightning_configs" / "tiny" / "consistency.yaml")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", recipe, "--config", str(tmp_path / "watch.yaml"), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    return [entry["class_path"].rpartition(".")[2] for entry in printed]


@pytest.mark.parametrize("added", [METRICS, BOTH], ids=["metrics", "guard"])
def test_the_recipes_callbacks_stay(added: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = callbacks("{}", tmp_path, capsys)
    assert "ExportFolder" in own
    assert callbacks(added, tmp_path, capsys) == [*own, "SoundMetrics", "ModelCheckpoint"]
    assert callbacks(BEST, tmp_path, capsys) == [*own, "BestUnderConstraints"]


def test_without_the_plus_they_go_as_the_page_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = METRICS.replace("callbacks+:", "callbacks:")
    assert callbacks(plain, tmp_path, capsys) == ["SoundMetrics", "ModelCheckpoint"]
