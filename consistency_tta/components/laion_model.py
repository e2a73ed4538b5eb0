"""The networks of a checkpoint of ``laion_clap`` as those of ``transformers.ClapModel``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from consistency_tta.components.laion_checkpoint import FETCH
from consistency_tta.components.laion_settings import audio_settings, text_settings
from consistency_tta.runtime.errors import CheckpointError

#: What laion_clap calls the parts of ``transformers.ClapModel``, in this order.
AUDIO_NAMES = {
    "audio_model.audio_encoder.batch_norm.": "audio_branch.bn0.",
    "audio_model.audio_encoder.": "audio_branch.",
    ".layernorm_before.": ".norm1.",
    ".layernorm_after.": ".norm2.",
    ".attention.self.query.": ".attn.qkv.",
    ".attention.self.key.": ".attn.qkv.",
    ".attention.self.value.": ".attn.qkv.",
    ".attention.self.": ".attn.",
    ".attention.output.dense.": ".attn.proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
}
OTHER_NAMES = {
    "text_model.": "text_branch.",
    "_projection.linear1.": "_projection.0.",
    "_projection.linear2.": "_projection.2.",
}
#: Counted, not learnt: either library makes them itself.
COMPUTED = (".position_ids", ".token_type_ids", ".relative_position_index", ".attn_mask")
#: Parts that embeddings do not pass through: a classifier, heads of the training objective, and the front end.
UNUSED = (
    "audio_branch.head.",
    "audio_branch.tscam_conv.",
    "audio_branch.logmel_extractor.",
    "audio_branch.spectrogram_extractor.",
    "audio_transform.",
    "text_transform.",
)


def clap_model(tensors: Mapping[str, Tensor], origin: object) -> ClapModel:
    """The same networks as a ``transformers.ClapModel``, in float32.

    Args:
        tensors: of :func:`read_laion`.
        origin: where they come from, in messages.

    Raises:
        CheckpointError: if tensors are missing or left over, or do not fit.
    """
    model = ClapModel(ClapConfig(text_config=text_settings(tensors), audio_config=audio_settings(tensors)))
    weights, wanted, wrong = {}, set(), []
    for name, place in model.state_dict().items():
        source = _laion_name(name)
        if source.endswith(COMPUTED):
            continue
        wanted.add(source)
        if source in tensors:
            tensor = tensors[source].float()
            if ".attn.qkv." in source:
                tensor = tensor.chunk(3)[("query", "key", "value").index(name.split(".")[-2])]
            if tensor.shape != place.shape:
                wrong.append(f"{source} ({tuple(tensor.shape)} instead of {tuple(place.shape)})")
            weights[name] = tensor
    left = {name for name in tensors.keys() - wanted if not name.endswith(COMPUTED) and not name.startswith(UNUSED)}
    complaints = [
        f"{kind}: {', '.join(sorted(names)[:5])}{' and more' * (len(names) > 5)}"
        for kind, names in (("missing", wanted - tensors.keys()), ("unexpected", left), ("of another shape", wrong))
        if names
    ]
    if complaints:
        raise CheckpointError(
            f"expected a whole CLAP of laion_clap in {origin}, got {'; '.join(complaints)}: {FETCH} is one"
        )
    model.load_state_dict(weights, strict=False)  # what COMPUTED names is not replaced
    return model.eval()


def feature_extractor(tensors: Mapping[str, Tensor], origin: object) -> ClapFeatureExtractor:
    """Settings of the front end that these models were trained with: 10 s at 48 kHz, 64 mel bins of 50 to 14,000 Hz.

    Raises:
        CheckpointError: if the checkpoint's own mel filters are others.
    """
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14000)
    filters = tensors.get("audio_branch.logmel_extractor.melW")
    expected = torch.as_tensor(extractor.mel_filters_slaney, dtype=torch.float32)
    if filters is not None and (filters.shape != expected.shape or not torch.allclose(filters, expected, atol=1e-6)):
        raise CheckpointError(
            f"expected mel filters of 50 to 14000 Hz {tuple(expected.shape)} in {origin}, got others "
            f"{tuple(filters.shape)}: its settings are not those of the published ones; fetch one with {FETCH}"
        )
    return extractor


def _laion_name(name: str) -> str:
    for ours, theirs in (AUDIO_NAMES if name.startswith("audio_model.") else OTHER_NAMES).items():
        name = name.replace(ours, theirs)
    return name
