"""Sweeps: sounds of the same captions for every combination of settings, with their scores and curves.

<folder>/<model>/<setting>-<value>_.../   sounds, as consistency_tta.generation describes, and scores.json
<folder>/sweep.csv  sweep.svg  sweep.html the table and the curves of all models that were swept into the folder
"""
