"""CLAP: sounds and captions as vectors of one space.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023, https://arxiv.org/abs/2211.06687. The networks are those of ``transformers.ClapModel``; its feature
extractor works in numpy, crops at random and has no gradient, hence :class:`ClapFrontEnd`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerBase

from consistency_tta.components.laion_checkpoint import (
    FETCH,
    clap_model,
    feature_extractor,
    fetched,
    laion_tokenizer,
    read_laion,
)
from consistency_tta.contracts import AudioTextEncoder
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum


class ClapFrontEnd(nn.Module):
    """``transformers.ClapFeatureExtractor`` in torch: differentiable, on any device, and with nothing random.

    A waveform that is too long is cut at its end, where datamodules put the silence behind a short recording; the
    extractor would take a random part. A short one is lengthened as the extractor does.

    Args:
        extractor: whose settings to follow.

    Raises:
        ValueError: if the extractor stacks four spectrograms (``truncation="fusion"``).
    """

    filters: Tensor

    def __init__(self, extractor: ClapFeatureExtractor) -> None:
        super().__init__()
        if extractor.truncation != "rand_trunc":
            raise ValueError(
                f"expected a CLAP with truncation 'rand_trunc', got {extractor.truncation!r}: take one without feature "
                "fusion, such as laion/clap-htsat-unfused"
            )
        self.sample_rate: int = extractor.sampling_rate
        self.n_fft: int = extractor.fft_window_size
        self.hop_length: int = extractor.hop_length
        self.max_samples = int(extractor.nb_max_samples)
        self.padding: str = extractor.padding
        filters = torch.as_tensor(extractor.mel_filters_slaney, dtype=torch.float32)
        self.register_buffer("filters", filters, persistent=False)

    def fit_length(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, max_samples), cut or lengthened by repetition, silence or both."""
        whole = self.max_samples // waveform.shape[1]
        repeats = {"repeatpad": whole, "repeat": whole + 1, "pad": 1}[self.padding]
        waveform = waveform.repeat(1, max(1, repeats))[:, : self.max_samples]
        return F.pad(waveform, (0, self.max_samples - waveform.shape[1]))

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mel spectrograms.

        Args:
            waveform: (B, samples) at ``sample_rate``, in [-1, 1].

        Returns:
            (B, 1, frames, bins) in dB, at least -100; frames = 1 + max_samples // hop_length.
        """
        if waveform.ndim != 2 or not waveform.shape[1]:
            raise ValueError(f"expected a waveform (B, samples), got {tuple(waveform.shape)}")
        # Beside a loud tone, float32's rounding errors would fill the silent bands up. Apple's GPUs have no float64.
        exact = torch.float32 if waveform.device.type == "mps" else torch.float64
        with torch.autocast(waveform.device.type, enabled=False):
            window = torch.hann_window(self.n_fft, dtype=exact, device=waveform.device)
            spectrum = torch.stft(
                self.fit_length(waveform).to(exact), self.n_fft, self.hop_length, window=window, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            mel = power.transpose(1, 2) @ self.filters.to(exact)
            return 10 * mel.clamp_min(1e-10).log10()[:, None].float()


class Clap(nn.Module):
    """A ``transformers.ClapModel`` with its tokenizer and front end; trainable.

    Args:
        model: the networks.
        tokenizer: of the text network.
        extractor: settings of the front end.
    """

    def __init__(self, model: ClapModel, tokenizer: PreTrainedTokenizerBase, extractor: ClapFeatureExtractor) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.extractor = extractor
        self.front_end = ClapFrontEnd(extractor)
        text = model.config.text_config
        # Positions are counted from behind the padding's index.
        self.max_length = min(tokenizer.model_max_length, text.max_position_embeddings - text.pad_token_id - 1)

    def embed_features(self, features: Tensor) -> Tensor:
        """Log-mel spectrograms (B, 1, frames, bins) -> unit vectors (B, D) in float32."""
        # Not get_audio_features, whose result has changed between versions of transformers.
        hidden = self.model.audio_model(input_features=features).pooler_output
        return F.normalize(self.model.audio_projection(hidden).float(), dim=-1)

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) at the front end's rate -> unit vectors (B, D) in float32."""
        return self.embed_features(self.front_end(waveform))

    def audio_features(self, waveform: Tensor) -> list[Tensor]:
        """Waveform (B, samples) at the front end's rate -> of each level (B, channels, height, width)."""
        features = self.front_end(waveform)
        return list(self.model.audio_model(input_features=features, output_hidden_states=True).hidden_states)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """B captions -> unit vectors (B, D) in float32."""
        tokens = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.model.device)
        hidden = self.model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return F.normalize(self.model.text_projection(hidden).float(), dim=-1)

    @property
    def components(self) -> dict[str, Any]:
        """The parts by name, as a ``diffusers.DiffusionPipeline`` has them; ``export --half`` asks for them."""
        return {"model": self.model, "tokenizer": self.tokenizer, "feature_extractor": self.extractor}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that :class:`TransformersClap`, ``ClapModel`` and ``ClapProcessor`` load."""
        for part in self.components.values():
            part.save_pretrained(folder)


def clap_folder(name: str) -> Path:
    """Where :class:`TransformersClap` finds the model of this name."""
    folder = fetched(name, "config.json")
    if folder.suffix in (".pt", ".pth", ".ckpt") and not folder.exists():
        raise FileNotFoundError(f"expected a CLAP, but there is no file {name}: fetch one of laion_clap with {FETCH}")
    if not (folder / "config.json").exists():
        fault = "has no config.json" if folder.exists() else "is neither a folder here nor a fetched model of the hub"
        raise FileNotFoundError(
            f"expected a CLAP, but {name} {fault}: train one with lightning_configs/tiny/clap.yaml, or fetch one with "
            "`hf download laion/clap-htsat-unfused`"
        )
    kind = json.loads((folder / "config.json").read_text()).get("model_type")
    if kind != "clap":  # transformers would go on with random weights
        raise ValueError(f"expected a model of type 'clap' in {name}, got {kind!r}")
    return folder


def load_clap(name: str | Path) -> Clap:
    """A CLAP of a folder, by ``Clap.save_pretrained`` or ``ClapModel`` and ``ClapProcessor``, in float32."""
    folder = clap_folder(resolve(name, TRANSFORMERS))
    return Clap(
        ClapModel.from_pretrained(folder, dtype=torch.float32),
        AutoTokenizer.from_pretrained(folder),
        ClapFeatureExtractor.from_pretrained(folder),
    )


def load_laion(checkpoint: str | Path, tokenizer: str | Path = "roberta-base") -> Clap:
    """A CLAP of a checkpoint of ``laion_clap``, in float32.

    Args:
        checkpoint: the file.
        tokenizer: of RoBERTa, which the file lacks; see :func:`laion_tokenizer`.

    Raises:
        FileNotFoundError: if one of them is not there.
        ValueError: if the file is another than expected, or the tokenizer is that of another model.
    """
    tensors = read_laion(checkpoint)
    model = clap_model(tensors, checkpoint)
    return Clap(
        model,
        laion_tokenizer(tokenizer, model.config.text_config.vocab_size),
        feature_extractor(tensors, checkpoint),
    )


class TransformersClap(AudioTextEncoder):
    """A frozen CLAP from a folder, a fetched model of the Hugging Face hub, or a checkpoint of ``laion_clap``.

    It never waits for the hub: compute nodes often cannot reach it, and would find out after half a minute.

    Its weights follow the owner to its device and are otherwise invisible: in no ``parameters()``, no ``state_dict()``,
    and always in evaluation mode.

    Args:
        model: folder that ``ContrastiveTraining`` exported, ``tiny-clap``, a hub id (``laion/clap-htsat-unfused``), or
            a file of ``laion_clap`` (``music_audioset_epoch_15_esc_90.14.pt``).
        tokenizer: folder or fetched hub id of the tokenizer for such a file; not looked at for anything else.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is not a CLAP, or one with feature fusion.
    """

    clap: Clap
    checksum: str

    def __init__(self, model: str | Path, tokenizer: str | Path = "roberta-base") -> None:
        super().__init__()
        clap = load_laion(model, tokenizer) if Path(model).is_file() else load_clap(model)
        # Not by attribute: that would register it.
        self.__dict__["clap"] = clap.eval().requires_grad_(False)
        self.sample_rate = clap.front_end.sample_rate
        self.checksum = checksum(*_files(model))

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioTextEncoder`."""
        return self.clap.embed_audio(waveform)

    def audio_features(self, waveform: Tensor) -> list[Tensor]:
        """See :class:`consistency_tta.contracts.AudioTextEncoder`; of the patches' embeddings, then of each level."""
        return self.clap.audio_features(waveform)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioTextEncoder`."""
        return self.clap.embed_text(captions)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> TransformersClap:
        self.clap._apply(fn, recurse)
        return super()._apply(fn, recurse)


def _files(model: str | Path) -> list[Path]:
    """The weights that ``transformers`` loads."""
    if Path(model).is_file():
        return [Path(model)]
    folder = clap_folder(resolve(model, TRANSFORMERS))
    kinds = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
    return next(files for kind in kinds if (files := sorted(folder.glob(kind))))
