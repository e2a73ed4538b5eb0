"""The command; see :mod:`tools.mutants`."""

from __future__ import annotations

import argparse
import functools
import gc
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path
from random import Random
from types import CodeType, FrameType, FunctionType
from typing import Any, NoReturn

os.environ["OMP_NUM_THREADS"] = "1"  # a fork has no other threads, and would wait for them

import pytest
from tqdm.std import TqdmDefaultWriteLock

import tools.mutants
from tools.mutants.mutations import Mutant, mutants

ROOT = Path(__file__).parents[2]


def mirror(file: Path) -> Path:
    """The tests of a source file, in its folder's or a higher one, or else the nearest folder of tests."""
    inside = file.relative_to("consistency_tta") if file.is_relative_to("consistency_tta") else file
    folders = [Path("tests") / folder for folder in inside.parents]
    candidates = [folder / f"test_{file.name}" for folder in folders] + folders
    return next(each for each in candidates if (ROOT / each).exists())


def codes(module: CodeType) -> dict[tuple[str, int], CodeType]:
    """The code of a module's functions, at any depth, by qualified name and line."""
    found: dict[tuple[str, int], CodeType] = {}
    for constant in module.co_consts:
        if isinstance(constant, CodeType):
            found |= {(constant.co_qualname, constant.co_firstlineno): constant} | codes(constant)
    return found


def caches(objects: list[Any], functions: list[FunctionType]) -> list[functools._lru_cache_wrapper[Any]]:
    """What ``lru_cache`` made of functions, among objects: a mutant must not get what was computed without it."""
    return [
        each for each in objects if isinstance(each, functools._lru_cache_wrapper) and each.__wrapped__ in functions
    ]


def result(status: int) -> str:
    """What became of a mutant, by the wait status of its process."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "timed out" if number in (signal.SIGPROF, signal.SIGALRM) else f"ended by {signal.Signals(number).name}"
    return {0: "survived", 1: "killed"}.get(os.WEXITSTATUS(status), "could not be tried")


def fixtures_of(item: pytest.Item) -> set[str]:
    """The names of the fixtures that a test uses, directly or through others."""
    return set(getattr(item, "fixturenames", ()))


class Trial:
    """A plugin of pytest that runs the collected tests once, and then for each mutant.

    Args:
        files: the source files, relative to the repository.
        most: how many mutants of a file are tried, drawn at random.
        match: what the changes that are tried contain, a regular expression.
    """

    def __init__(self, files: list[Path], most: int, match: str) -> None:
        self.paths = {str(ROOT / file): file for file in files}
        self.most, self.match = most, match
        self.tests_of_line: dict[tuple[str, int], set[int]] = defaultdict(set)
        self.fixtures_of_line: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.seconds: list[float] = []
        self.shared_fixtures: set[str] = set()
        self.caches: list[functools._lru_cache_wrapper[Any]] = []  # of a file's functions
        self._shared_fixture = ""  # the one that is being made

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests, then try all mutants."""
        TqdmDefaultWriteLock.mp_lock = None  # forks share it, and one that ends within a bar would keep it for ever
        for index in range(len(session.items)):
            self._run_traced(session, index)
        if session.testsfailed:
            pytest.exit("expected tests that pass without a mutant, but some fail: mend them first", 1)
        for index, item in enumerate(session.items):
            for line, fixtures in self.fixtures_of_line.items():
                if fixtures & fixtures_of(item):
                    self.tests_of_line[line].add(index)
        gc.unfreeze()  # tests/conftest.py hides objects from the search
        objects = gc.get_objects()
        gc.freeze()
        functions = [each for each in objects if type(each) is FunctionType]
        for path, file in self.paths.items():
            source = (ROOT / file).read_text()
            fitting = [k for k, mutant in enumerate(mutants(source)) if re.search(self.match, mutant.change)]
            chosen = set(Random(0).sample(fitting, min(len(fitting), self.most)))
            alive, results = [each for each in functions if each.__code__.co_filename == path], Counter[str]()
            self.caches = caches(objects, alive)
            for number, mutant in enumerate(mutants(source)):
                if number in chosen:
                    results[found := self._try(session, path, mutant, alive)] += 1
                    if found != "killed":
                        print(f"{found}: {file}:{mutant.lines[0]}: {mutant.change}", flush=True)
            print(f"{file}: {len(chosen)} of {len(fitting)} mutants: {dict(results)}", flush=True)
        for item in session.items:
            if self.shared_fixtures & fixtures_of(item):
                self._run(session, item)
        if session.testsfailed:
            print("tests fail after the trial: a mutant changed files that tests share, and later counts are wrong")
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Note which fixture that tests share is being made."""
        before = self._shared_fixture
        if fixturedef.scope != "function":
            self._shared_fixture = fixturedef.argname
            self.shared_fixtures.add(fixturedef.argname)
        try:
            return (yield)
        finally:
            self._shared_fixture = before

    def _run(self, session: pytest.Session, item: pytest.Item) -> None:
        """Run a test with the fixtures that it shares with the one before; its module's stay for the next one."""
        session._setupstate.teardown_exact(item)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=item.parent)

    def _run_traced(self, session: pytest.Session, index: int) -> None:
        def trace(frame: FrameType, event: str, argument: object) -> Any:
            if frame.f_code.co_filename not in self.paths:
                return None
            line = frame.f_code.co_filename, frame.f_lineno
            if self._shared_fixture:
                self.fixtures_of_line[line].add(self._shared_fixture)
            self.tests_of_line[line].add(index)
            return trace

        item, start = session.items[index], time.process_time()
        threading.settrace(trace)
        sys.settrace(trace)
        self._run(session, item)
        sys.settrace(None)
        threading.settrace(None)
        self.seconds.append(time.process_time() - start)

    def _try(self, session: pytest.Session, path: str, mutant: Mutant, alive: list[FunctionType]) -> str:
        lines = [(path, line) for line in range(mutant.lines[0], mutant.lines[1] + 1)]
        tests = sorted({test for line in lines for test in self.tests_of_line[line]}, key=self.seconds.__getitem__)
        remake = any(line in self.fixtures_of_line for line in lines)
        if not tests:
            return "not reached"
        changed = codes(compile(mutant.tree, path, "exec"))
        if not (child := os.fork()):
            self._run_changed(session, tests, remake, changed, alive)
        return result(os.waitpid(child, 0)[1])

    def _run_changed(
        self,
        session: pytest.Session,
        tests: list[int],
        remake: bool,
        changed: dict[tuple[str, int], CodeType],
        alive: list[FunctionType],
    ) -> NoReturn:
        """Exit with 0 if all tests pass, 1 if one fails, 2 if they could not be run.

        With ``remake`` the fixtures that tests share are made again, since they reach what is changed.
        """
        try:
            session.config.pluginmanager.unregister(name="terminalreporter")
            session.config.option.tbstyle = "native"  # the quickest
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            # CPU seconds, for loops without an end; then seconds, for waiting without one, on however busy a machine.
            signal.setitimer(signal.ITIMER_PROF, 5 + 3 * sum(self.seconds[test] for test in tests))
            signal.setitimer(signal.ITIMER_REAL, 120 + 30 * sum(self.seconds[test] for test in tests))
            for function in alive:
                function.__code__ = changed[function.__code__.co_qualname, function.__code__.co_firstlineno]
            for cache in self.caches:
                cache.cache_clear()
            if remake:
                session._setupstate.teardown_exact(None)
            for test in tests:
                self._run(session, session.items[test])
                if session.testsfailed:
                    os._exit(1)
            os._exit(0)
        except KeyboardInterrupt:  # pytest lets a test's own SIGINT through
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(2)


if __name__ == "__main__":
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m tools.mutants", description=tools.mutants.__doc__, formatter_class=formatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tests", nargs="+", help="files or folders; those that mirror the source files if not given")
    parser.add_argument("--most", type=int, default=10**6, help="how many mutants of a file are tried, drawn at random")
    parser.add_argument("--match", default="", help="a regular expression for the changes that are tried")
    arguments, options = parser.parse_known_args()
    tests = arguments.tests or sorted({str(mirror(file)) for file in arguments.files})
    trial = Trial(arguments.files, arguments.most, arguments.match)
    sys.exit(pytest.main(["-q", *options, *tests], plugins=[trial]))
