"""What the mutation tool changes, and which tests it runs."""

from __future__ import annotations

import ast
import signal
from functools import cache, lru_cache
from pathlib import Path

import pytest

from tools.mutants.__main__ import caches, mirror, result
from tools.mutants.mutations import mutants


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("return a < b", {"a <= b"}),
        ("return (a - b).detach()", {"a - b", "(a + b).detach()"}),
        ("return f(a, b, k=2)", {"f(b, a, k=2)", "f(a, b)", "f(a, b, k=3)"}),
        ("self.average.update(a)", {"if False:\n    self.average.update(a)"}),
        ("if a: b = not a", {"if not a:\n    b = not a", "if a:\n    b = a"}),
        ("with no_grad(): b = a", {"if True:\n    b = a"}),
        ("raise ValueError(1)", {"if False:\n    raise ValueError(1)"}),
        ('b = f"{a + 1}"', set()),
    ],
)
def test_each_change_is_made_by_itself(line: str, changes: set[str]) -> None:
    source = f"class C:\n    def f(self, a: int = 3):\n        {line}"
    bodies = [ast.unparse(mutant.tree.body[0].body[0].body[0]) for mutant in mutants(source)]
    assert {body.removeprefix("return ") for body in bodies} == changes
    assert len(bodies) == len(changes)
    assert all(mutant.lines == (3, 3) for mutant in mutants(source))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, "survived"),
        (1 << 8, "killed"),
        (2 << 8, "could not be tried"),
        (signal.SIGPROF, "timed out"),
        (signal.SIGALRM, "timed out"),
        (signal.SIGSEGV, "ended by SIGSEGV"),
    ],
)
def test_how_the_process_ended_says_what_became_of_a_mutant(status: int, expected: str) -> None:
    assert result(status) == expected


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("losses/stft.py", "tests/losses/test_stft.py"),
        ("consistency_tta/diffusion/schedules/table.py", "tests/diffusion"),
        (
            "consistency_tta/training/distillation/objectives/guidance.py",
            "tests/training/distillation/test_guidance.py",
        ),
    ],
)
def test_tests_mirror_the_source(file: str, tests: str) -> None:
    assert mirror(Path(file)) == Path(tests)


def test_results_that_changed_functions_have_kept_are_found() -> None:
    def one(number: int) -> int:
        return number

    kept, others = [lru_cache(one), cache(one)], [one, lru_cache(abs), 3]
    assert caches([*others, *kept], [one]) == kept  # type: ignore[list-item]
