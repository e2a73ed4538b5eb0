"""OGG: pages. A file that was joined of files is a chain of streams, of which the decoder reads the first.

Source: S. Pfeiffer, "The Ogg Encapsulation Format Version 0", RFC 3533, 2003, https://www.rfc-editor.org/rfc/rfc3533
"""

from __future__ import annotations

from consistency_tta.audio.layout import Bytes, Layout, Part

_PAGE = b"OggS"
_BEGIN = 2  # a page's flag


def ogg_layout(data: Bytes) -> Layout:
    """How to read a file that begins with OggS."""
    links, place, heads = [0], 0, True
    while (place := data.find(_PAGE, place)) >= 0 and place + 27 <= len(data):
        # Streams that sound together begin together: a beginning behind other pages is the next link's.
        begins = bool(data[place + 5] & _BEGIN)
        if begins and not heads:
            links.append(place)
        heads = begins
        segments = data[place + 27 : place + 27 + data[place + 26]]
        end = place + 27 + len(segments) + sum(segments)
        if end > len(data) or len(segments) < data[place + 26]:
            return Layout(truncated="it ends in the middle of a page")
        place = end
    if len(links) == 1:
        return Layout()
    ends = [*links[1:], len(data)]
    return Layout(parts=tuple(Part(start, end) for start, end in zip(links, ends, strict=True)))
