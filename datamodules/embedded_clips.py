"""Clips whose sounds are inside of other files: tables and archives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from consistency_tta.audio.sound_source import SoundSource
from consistency_tta.datamodules.clips import Clip
from consistency_tta.datamodules.embedded_times import Times, check_whole


class SoundContainer(Protocol):
    """Something that holds sound files, each of which can be read by itself. Worker processes are sent it by pickle."""

    def sound(self, index: int) -> SoundSource:
        """The sound file of a clip.

        Raises:
            BadClip: if it cannot be read.
        """


@dataclass(kw_only=True)
class EmbeddedClip(Clip):
    """A recording inside of another file.

    Attributes:
        container: which holds it; ``path`` is a name for messages alone.
        index: of the recording in its container.
        times: that its entry has, see :func:`~consistency_tta.datamodules.embedded_times.times_of`.
    """

    container: SoundContainer
    index: int
    times: Times | None = None

    own_file: ClassVar[bool] = False

    def sound(self) -> SoundSource:
        """The sound file, read from its container.

        Raises:
            BadClip: if it cannot be read, or the captions are of a part of it.
        """
        source = self.container.sound(self.index)
        if self.times is not None:
            check_whole(source, self.times)
        return source
