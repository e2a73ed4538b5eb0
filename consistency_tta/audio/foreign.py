"""Recognises files of formats that are not read, such as M4A, by their content."""

from __future__ import annotations

import re
import shlex

_CONVERT = "{conversion}"
_FETCH = "fetch it again"
#: How files begin, what they are, and what to do. Of MP4 the first four bytes are a length.
_KINDS = (
    (rb"....ftyp", "an MP4 (AAC, ALAC)", _CONVERT),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "an AAC (ADTS)", _CONVERT),
    (rb"\x1aE\xdf\xa3", "a Matroska or WebM", _CONVERT),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA", _CONVERT),
    (rb"#!AMR", "an AMR", _CONVERT),
    (rb"wvpk", "a WavPack", _CONVERT),
    (rb"MAC ", "a Monkey's Audio", _CONVERT),
    (rb"TTA[12]", "a TTA", _CONVERT),
    (rb"\x0b\x77", "an AC-3", _CONVERT),
    (rb"DSD |FRM8", "a DSD", _CONVERT),
    (rb"\.RMF", "a RealMedia", _CONVERT),
    (rb"G.{187}G|\0\0\x01[\xba\xb3]", "an MPEG video", _CONVERT),
    (rb"FLV\x01", "a Flash video", _CONVERT),
    (rb"RIFF....AVI ", "an AVI video", _CONVERT),
    (rb"MThd", "a MIDI", "render it to sound"),
    (rb"\s*(?i:<!doctype|<html|<\?xml|<head)", "a web page or XML", _FETCH),
    (rb"\s*[{\[]\s*[\"{\]}]", "a JSON", _FETCH),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch it with `git lfs pull`"),
    (rb"[./\w]*/annex/objects/", "a git-annex pointer", "fetch it with `git annex get`"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "an archive", "unpack it"),
    (rb"\0{64}", "an empty (all zeros)", _FETCH),
)


def foreign_kind(head: bytes, name: str) -> str:
    """What a file is by its first bytes, and what to do; empty if it may be sound of a kind that is read.

    Args:
        head: its first 64 bytes, or more.
        name: of the file.
    """
    for beginning, kind, remedy in _KINDS:
        if re.match(beginning, head, re.DOTALL):
            what_to_do = remedy.format(conversion=conversion(name))
            return f"it is {kind} file, whatever its name: {what_to_do}"
    return ""


def conversion(name: str) -> str:
    """How to convert a file; the new one has another name, since ffmpeg cannot write the file that it reads."""
    name = f"./{name}" if name.startswith("-") else name
    stem, _, ending = name.rpartition(".")
    new = f"{stem or name}{'_new' if ending.lower() == 'flac' else ''}.flac"
    return f"convert it, such as with `ffmpeg -i {shlex.quote(name)} {shlex.quote(new)}`"
