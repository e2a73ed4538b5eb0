"""The file in a model folder by which diffusers alone can load it.

    DiffusionPipeline.from_pretrained(folder_or_hub_id, trust_remote_code=True)

runs ``pipeline.py`` of the folder, which imports this package. Loading by this package's own class does not run it.
"""

from __future__ import annotations

import json
from pathlib import Path

#: What model_index.json names: the module ``pipeline`` of the folder, and the class in it.
CLASS_IN_FOLDER = ["pipeline", "TextToAudioPipeline"]
SOURCE = '''"""For DiffusionPipeline.from_pretrained(folder, trust_remote_code=True); needs consistency-tta."""

from consistency_tta import TextToAudioPipeline

__all__ = ["TextToAudioPipeline"]
'''


def write_loader(folder: Path) -> None:
    """Put the file into a model folder, and its name into ``model_index.json``."""
    (folder / "pipeline.py").write_text(SOURCE, encoding="utf-8")
    index = folder / "model_index.json"
    content = json.loads(index.read_text(encoding="utf-8")) | {"_class_name": CLASS_IN_FOLDER}
    index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
