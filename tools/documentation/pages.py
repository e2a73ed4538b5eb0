"""Pages of the site that are not in ``docs/``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Sections of the README that are pages, by their headings.
README_PAGES = {
    "Install": "guide/install.md",
    "Train": "guide/train.md",
    "Generate": "guide/generate.md",
    "Evaluate": "guide/evaluate.md",
    "Add a loss": "guide/add_a_loss.md",
    "Add an objective": "guide/add_an_objective.md",
}
#: Files of the root that are pages.
ROOT_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
}
#: Modules of the API reference by page, with the page's title.
API_PAGES = {
    "api/pipeline.md": ("Pipeline", ["consistency_tta.pipeline"]),
    "api/contracts.md": ("Contracts", ["consistency_tta.contracts"]),
    "api/losses.md": ("Losses", ["consistency_tta.losses"]),
    "api/metrics.md": ("Metrics", ["consistency_tta.metrics"]),
    "api/training.md": ("Training", ["consistency_tta.training"]),
    "api/datamodules.md": ("Datamodules", ["consistency_tta.datamodules"]),
    "api/diffusion.md": (
        "Diffusion",
        [f"consistency_tta.diffusion.{name}" for name in ("schedules", "solve", "grid", "sampler", "weighting")],
    ),
    "api/evaluation.md": (
        "Evaluation",
        [f"consistency_tta.evaluation.{name}" for name in ("folder_evaluation", "evaluator", "protocol", "result")],
    ),
}


@dataclass(frozen=True)
class Page:
    """A page of the site.

    Attributes:
        text: Markdown.
        folder: against which its links are resolved, relative to the repository's root.
    """

    text: str
    folder: str = ""


def heading_id(heading: str) -> str:
    """The fragment of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def readme_pages(readme: str) -> dict[str, Page]:
    """The sections of :data:`README_PAGES`, each with its heading as the title.

    Raises:
        ValueError: a section is not there.
    """
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", readme, flags=re.MULTILINE)[1:]}
    if missing := set(README_PAGES) - set(sections):
        raise ValueError(
            f"expected the sections {', '.join(README_PAGES)} in README.md, {', '.join(sorted(missing))} not found: "
            "change README_PAGES in tools/documentation/pages.py"
        )
    return {page: Page(f"# {sections[heading]}") for heading, page in README_PAGES.items()}


def api_page(title: str, modules: list[str]) -> Page:
    """A page of the API reference, for mkdocstrings."""
    return Page("\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)]) + "\n")


def generated_pages() -> dict[str, Page]:
    """All these pages by their place on the site."""
    pages = readme_pages((ROOT / "README.md").read_text(encoding="utf-8"))
    pages |= {page: Page((ROOT / name).read_text(encoding="utf-8")) for name, page in ROOT_PAGES.items()}
    return pages | {page: api_page(*content) for page, content in API_PAGES.items()}


def site_page(file: str, fragment: str = "") -> str | None:
    """The place on the site, with its fragment, of a file of the repository; None for one that is not on it."""
    if file == "README.md":
        sections = {f"#{heading_id(heading)}": page for heading, page in README_PAGES.items()}
        return sections.get(fragment, "index.md")
    if file in ROOT_PAGES:
        return ROOT_PAGES[file] + fragment
    if file.startswith("notebooks/") and file.endswith(".ipynb"):
        return f"{file.removesuffix('.ipynb')}.md{fragment}"
    return file.removeprefix("docs/") + fragment if file.startswith("docs/") else None
