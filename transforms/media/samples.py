"""A stream of samples that comes in pieces of any size, taken in pieces of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

SKIPPED_AT_ONCE = 16 * SAMPLE_RATE_HZ  # samples


class SampleStream:
    """Int16 PCM to take any number of samples from, each with a value for every channel.

    It holds one piece and what is asked for at once, however long the stream.

    Attributes:
        width: bytes of a sample of all channels.
        ended: whether nothing more comes, which it knows once more was asked for than there was.
    """

    def __init__(self, pieces: Iterable[bytes], channels: int = 1) -> None:
        self.channels, self.width = channels, channels * BYTES_PER_SAMPLE
        self.ended = False
        self._pieces, self._held = iter(pieces), bytearray()

    def take(self, count: int) -> bytes:
        """So many samples, or what is left of them."""
        size = count * self.width
        while len(self._held) < size and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            self._held += piece or b""
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def blocks(self, samples: int) -> Iterator[bytes]:
        """All that is left, in blocks of so many samples (the last may be shorter), as soon as each is there."""
        return iter(lambda: self.take(samples), b"")

    def skip(self, count: int) -> None:
        while count > 0 and (skipped := len(self.take(min(count, SKIPPED_AT_ONCE))) // self.width):
            count -= skipped
