"""A fair comparison of distillation objectives: equal data, start and network passes, and one evaluation for all.

    python -m tools.arena train --output runs/arena --latents LATENTS --teacher TEACHER
    python -m tools.arena evaluate --output runs/arena --esc50 ESC50 --weights mn04_as_mAP_432.pt --labels LABELS.csv
    python -m tools.arena report --output runs/arena
    python -m tools.arena device --minutes 10 --output OUT   # all of it on one accelerator, of this checkout alone

A *contestant* is a YAML file in ``contestants/`` that is laid over ``base.yaml``. A *pass* is the forward pass of one
network for one clip; see :mod:`tools.arena.passes`. Folders:

    <output>/<contestant>/seed<k>/models/<fraction>/   the model at that share of the budget; snapshot.json
    .../models/teacher                                 a link to the teacher, on which these models rest
    <output>/<contestant>/seed<k>/run/                 checkpoints and Lightning's log
    .../models/<fraction>/evaluation/                  latents, embeddings, metric values
    <output>/references/<name>/evaluation/             the same of other models, such as the teacher
    <output>/recordings_<encoder>.safetensors          embeddings of ESC-10
    <output>/report.md  report.json  report.svg
"""

import tools.checkout  # noqa: F401  # makes losses and datamodules importable where nothing is installed
