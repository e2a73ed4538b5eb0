"""Files like the published weights of the metrics' embedding networks, but of random numbers: to time them.

    python -m tools.stand_in_weights FOLDER [--networks vggish clap]
    HF_HUB_CACHE=FOLDER/hub .venv-laion/bin/python -m tools.metric_speed --networks panns=FOLDER laion-clap=FOLDER

Nothing here can be downloaded by a test, and what a network costs does not depend on its weights' values. All but
``vggish`` and ``clap`` need the extra ``laion``. For ``laion-clap`` there is a stand-in of RoBERTa's tokenizer, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast, RobertaConfig

from consistency_tta.components import laion
from consistency_tta.components.laion_package import import_extra, untrained_module
from consistency_tta.metrics.encoders import encodec, panns, vggish

VOCABULARY = ["<s>", "<pad>", "</s>", "<unk>"]


def save_vggish(folder: Path) -> None:
    """As torchvggish has it."""
    network = vggish.VGGishNetwork().to_empty(device="cpu")
    for parameter in network.parameters():
        parameter.data.normal_(std=0.01)
    torch.save(network.state_dict(), folder / vggish.PUBLISHED.file)


def save_panns(folder: Path) -> None:
    """Cnn14 at 16 kHz."""
    models_of_panns = import_extra("frechet_audio_distance.models.pann", "PANNs")
    network = models_of_panns.Cnn14_16k(16_000, 512, 160, 64, 50, 8000, 527)
    torch.save({"model": network.state_dict()}, folder / panns.PUBLISHED.file)


def save_encodec(folder: Path) -> None:
    """EnCodec at 24 kHz."""
    model = import_extra("encodec", "EnCodec").EncodecModel.encodec_model_24khz(pretrained=False)
    torch.save(model.state_dict(), folder / encodec.PUBLISHED.file)


def save_clap(folder: Path) -> None:
    """``laion/clap-htsat-unfused``, HTSAT-tiny, in the layout of transformers."""
    ClapModel(ClapConfig(text_config={"vocab_size": len(VOCABULARY)})).save_pretrained(folder / "clap")
    # The defaults of transformers are those of the model with feature fusion.
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder / "clap")
    tokenizer().save_pretrained(folder / "clap")


def save_laion_clap(folder: Path) -> None:
    """The paper's CLAP for evaluation, HTSAT-base and RoBERTa, and a tokenizer where the hub's client keeps it."""
    settings: dict[str, Any] = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
    network: Any = untrained_module("HTSAT-base", RobertaConfig(vocab_size=len(VOCABULARY), **settings))
    torch.save({"state_dict": network.model.state_dict()}, folder / laion.PUBLISHED.file)
    cached = folder / "hub" / "models--roberta-base"
    tokenizer().save_pretrained(cached / "snapshots" / "stand-in")
    (cached / "snapshots" / "stand-in" / "config.json").write_text("{}")
    (cached / "refs").mkdir(exist_ok=True)
    (cached / "refs" / "main").write_text("stand-in")


def tokenizer() -> PreTrainedTokenizerFast:
    """Of no words: all are unknown."""
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, "<unk>"))
    names = ("bos_token", "pad_token", "eos_token", "unk_token")
    return PreTrainedTokenizerFast(tokenizer_object=words, **dict(zip(names, VOCABULARY, strict=True)))


MAKERS: dict[str, Callable[[Path], None]] = {
    "vggish": save_vggish,
    "clap": save_clap,
    "panns": save_panns,
    "encodec": save_encodec,
    "laion-clap": save_laion_clap,
}


def main(args: list[str] | None = None) -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Random weights in the layout of published ones.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", choices=MAKERS, default=list(MAKERS))
    options = parser.parse_args(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.networks:
        MAKERS[name](options.folder)


if __name__ == "__main__":
    main()
