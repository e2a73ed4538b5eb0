"""Embeds the sounds of an evaluation, each once with each network, or reads their embeddings from a cache."""

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
from consistency_tta.evaluation.clip_embeddings import Collection, Material, collect, number_captions
from consistency_tta.evaluation.clips import GENERATED, REFERENCE, Finding, Pair, fault_of, is_silent, read_sound
from consistency_tta.evaluation.embedding_cache import EmbeddingCache
from consistency_tta.evaluation.embedding_memmap import EmbeddingMemmap
from consistency_tta.evaluation.evaluator import SoundMetric
from consistency_tta.evaluation.protocol import AudioSettings
from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.checksum import checksum

#: Seconds by which a sound may be shorter than the protocol's length without being listed.
SHORT = 0.1


@dataclass
class ExtractionResult:
    """What metrics are computed from.

    Attributes:
        pairs: the N clips whose sounds could be read, in order.
        left_out: why others could not.
        silent_or_short: sounds that are used though they are silent, or shorter than the protocol's length.
        formats: number of files of each format, for each side.
        collections: embeddings of the N clips, by network.
        values: (N,) of the metrics of waveforms, by metric.
        embedded, recalled: number of sounds and captions that were embedded, and that the cache had.
    """

    pairs: list[Pair] = field(default_factory=list)
    left_out: list[Finding] = field(default_factory=list)
    silent_or_short: list[Finding] = field(default_factory=list)
    formats: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    collections: dict[str, Collection] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    embedded: int = 0
    recalled: int = 0


class EmbeddingExtractor:
    """Reads, prepares and embeds pairs of sounds.

    Args:
        audio: what is done to a sound before it is embedded.
        networks: by the names that results have for them, on ``device``.
        cache: of embeddings.
        batch_size: sounds embedded at a time.
        device: of the networks.
    """

    def __init__(
        self,
        audio: AudioSettings,
        networks: Mapping[str, AudioEncoder],
        cache: EmbeddingCache,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.audio = audio
        self.networks = networks
        self.cache = cache
        self.batch_size = batch_size
        self.device = device

    @torch.no_grad()
    def extract(self, pairs: Sequence[Pair], sound_metrics: Mapping[str, SoundMetric]) -> ExtractionResult:
        """Embed pairs of files, and compute the metrics of their waveforms.

        Args:
            pairs: of files.
            sound_metrics: metrics of waveforms, by name.
        """
        result = ExtractionResult()
        sides = pairs[0].sides if pairs else {}
        stored = {
            (name, side): EmbeddingMemmap(len(pairs), self.cache.folder) for name in self.networks for side in sides
        }
        values: dict[str, list[Tensor]] = {name: [] for name in sound_metrics}
        for start in tqdm(range(0, len(pairs), self.batch_size), desc="embedding", unit="batch"):
            chunk, sounds = self._read(pairs[start : start + self.batch_size], result)
            if not chunk:
                continue
            captions = [pair.caption for pair in chunk]
            for name, metric in sound_metrics.items():
                values[name].append(metric(sounds[GENERATED], sounds[REFERENCE], captions).cpu().double())
            for side, waveform in sounds.items():
                contents = [checksum(pair.sides[side]) for pair in chunk]
                for name, network in self.networks.items():
                    stored[name, side].extend(self._embed_sounds(network, contents, waveform, result))
        result.values = {name: torch.cat(several) for name, several in values.items() if several}
        if result.pairs:
            captions = [pair.caption for pair in result.pairs]
            for name, network in self.networks.items():
                text = self._embed_captions(network, captions, result)
                generated, reference, *more = (stored[name, side].rows_added() for side in sides)
                material = Material(generated, reference, text, number_captions(captions), tuple(more), captions)
                result.collections[name] = collect(material)
        return result

    def _read(self, pairs: Sequence[Pair], result: ExtractionResult) -> tuple[list[Pair], dict[str, Tensor]]:
        """The pairs whose files can all be read, and their waveforms (B, samples) by side."""
        chunk: list[Pair] = []
        sounds: dict[str, list[Tensor]] = {side: [] for side in pairs[0].sides}
        for pair in pairs:
            read: dict[str, Tensor] = {}
            seconds: dict[str, float] = {}
            for side in sounds:
                try:
                    read[side], kind, seconds[side] = read_sound(pair.sides[side], self.audio)
                    result.formats[side][kind] += 1
                except BadClip as bad:
                    result.left_out.append(fault_of(pair, side, bad))
            if len(read) < len(sounds):
                continue
            chunk.append(pair)
            for side, waveform in read.items():
                sounds[side].append(waveform)
                result.silent_or_short += self._silent_or_short(pair, side, waveform, seconds[side])
        result.pairs += chunk
        return chunk, {side: torch.stack(several) for side, several in sounds.items() if several}

    def _silent_or_short(self, pair: Pair, side: str, waveform: Tensor, seconds: float) -> list[Finding]:
        file, found = pair.sides[side].name, []
        if seconds < self.audio.seconds - SHORT:
            found.append(Finding(pair.id, side, "short", f"{file}: {seconds:.2f} s, padded with silence"))
        own = waveform[: max(1, int(seconds * self.audio.sample_rate))]  # without the padding
        if is_silent(own - own.mean()):
            found.append(Finding(pair.id, side, "silent", f"{file}: no sound above -80 dBFS; used as it is"))
        return found

    def _embed_sounds(
        self, network: AudioEncoder, contents: Sequence[str], waveform: Tensor, result: ExtractionResult
    ) -> Sequence[AudioEmbedding]:
        def embed(missing: list[int]) -> AudioEmbedding:
            return network.embed_windows(waveform[missing].to(self.device), self.audio.sample_rate)

        return self._recall(network, contents, asdict(self.audio), embed, result)

    def _embed_captions(
        self, network: AudioEncoder, captions: Sequence[str], result: ExtractionResult
    ) -> Tensor | None:
        """Unit vectors (N, D) of captions; None of a network without a text side."""
        if not network.embeds_text:
            return None
        found = EmbeddingMemmap(len(captions), self.cache.folder)
        for start in range(0, len(captions), self.batch_size):
            chunk = captions[start : start + self.batch_size]
            contents = [hashlib.sha256(caption.encode()).hexdigest() for caption in chunk]

            def embed(missing: list[int], chunk: Sequence[str] = chunk) -> AudioEmbedding:
                return AudioEmbedding(network.embed_text([chunk[k] for k in missing])[:, None])

            found.extend(self._recall(network, contents, "caption", embed, result))
        return found.rows_added().vectors[:, 0]

    def _recall(
        self,
        network: AudioEncoder,
        contents: Sequence[str],
        settings: object,
        embed: Callable[[list[int]], AudioEmbedding],
        result: ExtractionResult,
    ) -> list[AudioEmbedding]:
        """One :class:`AudioEmbedding` for each content, from the cache, or computed together and stored there."""
        paths = [self.cache.path(content, network, settings) for content in contents]
        found = [self.cache.load(path) for path in paths]
        missing = [k for k, one in enumerate(found) if one is None]
        if missing:
            fresh = embed(missing)
            if not fresh.vectors.isfinite().all():
                raise DataError(f"the network {network.name} computed NaN or infinity of a finite sound or caption")
            for row, k in enumerate(missing):
                one = AudioEmbedding(
                    fresh.vectors[row].cpu(), None if fresh.logits is None else fresh.logits[row].cpu()
                )
                self.cache.save(paths[k], one)
                found[k] = one
        result.embedded += len(missing)
        result.recalled += len(found) - len(missing)
        return [one for one in found if one is not None]
