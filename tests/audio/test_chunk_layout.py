"""The stated length of the samples against what a file has, on files of a few hundred bytes."""

from __future__ import annotations

import struct

import pytest

from consistency_tta.audio.chunk_layout import UNKNOWN, chunk_layout
from consistency_tta.audio.layout import JUNK, Layout, Part

HELD = 40
SOUND = b"\x81" * HELD


def aiff(length: int, behind: bytes = b"") -> bytes:
    """A chunk of an odd length, which one byte fills up, comes first."""
    comment = b"ANNO" + struct.pack(">I", 3) + b"abc\0"
    return b"FORM\0\0\0\0AIFF" + comment + b"SSND" + struct.pack(">I", length) + SOUND + behind


def caf(length: int, behind: bytes = b"") -> bytes:
    """A chunk of an odd length, which nothing fills up, comes first."""
    return (
        b"caff\0\1\0\0" + b"info" + struct.pack(">q", 3) + b"abc" + b"data" + struct.pack(">q", length) + SOUND + behind
    )


def w64(length: int, behind: bytes = b"", other: int = 27) -> bytes:
    """Lengths count their chunk's head of 24 bytes; a chunk of 3 bytes, which 5 fill up, comes first."""
    first = b"fact" + bytes(12) + struct.pack("<q", other) + b"abc" + bytes(5)
    return b"riff" + bytes(36) + first + b"data" + bytes(12) + struct.pack("<q", length + 24) + SOUND + behind


def au(length: int, behind: bytes = b"") -> bytes:
    """The first field after the name says where the samples begin."""
    return b".snd" + struct.pack(">II", 24, length) + bytes(12) + SOUND + behind


def nist(length: int, behind: bytes = b"") -> bytes:
    """The length is that of the samples of all channels in bytes."""
    fields = f"NIST_1A\n    128\nsample_count -i {length}\nsample_n_bytes -i 1\nchannel_count -i 1\nend_head\n"
    return fields.encode().ljust(128) + SOUND + behind


KINDS = [aiff, caf, w64, au, nist]


@pytest.mark.parametrize("make", KINDS)
def test_the_right_length_is_right(make):
    assert chunk_layout(make(HELD)) is None


@pytest.mark.parametrize("make", KINDS)
def test_each_missing_byte_is_counted(make):
    assert chunk_layout(make(HELD + 1)).truncated.startswith("1 ")
    assert chunk_layout(make(HELD + 1200)).truncated.startswith("1,200 ")
    assert chunk_layout(make(HELD)[:-HELD]).truncated.startswith(f"{HELD} ")  # the head alone
    assert chunk_layout(make(UNKNOWN - 1)).truncated.startswith(f"{UNKNOWN - 1 - HELD:,} ")


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("length", [0, UNKNOWN, UNKNOWN + 8])
def test_an_unknown_length_is_left_to_the_decoder(make, length):
    assert chunk_layout(make(length, behind=b"\x81" * 2 * JUNK)) is None


def test_all_ones_are_an_unknown_length():
    assert chunk_layout(caf(-1)) is None
    assert chunk_layout(aiff(0xFFFFFFFF)) is None


def is_right(data: bytes) -> bool:
    """Whether the samples are read to their stated end: of W64 the decoder must not be given what follows."""
    layout = chunk_layout(data)
    return layout is None or layout == Layout(parts=(Part(0, data.index(SOUND) + HELD),))


@pytest.mark.parametrize("make", KINDS)
def test_more_than_a_little_behind_the_samples_is_refused(make):
    assert is_right(make(HELD, behind=b"\x81" * JUNK))
    assert chunk_layout(make(HELD, behind=b"\x81" * (JUNK + 1))).broken
    assert is_right(make(HELD, behind=bytes(2 * JUNK)))


@pytest.mark.parametrize("make", KINDS)
def test_a_chunk_may_follow_where_the_format_has_chunks(make):
    has_chunks = make in (aiff, caf, w64)
    assert is_right(make(HELD, behind=b"LIST" + b"\x81" * 2 * JUNK)) == has_chunks
    if has_chunks:
        assert is_right(make(HELD, behind=b"\0LIST" + b"\x81" * 2 * JUNK))  # after a byte that fills up


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("gap", [0, 5])
def test_another_file_behind_is_refused(make, gap):
    assert "another file" in chunk_layout(make(HELD, behind=bytes(gap) + make(HELD))).broken


def test_a_header_without_a_number_of_samples_is_left_to_the_decoder():
    assert chunk_layout(nist(HELD + 9).replace(b"sample_count", b"sample_c0unt")) is None


@pytest.mark.parametrize("other", [0, 23])
def test_a_chunk_shorter_than_its_own_head_ends_the_search(other):
    assert chunk_layout(w64(HELD + 5, other=other)) is None


@pytest.mark.parametrize(
    "data", [b"", b"FORM", b"FORM\0\0\0\0ILBM" + aiff(HELD + 9)[12:], b"RIFF" + aiff(HELD + 9)[4:]]
)
def test_other_kinds_are_none(data):
    assert chunk_layout(data) is None


def test_compressed_aiff_is_read_alike():
    assert chunk_layout(aiff(HELD + 9).replace(b"AIFF", b"AIFC")).truncated.startswith("9 ")
