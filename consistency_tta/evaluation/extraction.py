"""Every sound once through every network, or out of the cache; and what could not be heard."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.audio.sound_file import BadClip
from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.evaluation.clip_embeddings import Collection, Material, collect
from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding, Pair, fault_of, is_silent, read_sound
from consistency_tta.evaluation.embedding_cache import EmbeddingCache
from consistency_tta.evaluation.embedding_memmap import EmbeddingMemmap
from consistency_tta.evaluation.networks import embed_text
from consistency_tta.evaluation.protocol import Protocol, file_sha256

#: Seconds by which a sound may be shorter than the protocol's and is not listed.
SHORT = 0.1
#: Values (B,) of generated and reference waveforms (B, samples).
SoundMetric = Callable[[Tensor, Tensor], Tensor]


@dataclass
class ExtractionResult:
    """What there is to compute metrics from.

    Attributes:
        pairs: the N clips that could be heard, in order.
        left_out: those that could not.
        odd: sounds that were heard though they are silent, or shorter than the protocol has them.
        formats: how many files of each side were of which format.
        collections: of the N clips, by network.
        values: (N,) by metric, of the sounds themselves.
        embedded, recalled: sounds and captions that networks heard, and that the cache knew.
    """

    pairs: list[Pair] = field(default_factory=list)
    left_out: list[Finding] = field(default_factory=list)
    odd: list[Finding] = field(default_factory=list)
    formats: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    collections: dict[str, Collection] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    embedded: int = 0
    recalled: int = 0


class EmbeddingExtractor:
    """Hears the sounds of a protocol.

    Args:
        protocol: whose audio settings.
        networks: that hear, by the names that results have for them.
        cache: of what they heard.
        batch_size: sounds heard at a time.
        device: of the networks.
    """

    def __init__(
        self,
        protocol: Protocol,
        networks: Mapping[str, AudioEncoder],
        cache: EmbeddingCache,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.protocol = protocol
        self.networks = {name: network.to(device) for name, network in networks.items()}
        self.cache = cache
        self.batch_size = batch_size
        self.device = device

    @torch.no_grad()
    def extract(self, pairs: Sequence[Pair], sound_metrics: Mapping[str, SoundMetric]) -> ExtractionResult:
        """Read, prepare and hear pairs of sounds.

        Args:
            pairs: of files.
            sound_metrics: metrics of the sounds themselves, by name.
        """
        result = ExtractionResult()
        sides = pairs[0].sides if pairs else {}
        heard = {
            (name, side): EmbeddingMemmap(len(pairs), self.cache.folder) for name in self.networks for side in sides
        }
        values: dict[str, list[Tensor]] = {name: [] for name in sound_metrics}
        for start in tqdm(range(0, len(pairs), self.batch_size), desc="listening", unit="batch"):
            chunk, sounds = self._read(pairs[start : start + self.batch_size], result)
            if not chunk:
                continue
            for name, metric in sound_metrics.items():
                values[name].append(metric(sounds[GENERATED], sounds[REFERENCE]).double().cpu())
            for side, waveform in sounds.items():
                contents = [file_sha256(pair.sides[side]) for pair in chunk]
                for name, network in self.networks.items():
                    heard[name, side].extend(self._hear(network, contents, waveform, result))
        result.values = {name: torch.cat(several) for name, several in values.items() if several}
        if result.pairs:
            prompts = _numbers([pair.caption for pair in result.pairs])
            for name, network in self.networks.items():
                text = self._read_captions(network, [pair.caption for pair in result.pairs], result)
                generated, reference, *more = (heard[name, side].heard() for side in sides)
                result.collections[name] = collect(Material(generated, reference, text, prompts, tuple(more)))
        return result

    def _read(self, pairs: Sequence[Pair], result: ExtractionResult) -> tuple[list[Pair], dict[str, Tensor]]:
        """The pairs of which all sounds can be heard, and their waveforms (B, samples) by side."""
        chunk: list[Pair] = []
        sounds: dict[str, list[Tensor]] = {side: [] for side in pairs[0].sides}
        for pair in pairs:
            read: dict[str, Tensor] = {}
            seconds: dict[str, float] = {}
            for side in sounds:
                try:
                    read[side], kind, seconds[side] = read_sound(pair.sides[side], self.protocol.audio)
                    result.formats[side][kind] += 1
                except BadClip as bad:
                    result.left_out.append(fault_of(pair, side, bad))
            if len(read) < len(sounds):
                continue
            chunk.append(pair)
            for side, waveform in read.items():
                sounds[side].append(waveform)
                if seconds[side] < self.protocol.audio.seconds - SHORT:
                    detail = f"{pair.sides[side].name}: {seconds[side]:.2f} s, followed by silence"
                    result.odd.append(Finding(pair.id, side, "short", detail))
                if is_silent(waveform):
                    detail = f"{pair.sides[side].name}: nothing above -80 dBFS; it counts as it is"
                    result.odd.append(Finding(pair.id, side, "silent", detail))
        result.pairs += chunk
        return chunk, {side: torch.stack(several) for side, several in sounds.items() if several}

    def _hear(
        self, network: AudioEncoder, contents: Sequence[str], waveform: Tensor, result: ExtractionResult
    ) -> Sequence[AudioEmbedding]:
        settings = asdict(self.protocol.audio)

        def hear(missing: list[int]) -> AudioEmbedding:
            return network.embed_windows(waveform[missing].to(self.device), self.protocol.audio.sample_rate)

        return self._recall(network, contents, settings, hear, result)

    def _read_captions(self, network: AudioEncoder, captions: Sequence[str], result: ExtractionResult) -> Tensor | None:
        """Unit vectors (N, D) of captions; None of a network without words."""
        embed = embed_text(network)
        if embed is None:
            return None
        found = EmbeddingMemmap(len(captions), self.cache.folder)
        for start in range(0, len(captions), self.batch_size):
            chunk = captions[start : start + self.batch_size]
            contents = [hashlib.sha256(caption.encode()).hexdigest() for caption in chunk]

            def read(missing: list[int], chunk: Sequence[str] = chunk) -> AudioEmbedding:
                return AudioEmbedding(embed([chunk[k] for k in missing])[:, None])

            found.extend(self._recall(network, contents, "caption", read, result))
        return found.heard().vectors[:, 0]

    def _recall(
        self,
        network: AudioEncoder,
        contents: Sequence[str],
        settings: object,
        hear: Callable[[list[int]], AudioEmbedding],
        result: ExtractionResult,
    ) -> list[AudioEmbedding]:
        """One :class:`AudioEmbedding` for each content, out of the cache, or heard together and put there."""
        paths = [self.cache.path(content, network, settings) for content in contents]
        found = [self.cache.load(path) for path in paths]
        missing = [k for k, one in enumerate(found) if one is None]
        if missing:
            fresh = hear(missing)
            if not fresh.vectors.isfinite().all():
                raise ValueError(f"the network {network.name} made NaN or infinity of a finite sound or caption")
            for row, k in enumerate(missing):
                one = AudioEmbedding(
                    fresh.vectors[row].cpu(), None if fresh.logits is None else fresh.logits[row].cpu()
                )
                self.cache.save(paths[k], one)
                found[k] = one
        result.embedded += len(missing)
        result.recalled += len(found) - len(missing)
        return [one for one in found if one is not None]


def _numbers(names: Sequence[str]) -> Tensor:
    """Equal numbers (N,) for equal names, in the order of their first use."""
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])
