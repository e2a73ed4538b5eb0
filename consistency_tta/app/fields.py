"""The fields and buttons that the tabs of the page share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

#: Captions of kinds of sound that the bundled models know.
EXAMPLES = ["A dog barks", "Rain is falling", "A rooster crows", "Sea waves roll onto a beach", "A helicopter flies by"]
MOST_SAMPLES = 8
#: What a user may mend, or should at least read.
SHOWN_ERRORS = (ValueError, OSError, ModuleNotFoundError, RuntimeError)


@dataclass(frozen=True)
class Choices:
    """The models of the page.

    Attributes:
        model, teacher: of the first tab; ``teacher`` is None where there is none.
        offered: names to choose from in the other tabs.
        others: whether another folder or hub id may be typed; not where the page can be reached from other machines.
    """

    model: str
    teacher: str | None
    offered: tuple[str, ...]
    others: bool


def prompt_and_settings(gr: Any) -> tuple[Any, list[Any]]:
    """The prompt, and the settings that all models share."""
    prompt = gr.Textbox(label="Prompt", value=EXAMPLES[0], lines=1, max_lines=4, elem_classes="app-prompt")
    gr.Examples([[text] for text in EXAMPLES], prompt, label="Examples")
    with gr.Row():
        return prompt, number_fields(gr, "Sounds")


def number_fields(gr: Any, samples: str) -> list[Any]:
    """Guidance, seed and the number of sounds, which has the given label."""
    return [
        gr.Slider(1, 10, 3, step=0.5, label="Guidance", info="1 is without."),
        gr.Number(0, label="Seed", precision=0, minimum=0, info="Of the starting noise."),
        gr.Slider(1, MOST_SAMPLES, 1, step=1, label=samples, info="Each from noise of its own."),
    ]


def steps_field(gr: Any, label: str, value: int = 0, name: str | None = None, visible: bool = True) -> Any:
    """The number of steps of a model."""
    info = "0 is the model's own number."
    return gr.Number(value, label=label, precision=0, minimum=0, info=info, elem_id=name, visible=visible)


def model_field(gr: Any, choices: Choices, label: str, value: str, name: str) -> Any:
    """A model to choose, or to type."""
    info = "A folder, a bundled name or a hub id." if choices.others else None
    return gr.Dropdown(
        list(choices.offered), value=value, label=label, info=info, allow_custom_value=choices.others, elem_id=name
    )


def buttons(gr: Any) -> tuple[Any, Any]:
    """Generate and stop."""
    with gr.Row():
        return (
            gr.Button("Generate", variant="primary", scale=4, elem_classes="app-generate"),
            gr.Button("Stop", scale=1, elem_classes="app-stop"),
        )


def connect(
    gr: Any,
    button: Any,
    stop: Any,
    function: Callable[..., Iterator[Any]],
    inputs: Any,
    outputs: Any,
    enter: Any = None,
) -> None:
    """Call a function when its button is clicked, or Enter is pressed in a field, until it is stopped."""

    @wraps(function)
    def shown(*args: Any) -> Iterator[Any]:
        try:
            yield from function(*args)
        except SHOWN_ERRORS as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from None

    triggers = [button.click, *([enter.submit] if enter is not None else [])]
    event = gr.on(
        triggers,
        shown,
        inputs,
        outputs,
        concurrency_id="models",
        concurrency_limit=1,
        trigger_mode="once",
        api_visibility="private",
        show_progress="minimal",
    )
    stop.click(None, cancels=[event])


def whole(number: float | None) -> int | None:
    """A field's number; None of 0 and of an empty field."""
    return int(number) if number else None
