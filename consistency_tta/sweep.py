"""What guidance and steps are worth: the same captions for every combination of settings, judged and drawn.

<folder>/<model>/<setting>-<value>_.../   sounds, as generation.py describes, and scores.json
<folder>/sweep.csv  sweep.svg  sweep.html the table and the curves of all models that were swept into the folder
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.bundled import TRANSFORMERS, resolve
from consistency_tta.captions import EXTENSIONS
from consistency_tta.chart import Line, Panel, chart
from consistency_tta.comparison import RealClips
from consistency_tta.components.clap import TransformersClap
from consistency_tta.generation import Folder, Request, Sound, ask, fill, read_manifest
from consistency_tta.metrics.mn04 import AudioTagger
from consistency_tta.page import page
from consistency_tta.pipeline import TextToAudioPipeline, best_device
from consistency_tta.resample import Resample

SCORES = "scores.json"
#: Sounds that are made alone to take the time, and what is made before the clock runs.
TIMED = 3
#: The settings that a sweep may go over.
NUMBERS = [field for field in fields(Request) if field.name != "grid"]
#: What the points of a line have in common, beside the model.
_OF_A_LINE = ("steps", "external_guidance_scale", "seed")
#: Waveforms (B, samples) and their rate in Hz to vectors (B, D).
Embed = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Judge:
    """Who judges a sweep.

    Args:
        clap: folder, bundled name, fetched hub id or checkpoint of laion_clap: the CLAP score's.
        real: folder of recordings to which the Fréchet distance is taken; null for the statistics beside the CLAP.
        tagger: EfficientAT's ``mn04_as_mAP_432.pt``, in whose embedding the Fréchet distance is taken, to ``real``;
            null for the CLAP's own embedding.
    """

    clap: str = "tiny-clap"
    real: Path | None = None
    tagger: Path | None = None

    @property
    def facts(self) -> dict[str, str | None]:
        """What makes scores comparable."""
        return {name: None if value is None else str(value) for name, value in asdict(self).items()}

    def check(self) -> None:
        """See that all is there, before hours of generation.

        Raises:
            FileNotFoundError: something is not.
            ValueError: a tagger without recordings.
        """
        if self.tagger is not None and self.real is None:
            raise ValueError("expected judge.real, a folder of recordings, beside judge.tagger, got none")
        if self.tagger is not None and not self.tagger.is_file():
            raise FileNotFoundError(f"expected the tagger's weights, but there is no {self.tagger}")
        if self.real is None:
            RealClips.load(self.clap)
        else:
            recordings(self.real)
        TransformersClap(resolve(self.clap, TRANSFORMERS))


def parse_sweep(settings: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each setting in ``["guidance_scale=1,2,3", "steps=1,2"]``.

    Raises:
        ValueError: for an unknown setting or one given twice, and values that are none or given twice.
    """
    kinds = {field.name: int if "int" in str(field.type) else float for field in NUMBERS}
    grid: dict[str, list[Any]] = {}
    for setting in settings:
        name, separator, listed = setting.partition("=")
        if not separator or name not in kinds:
            raise ValueError(f"expected a sweep such as guidance_scale=1,2,3, over {', '.join(kinds)}, got {setting!r}")
        try:
            values = [kinds[name](value) for value in listed.split(",")]
        except ValueError:
            raise ValueError(f"expected {kinds[name].__name__} values with commas between, got {setting!r}") from None
        if len(set(values)) < len(values) or name in grid:
            raise ValueError(f"expected each setting and each of its values once, got {setting!r}")
        grid[name] = values
    return grid


def run_sweep(
    sounds: Sequence[Sound],
    model: str,
    output: Path,
    request: Request,
    settings: Sequence[str],
    judge: Judge,
    **production: Any,
) -> list[Path]:
    """Generate, judge and draw.

    Args:
        sounds: to be made with every combination.
        model: model folder, bundled name or hub id.
        output: folder of the sweep; what other models left there is drawn along.
        request: the settings that are not swept.
        settings: see :func:`parse_sweep`.
        judge: of the sounds.
        **production: of :func:`consistency_tta.generation.fill`.

    Returns:
        The table, the picture and the page; nothing while other processes still have sounds to make.
    """
    grid = parse_sweep(settings)
    judge.check()
    home = output / (re.sub(r"[^\w.-]+", "_", model).strip("._") or "model")
    folders = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        name = "_".join(f"{key}-{value:g}" for key, value in chosen.items())
        folders.append(Folder(home / name, replace(request, **chosen), sounds))
    fill(folders, model, **production)
    if missing := sum(len(folder.missing) for folder in folders):
        print(f"{missing} sounds are other processes' to make; the last of them will judge and draw")
        return []
    judge_all(folders, model, judge, production.get("device"))
    return draw(output, folders[0].path, judge)


@torch.no_grad()
def judge_all(folders: Sequence[Folder], model: str, judge: Judge, device: str | None = None) -> None:
    """Write the scores of each folder beside its sounds, unless they are there."""
    waiting = [folder for folder in folders if not _is_judged(folder.path, judge)]
    if not waiting:
        return
    place = best_device(device)
    clap = TransformersClap(resolve(judge.clap, TRANSFORMERS)).to(place)
    pipeline = TextToAudioPipeline.from_pretrained(model).to(place)
    pipeline.set_progress_bar_config(disable=True)

    @lru_cache(maxsize=8)
    def resample(rate: int) -> Resample:
        return Resample(rate, clap.sample_rate).to(place)

    def embed(waveform: Tensor, rate: int) -> Tensor:
        return clap.embed_audio(resample(rate)(waveform.to(place))).cpu()

    tagger = AudioTagger.from_checkpoint(judge.tagger).to(place) if judge.tagger else None

    def embed_for_distance(waveform: Tensor, rate: int) -> Tensor:
        return embed(waveform, rate) if tagger is None else tagger(waveform.to(place), rate)[1].cpu()

    real = RealClips.load(judge.clap) if judge.real is None else _real_clips(judge.real, embed_for_distance)
    for folder in tqdm(waiting, desc="judging", unit="folder"):
        vectors = _embeddings(folder.files, embed)
        cosines = (vectors * clap.embed_text([sound.caption for sound in folder.sounds]).cpu()).sum(1)
        heard = vectors if tagger is None else _embeddings(folder.files, embed_for_distance)
        queries, seconds = _cost(pipeline, folder)
        scores = {
            "judge": judge.facts,
            "generation": read_manifest(folder.path),
            "queries": queries,
            "seconds": seconds,
            "clap": float(cosines.mean()),
            "clap_error": float(cosines.std() / len(cosines) ** 0.5),
            "frechet": real.distance(heard),
        }
        (folder.path / SCORES).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def recordings(folder: Path) -> list[Path]:
    """The audio files below a folder, at least two.

    Raises:
        FileNotFoundError: there are fewer.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
    if len(files) < 2:
        raise FileNotFoundError(
            f"expected at least 2 recordings ({', '.join(EXTENSIONS)}) in {folder}, got {len(files)}"
        )
    return files


def draw(output: Path, latest: Path, judge: Judge) -> list[Path]:
    """Write the table, the picture and the page of all folders of a sweep that can be compared with the latest."""
    captions = (read_manifest(latest) or {})["captions"]
    rows, others = [], []
    for file in sorted(output.glob(f"*/*/{SCORES}")):
        scores = json.loads(file.read_text(encoding="utf-8"))
        comparable = scores["judge"] == judge.facts and scores["generation"]["captions"] == captions
        if not comparable or scores["generation"] != read_manifest(file.parent):
            others.append(file.parent)
            continue
        named = {name: scores["generation"][name] for name in ("model", *(field.name for field in NUMBERS))}
        rows.append(named | {key: scores[key] for key in ("queries", "seconds", "clap", "clap_error", "frechet")})
    if others:
        print(f"left out, as of other captions or judged by another: {', '.join(map(str, others))}")
    rows.sort(key=lambda row: (row["model"], *(row[name] for name in ("queries", "steps", "seed", "guidance_scale"))))
    files = [output / f"sweep.{kind}" for kind in ("csv", "svg", "html")]
    with files[0].open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    count = (read_manifest(latest) or {})["sounds"]
    picture = _picture(rows, judge)
    files[1].write_text(picture + "\n", encoding="utf-8")
    files[2].write_text(_page(rows, picture, judge, count), encoding="utf-8")
    print(f"{len(rows)} settings compared: {', '.join(map(str, files))}")
    return files


def _picture(rows: Sequence[dict[str, Any]], judge: Judge) -> str:
    """The curves: a colour for each model, a mark for each number of steps."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["model"], row["steps"], row["guidance_scale"])):
        groups.setdefault(tuple(row[name] for name in ("model", *_OF_A_LINE)), []).append(row)
    told = [name for name in _OF_A_LINE[1:] if len({row[name] for row in rows}) > 1]
    members: dict[str, int] = {}  # lines of each model so far
    places, legend = [], []
    for group in groups.values():
        first = group[0]
        member = members[first["model"]] = members.get(first["model"], -1) + 1
        family = list(members).index(first["model"])
        places.append((family, member, group))
        queries = " or ".join(str(number) for number in sorted({row["queries"] for row in group}))
        texts = [first["model"], _count(first["steps"], "step", "steps"), _count(queries, "query", "queries")]
        legend.append((family, member, ", ".join([*texts, *(f"{name} {first[name]:g}" for name in told)])))

    def lines(x: str, y: str, labelled: bool = False) -> list[Line]:
        def labels(group: Sequence[dict[str, Any]]) -> list[str]:
            ends = {0, len(group) - 1}
            return [f"w {row['guidance_scale']:g}" if number in ends else "" for number, row in enumerate(group)]

        return [
            Line(family, member, [(row[x], row[y]) for row in group], labels(group) if labelled else ())
            for family, member, group in places
        ]

    hears, scale = judge.tagger.stem if judge.tagger else judge.clap, "guidance scale w"
    panels = [
        Panel(
            "Text fit",
            f"CLAP score of {judge.clap}; higher is better",
            scale,
            "CLAP score",
            lines("guidance_scale", "clap"),
        ),
        Panel(
            "Quality",
            f"Fréchet distance of {hears}; lower is better",
            scale,
            "Fréchet distance",
            lines("guidance_scale", "frechet"),
        ),
        Panel("Trade-off", "best at the lower right", "CLAP score", "Fréchet distance", lines("clap", "frechet", True)),
        Panel(
            "Cost",
            "seconds per clip, made alone, decoders included",
            scale,
            "seconds",
            lines("guidance_scale", "seconds"),
            True,
        ),
    ]
    return chart(panels, legend)


def _count(number: object, one: str, several: str) -> str:
    return f"{number} {one if str(number) == '1' else several}"


def _page(rows: Sequence[dict[str, Any]], picture: str, judge: Judge, count: int) -> str:
    names = {"steps": "Steps", "guidance_scale": "w", "external_guidance_scale": "External w", "seed": "Seed"}
    shown = {
        name: title
        for name, title in names.items()
        if name in ("steps", "guidance_scale") or len({row[name] for row in rows}) > 1
    }
    columns: dict[str, tuple[str, str]] = {name: (title, "g") for name, title in shown.items()}
    columns |= {
        "queries": ("Queries", "d"),
        "seconds": ("Seconds per clip", ".3f"),
        "clap": ("CLAP score", ".3f"),
        "frechet": ("Fréchet", ".3f"),
    }
    head = "".join(f'<th scope="col">{title}</th>' for title, _ in columns.values())
    body = "".join(
        f'<tr><th scope="row">{escape(row["model"])}</th>'
        + "".join(f'<td data-label="{title}">{row[name]:{form}}</td>' for name, (title, form) in columns.items())
        + "</tr>"
        for row in rows
    )
    reference = str(judge.real) if judge.real else f"the statistics beside {judge.clap}"
    notes = [
        f"{count} sounds in each row, from the same noise in all rows. The Fréchet distance to {escape(reference)} is "
        "biased upwards, the more so the fewer sounds there are: compare rows, not papers.",
        f"The standard error of the CLAP score over the sounds is {min(row['clap_error'] for row in rows):.3f} to "
        f"{max(row['clap_error'] for row in rows):.3f}.",
        f"Seconds: the median of {TIMED} sounds made alone on the machine that judged.",
    ]
    return page(
        "Sweep · ConsistencyTTA",
        '<main><header><p class="eyebrow">ConsistencyTTA · sweep</p><h1>Quality, text fit, cost</h1></header>'
        f'<section class="card chart-card">{picture}</section>'
        f'<section><table><thead><tr><th scope="col">Model</th>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'<ul class="notes">{"".join(f"<li>{note}</li>" for note in notes)}</ul></section></main>',
    )


def _is_judged(folder: Path, judge: Judge) -> bool:
    """Whether this judge's scores of these very sounds are there."""
    file = folder / SCORES
    if not file.is_file():
        return False
    scores = json.loads(file.read_text(encoding="utf-8"))
    return scores["judge"] == judge.facts and scores["generation"] == read_manifest(folder)


def _embeddings(files: Sequence[Path], embed: Embed, batch_size: int = 8) -> Tensor:
    """Vectors (files, D), of neighbours with equal length and rate in batches."""
    vectors = []
    for (_, rate), run in itertools.groupby(map(_read, files), key=lambda sound: (len(sound[0]), sound[1])):
        while batch := [samples for samples, _ in itertools.islice(run, batch_size)]:
            vectors.append(embed(torch.stack(batch), rate))
    return torch.cat(vectors)


def _read(file: Path) -> tuple[Tensor, int]:
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(samples).mean(1), rate


def _real_clips(folder: Path, embed: Embed) -> RealClips:
    return RealClips.of(_embeddings(tqdm(recordings(folder), desc="recordings"), embed))


def _cost(pipeline: TextToAudioPipeline, folder: Folder) -> tuple[int, float]:
    """Queries and seconds of a sound that is made alone, the median of a few after one that does not count."""
    first = folder.sounds[0]
    ask(pipeline, replace(folder.request, steps=1), [first])
    made = [ask(pipeline, folder.request, [sound]) for sound in folder.sounds[:TIMED]]
    return made[0].queries, median(sum(each.seconds.values()) for each in made)
