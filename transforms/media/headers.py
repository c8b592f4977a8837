"""The size that a file's header declares; ffmpeg reports only what is there, so this finds truncated copies."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

HEAD_BYTES = 64 << 10
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
PLAIN = {1, 3, 0xFFFE}  # forms of samples in a WAV whose rate of bytes is right
BROADCAST = 1  # flag: sizes and lengths are not known


class DeclaredSize(NamedTuple):
    """The size of a file by its header; 0 if it has none."""

    size_bytes: int = 0
    length_s: float = 0.0


def declared_size(head: bytes, container: str) -> DeclaredSize:
    """The size that the first bytes of a file declare; zeros if they cannot be parsed.

    Args:
        container: as ffmpeg names it; those of READERS can be told.
    """
    try:
        return READERS[container](head) if container in READERS else DeclaredSize()
    except (struct.error, ArithmeticError, ValueError):
        return DeclaredSize()


def _wav(head: bytes) -> DeclaredSize:
    form = rate = byte_rate = long = frames = 0
    for name, size, at in _chunks(head, 12, "<4sI", padded=True):
        if name == b"ds64":
            (long,) = struct.unpack_from("<Q", head, at + 8)
        elif name == b"fmt ":
            form, _, rate, byte_rate = struct.unpack_from("<HHII", head, at)
        elif name == b"fact":
            (frames,) = struct.unpack_from("<I", head, at)
        elif name == b"data":
            size = size if _is_size(size) else long
            length_s = size / byte_rate if form in PLAIN else frames / rate if _is_size(frames) else 0.0
            return DeclaredSize(at + size, length_s) if size else DeclaredSize()
    return DeclaredSize()


def _caf(head: bytes) -> DeclaredSize:
    rate, packet_bytes, packet_frames, frames = 0.0, 0, 0, 0
    for name, size, at in _chunks(head, 8, ">4sq"):
        if name == b"desc":
            rate, _, _, packet_bytes, packet_frames = struct.unpack_from(">d4sIII", head, at)
        elif name == b"pakt":
            (frames,) = struct.unpack_from(">q", head, at + 8)
        elif name == b"data" and size > 0:
            frames = frames or (size // packet_bytes * packet_frames if packet_bytes else 0)
            return DeclaredSize(at + size, frames / rate)
    return DeclaredSize()


def _avi(head: bytes) -> DeclaredSize:
    (size,), at = struct.unpack_from("<I", head, 4), head.index(b"avih") + 8
    frame_us, *_, frames = struct.unpack_from("<IIIII", head, at)
    return DeclaredSize(size + 8 if _is_size(size) else 0, frame_us * frames / 1e6)


def _asf(head: bytes) -> DeclaredSize:
    at = head.index(ASF_PROPERTIES) + 40
    size, _, _, length, _, preroll_ms, flags = struct.unpack_from("<QQQQQQI", head, at)
    return DeclaredSize() if flags & BROADCAST else DeclaredSize(size, max(0.0, length / 1e7 - preroll_ms / 1e3))


def _flv(head: bytes) -> DeclaredSize:
    size, length = (_amf_number(head, name) for name in (b"filesize", b"duration"))
    return DeclaredSize(int(size), length)


def _amf_number(head: bytes, name: bytes) -> float:
    """The number of this name in FLV's metadata; 0 where there is none."""
    at = head.find(name + b"\0")
    return struct.unpack_from(">d", head, at + len(name) + 1)[0] if at >= 0 else 0.0


def _chunks(head: bytes, at: int, form: str, padded: bool = False) -> Iterator[tuple[bytes, int, int]]:
    """(name, size, place of the content) of each chunk that begins in the head."""
    width = struct.calcsize(form)
    while at + width <= len(head):
        name, size = struct.unpack_from(form, head, at)
        yield name, size, at + width
        at += width + max(0, size) + (size & 1 if padded else 0)


def _is_size(size: int) -> bool:
    """Whether a size of 32 bits is one; a recorder that cannot go back writes 0, or about the largest there is."""
    return 0 < size & 0x7FFF_FFFF < 0x7FFF_0000


READERS: dict[str, Callable[[bytes], DeclaredSize]] = {
    "wav": _wav,
    "caf": _caf,
    "avi": _avi,
    "asf": _asf,
    "flv": _flv,
}
