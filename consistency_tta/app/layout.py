"""The page, and its server: Gradio's part of the app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consistency_tta.app.extra import require_gradio
from consistency_tta.app.fields import Choices
from consistency_tta.app.models import ModelCache
from consistency_tta.app.tabs import batch_tab, compare_tab, sample_tab


def build_page(models: ModelCache, choices: Choices, folder: str) -> Any:
    """The page as ``gradio.Blocks``.

    Args:
        models: that are loaded.
        choices: which models the page names.
        folder: for the sounds of caption files; temporary.
    """
    gr = require_gradio()
    with gr.Blocks(title="ConsistencyTTA", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown("# ConsistencyTTA\nText to audio in one network query.")
        with gr.Tab("Student and teacher" if choices.teacher else "Sample"):
            sample_tab(gr, models, choices)
        with gr.Tab("Compare two models", elem_id="app-compare"):
            compare_tab(gr, models, choices)
        with gr.Tab("Caption file", elem_id="app-batch"):
            batch_tab(gr, models, choices, Path(folder))
    return page


def start(page: Any, host: str, port: int) -> str:
    """Serve the page from threads of its own.

    Returns:
        Its address.
    """
    gr = require_gradio()
    font, mono = [[gr.themes.Font(name) for name in names] for names in (("system-ui", "sans-serif"), ("monospace",))]
    theme = gr.themes.Base(font=font, font_mono=mono).set(  # fonts of the machine, none from the network
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
    )
    page.queue(default_concurrency_limit=1, api_open=False)
    _, address, _ = page.launch(
        server_name=f"[{host}]" if ":" in host else host,  # as an address of IPv6 stands in the page's address
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size="20mb",
        css_paths=Path(__file__).with_name("app.css"),
        theme=theme,
    )
    return str(address)
