"""Checks of this project on an accelerator: one call, under eight minutes, no network, nothing to install.

    python -m tools.gpu_check --output OUT                           # networks of full size where time is measured
    python -m tools.gpu_check --size tiny --device cpu --output OUT  # the bundled models; runs anywhere

docs/gpu_check.md says what each check does, and how to prepare a machine that has no package index.

trainings.py  trainings of the recipes, with the bundled models or with random weights of full size
parity.py     CPU and accelerator compute the same: generation, one step of each training
runs.py       steps do not wait for the device; runs resume bit for bit; NaN is skipped
speed.py      step time and peak memory; one query against 400
runner.py     runs each check in a process of its own, with a time limit; the table
"""

from tools.checkout import ROOT as ROOT  # makes losses and datamodules importable
