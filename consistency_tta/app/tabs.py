"""The tabs of the page: which fields each has, and what its button computes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from consistency_tta.app.batch import generate_captions
from consistency_tta.app.comparison import Column, compare
from consistency_tta.app.fields import (
    Choices,
    buttons,
    connect,
    model_field,
    number_fields,
    prompt_and_settings,
    steps_field,
    whole,
)
from consistency_tta.app.models import ModelCache
from consistency_tta.app.results import render_columns
from consistency_tta.generation.sampling_config import SamplingConfig
from consistency_tta.runtime.errors import ConfigurationError


def sample_tab(gr: Any, models: ModelCache, choices: Choices) -> None:
    """One model's sounds of a prompt, next to its teacher's."""
    prompt, settings = prompt_and_settings(gr)
    own = {name: models.load(name).default_steps for name in (choices.model, choices.teacher) if name}
    has_teacher = choices.teacher is not None
    with gr.Row():
        steps = steps_field(gr, "Student's steps" if has_teacher else "Steps", own[choices.model], "app-steps")
        teacher_steps = steps_field(
            gr, "Teacher's steps", own.get(choices.teacher or "", 0), "app-teacher-steps", visible=has_teacher
        )
        with_teacher = gr.Checkbox(
            has_teacher, label="With the teacher", info="It takes longer.", visible=has_teacher, elem_id="app-both"
        )
    button, stop = buttons(gr)
    results = gr.HTML(elem_id="app-results")

    def sample(prompt: str, guidance: float, seed: int, number: int, steps: int, teacher_steps: int, both: bool) -> Any:
        columns = [Column("Student" if choices.teacher else "Model", choices.model, whole(steps))]
        if both and choices.teacher:
            columns.append(Column("Teacher", choices.teacher, whole(teacher_steps)))
        yield from _compared(models, columns, prompt, guidance, seed, number)

    inputs = [prompt, *settings, steps, teacher_steps, with_teacher]
    connect(gr, button, stop, sample, inputs, results, prompt)


def compare_tab(gr: Any, models: ModelCache, choices: Choices) -> None:
    """The sounds of a prompt by any two models."""
    with gr.Row():
        first = model_field(gr, choices, "Model A", choices.model, "app-model-a")
        second = model_field(gr, choices, "Model B", choices.teacher or choices.offered[-1], "app-model-b")
    prompt, settings = prompt_and_settings(gr)
    with gr.Row():
        first_steps, second_steps = steps_field(gr, "Steps of A"), steps_field(gr, "Steps of B")
    button, stop = buttons(gr)
    results = gr.HTML(elem_id="app-compared")

    def sample(
        prompt: str, guidance: float, seed: int, number: int, a: str, b: str, steps_a: int, steps_b: int
    ) -> Iterator[str]:
        columns = [Column("A", a, whole(steps_a)), Column("B", b, whole(steps_b))]
        yield from _compared(models, columns, prompt, guidance, seed, number)

    inputs = [prompt, *settings, first, second, first_steps, second_steps]
    connect(gr, button, stop, sample, inputs, results, prompt)


def batch_tab(gr: Any, models: ModelCache, choices: Choices, folder: Path) -> None:
    """The sounds of a caption file as a zip file."""
    gr.Markdown(
        "A caption file as AudioCaps, Clotho or TANGO have it, or CSV with the columns `id,caption`. "
        "Each sound is named after its clip, for `consistency-tta evaluate`."
    )
    captions = gr.File(
        label="Captions", file_types=[".csv", ".tsv", ".json", ".jsonl"], height=140, elem_id="app-captions"
    )
    with gr.Row():
        model, steps = model_field(gr, choices, "Model", choices.model, "app-batch-model"), steps_field(gr, "Steps")
    with gr.Row():
        settings = number_fields(gr, "Sounds of each clip")
    button, stop = buttons(gr)
    status = gr.Markdown(elem_id="app-batch-status")
    archive = gr.File(label="Sounds", interactive=False, elem_id="app-archive")

    def write(file: str | None, guidance: float, seed: int, number: int, model: str, steps: int) -> Iterator[Any]:
        if file is None:
            raise ConfigurationError("expected a caption file, got none: drop one onto the field")
        config = SamplingConfig(guidance, whole(steps), whole(seed) or 0)
        yield "loading the model", None
        target = Path(tempfile.mkdtemp(dir=folder)) / "sounds"
        for progress in generate_captions(models.load(model), Path(file), config, target, whole(number) or 1):
            yield progress.text, None if progress.archive is None else str(progress.archive)

    connect(gr, button, stop, write, [captions, *settings, model, steps], [status, archive])


def _compared(
    models: ModelCache, columns: list[Column], prompt: str, guidance: float, seed: int, number: int
) -> Iterator[str]:
    """The columns as HTML, each time that something of them is new."""
    config = SamplingConfig(guidance, seed=whole(seed) or 0)
    for shown in compare(models, columns, prompt, config, whole(number) or 1):
        yield render_columns(shown, prompt)
