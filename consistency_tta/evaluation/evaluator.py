"""The evaluator: generated sounds, their captions and a reference to metric values.

The commands ``evaluate`` and ``sweep``, the demo and ``tools/esc10.py`` all compute their values with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from consistency_tta.audio.sound_file import Sound
from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.evaluation.clip_embeddings import Collection, Material, collect, number_captions
from consistency_tta.evaluation.metric_specs import Kind, try_options
from consistency_tta.evaluation.metric_values import MetricTable, compute_metric
from consistency_tta.evaluation.plugin_metrics import find_metric
from consistency_tta.evaluation.protocol import AudioSettings, BootstrapSettings, MetricSettings
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.runtime.errors import ConfigurationError

#: Values (B,) of generated and reference waveforms (B, samples) and their captions.
SoundMetric = Callable[[Tensor, Tensor, Sequence[str]], Tensor]


class Evaluator:
    """Computes metrics of generated sounds.

    Args:
        metrics: in the order of the values.
        networks: that embed sounds, by the names that the metrics have for them.
        bootstrap: of confidence intervals; None for none.
        seed: of the bootstrap.
        batch_size: sounds that :meth:`embed` takes at a time.
        device: of the networks, which are moved there.

    Raises:
        ConfigurationError: a metric is not known, or lacks a network.
    """

    def __init__(
        self,
        metrics: Sequence[MetricSettings],
        networks: Mapping[str, AudioEncoder],
        bootstrap: BootstrapSettings | None = None,
        seed: int = 0,
        batch_size: int = 8,
        device: torch.device | str = "cpu",
    ) -> None:
        for settings in metrics:
            check_network(settings)
        self.metrics = list(metrics)
        self.networks = {name: network.to(device) for name, network in networks.items()}
        self.bootstrap = bootstrap
        self.seed = seed
        self.batch_size = batch_size
        self.device = torch.device(device)

    def to(self, device: torch.device | str) -> Evaluator:
        """Move the networks to a device."""
        self.device = torch.device(device)
        for network in self.networks.values():
            network.to(self.device)
        return self

    def evaluate_sounds(
        self, sounds: Iterable[Sound], captions: Sequence[str], references: Mapping[str, ReferenceStatistics]
    ) -> MetricTable:
        """Values of sounds at their own rates and lengths, compared with recordings that pair with none of them.

        Args:
            sounds: N, read once for each network: a list, or an iterable that can start again.
            captions: N.
            references: by network.
        """
        return self.compute({name: self.collect(name, sounds, captions, references[name]) for name in self.networks})

    @torch.no_grad()
    def collect(
        self, name: str, sounds: Iterable[Sound], captions: Sequence[str], reference: ReferenceStatistics
    ) -> Collection:
        """The embeddings of sounds and captions by the network ``name``; see :meth:`evaluate_sounds`."""
        network = self.networks[name]
        text = network.embed_text(captions).cpu() if network.embeds_text else None
        prompts = number_captions(captions)
        return collect(Material(self.embed(name, sounds), reference, text, prompts, captions=captions))

    @torch.no_grad()
    def embed(self, name: str, sounds: Iterable[Sound]) -> AudioEmbedding:
        """Embeddings of sounds by the network ``name``, on the CPU; neighbours of equal length and rate in batches."""
        found: list[AudioEmbedding] = []
        for (_, rate), run in itertools.groupby(sounds, key=lambda sound: (len(sound.waveform), sound.sample_rate)):
            while batch := [sound.waveform for sound in itertools.islice(run, self.batch_size)]:
                embedding = self.networks[name].embed_windows(torch.stack(batch).to(self.device), rate)
                found.append(embedding)
        vectors = torch.cat([one.vectors.cpu() for one in found])
        logits = [one.logits.cpu() for one in found if one.logits is not None]
        return AudioEmbedding(vectors, torch.cat(logits) if logits else None)

    def compute(
        self, collections: Mapping[str, Collection], sound_values: Mapping[str, Tensor] | None = None
    ) -> MetricTable:
        """Values of all metrics, with confidence intervals.

        Args:
            collections: embeddings of the clips, by network.
            sound_values: (N,) of the metrics of waveforms, by the metrics' names.
        """
        table, values = MetricTable(), sound_values or {}
        for settings in self.metrics:
            data = values[settings.name] if settings.network is None else collections[settings.network]
            table.extend(compute_metric(settings, data, self.bootstrap, self.seed))
        return table

    def sound_metrics(self, sample_rate: int) -> dict[str, SoundMetric]:
        """The metrics of waveforms at ``sample_rate`` Hz, by name."""
        found: dict[str, SoundMetric] = {}
        for settings in self.metrics:
            spec = find_metric(settings.metric)
            if spec.kind is Kind.SOUND:
                function = partial(spec.function, sample_rate=sample_rate, **settings.options)
                found[settings.name] = partial(_values, function, spec.takes_captions)
        return found


def check_network(settings: MetricSettings) -> None:
    """Check that a metric is known, and has a network if and only if it needs one.

    Raises:
        ConfigurationError: it does not.
    """
    of_waveforms = find_metric(settings.metric).kind is Kind.SOUND
    if (settings.network is None) != of_waveforms:
        wanted = "no network, since it is computed from waveforms" if of_waveforms else "the name of a network"
        raise ConfigurationError(f"{settings.metric}: expected {wanted}, got {settings.network}")


def check_metrics(metrics: Sequence[MetricSettings], audio: AudioSettings) -> None:
    """Check that metrics are known and take their options, before anything is embedded.

    Raises:
        ConfigurationError: one does not.
    """
    for settings in metrics:
        check_network(settings)
        spec = find_metric(settings.metric)
        try_options(settings.metric, spec, settings.options, audio.sample_rate, audio.num_samples)


def _values(
    function: Callable[..., Tensor], takes_captions: bool, generated: Tensor, reference: Tensor, captions: Sequence[str]
) -> Tensor:
    return function(generated, reference, **({"captions": captions} if takes_captions else {}))
