"""The demo's time: what it suffices for, measured by a clock that tests set."""

from __future__ import annotations

import pytest

from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import toy_parts
from tools import demo_limits
from tools.demo_limits import TRIAL_STEPS, affordable, limit_report, limit_samples, training_time

DATA = {"copies": 2, "batch_size": 16, "source": {"init_args": {"num_inference_steps": 25}}}


class Clock:
    """Time that passes only while a network computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds_per_sound: float) -> None:
        self.now = 0.0
        monkeypatch.setattr(demo_limits.time, "perf_counter", lambda: self.now)
        original = TextToAudioPipeline.sample

        def sample(pipeline: TextToAudioPipeline, prompt: list[str], *args: object, **kwargs: int) -> object:
            self.now += seconds_per_sound * len(prompt) * kwargs["num_inference_steps"]
            return original(pipeline, prompt, *args, **kwargs)

        monkeypatch.setattr(TextToAudioPipeline, "sample", sample)


@pytest.fixture
def teacher() -> TextToAudioPipeline:
    pipeline = TextToAudioPipeline(**toy_parts())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1000, (20, 4)), (80, (20, 4)), (79, (19, 4)), (40, (10, 4)), (39, (10, 3)), (1, (10, 2))],
)
def test_first_there_are_fewer_steps_and_then_fewer_repeats(seconds: float, expected: tuple[int, int]) -> None:
    assert affordable(seconds, 1.0, 20, 4, least_steps=10, least_repeats=2) == expected


@pytest.mark.parametrize("seconds_per_sound", [0.001, 0.04, 0.2])
def test_what_is_cut_fits_in_the_time(
    teacher: TextToAudioPipeline, monkeypatch: pytest.MonkeyPatch, seconds_per_sound: float
) -> None:
    clock, captions, whole = Clock(monkeypatch, seconds_per_sound), ["rain"] * 20, 300.0
    arguments, samples = limit_samples(whole, teacher, captions, DATA)
    assert clock.now == pytest.approx(16 * TRIAL_STEPS * seconds_per_sound)
    steps, copies = map(int, arguments[1::2]) if arguments else (25, 2)
    assert steps * copies * len(captions) * seconds_per_sound <= demo_limits.SAMPLES * whole
    assert bool(samples) == bool(arguments) == (seconds_per_sound > 0.05)
    steps, shown, report = limit_report(whole, teacher, captions[:10], 200, 50)
    assert steps * shown * seconds_per_sound <= demo_limits.REPORT * whole
    assert bool(report) == (seconds_per_sound > 0.001)
    assert 50 <= steps <= 200
    assert (shown < 10) == (seconds_per_sound > 0.1)


def test_copies_suffice_for_a_batch(teacher: TextToAudioPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 1000.0)
    for captions, copies in ((15, 2), (16, 1)):
        arguments, _ = limit_samples(300, teacher, ["rain"] * captions, DATA)
        assert arguments[-2:] == (["--data.copies", str(copies)])


def test_steps_that_the_caller_gives_are_made(teacher: TextToAudioPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 1.0)
    assert limit_report(300, teacher, ["rain"] * 10, 20, 20)[:2] == (20, 3)
    assert limit_report(300, teacher, ["rain"] * 10, 200, 200)[:2] == (200, 2)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(300, "00:00:02:30"), (1, "00:00:00:01"), (9000, "00:01:15:00"), (200000, "01:03:46:40")]
)
def test_the_training_has_half_of_the_time(seconds: float, expected: str) -> None:
    assert training_time(seconds) == expected
