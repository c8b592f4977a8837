"""What ffmpeg says of a media on stderr: its tracks and length, and what went wrong.

Only ffmpeg is needed, no ffprobe; so this is all that is known of a container.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES = 64 << 10  # the container's description comes first ...
TAIL_BYTES = 4 << 10  # ... and the reason of a failure last
VIDEO = r": Video: (?!.*\(attached pic\))"  # a cover picture is no video
# ffmpeg says so and exits with 0
CUT_SHORT = "partial file|(?:File ended|Stream ends) prematurely|CRC mismatch"
CORRUPT = "corrupt input packet in stream"  # without frames, also the last piece of a stream of unknown length
UNFRAMED = ("pcm", "adpcm")
FIGURES = re.compile(r"(size|frame)=|video:")  # that differ from run to run
LOST = re.compile("Error while decoding stream|Error submitting packet to decoder")
HARMLESS = re.compile("Error parsing the packet header")  # where one Ogg stream follows another
REPEATED = re.compile(r" *Last message repeated (\d+) times")
MANY_LOST = 10  # packets without audio, of some 25 ms each; a few are at the ends of many a sound file
NAME = "input"  # stands for the media's own name, which may be no text at all
LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}


class Source(NamedTuple):
    """What a container says of the audio track that was decoded."""

    declared_s: float | None  # its length; None where it says nothing that can be trusted
    sampling_rate_hz: int
    channels: int
    codec: str
    has_others: bool  # tracks beside it: what the container declares may be their length
    container: str = ""  # as ffmpeg names it: "mov,mp4,m4a,3gp,3g2,mj2"
    said_s: float = 0.0  # that length, or an estimate of it, 0 where there is neither
    placed: bool = True  # it is known where the channels stand


class Log:
    """The log of one ffmpeg, as it comes: the head, which describes the media, and the tail, with the last words."""

    def __init__(self, media_name: bytes) -> None:
        self._media_name = media_name
        self._head = self._tail = b""

    def add(self, piece: bytes) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += piece[:room]
        self._tail = (self._tail + piece[room:])[-TAIL_BYTES:]

    def described(self) -> bool:
        """Whether all has come that tells of the input's tracks."""
        return b"\nOutput #0" in self._head

    def source(self) -> Source:
        """What the container said."""
        return parse_log(self._text())

    def cut_short(self) -> bool:
        """Whether the container ended before its index does, or much of it is damaged."""
        messages = self.messages()
        corrupt = CORRUPT in messages and not self.source().codec.startswith(UNFRAMED)
        return corrupt or bool(re.search(CUT_SHORT, messages)) or lost_packets(messages) >= MANY_LOST

    def last_words(self) -> str:
        """Its last messages, the same in every run."""
        lines = messages_in((self._head + self._tail).decode("utf-8", "replace"))
        # Addresses and speeds differ from run to run; letters must not.
        told = "\n".join([line for line in lines if not FIGURES.match(line)][-6:])
        told = re.sub(r" @ 0x[0-9a-f]+|http://127\.0\.0\.1:\d+/[\w-]+/", "", told)
        return re.sub("Format not on whitelist '.*'", "files of this kind are not opened", told)

    def messages(self) -> str:
        return "\n".join(messages_in(self._text()))

    def _text(self) -> str:
        """All that is kept, without the media's own name, in which anything may stand."""
        return (self._head + self._tail).replace(self._media_name, NAME.encode()).decode("utf-8", "replace")


def messages_in(log: str) -> list[str]:
    """The lines of a log in which ffmpeg speaks; what is indented describes the streams in the file's own words."""
    return [line for line in re.split(r"[\r\n]+", log) if line and (line[0] != " " or REPEATED.match(line))]


def lost_packets(messages: str) -> int:
    """How many packets the decoder could make nothing of, as far as the log goes."""
    lost, last = 0, 0
    for line in messages.split("\n"):
        again = REPEATED.match(line)
        if not again:
            last = bool(LOST.search(line)) - bool(HARMLESS.search(line))
        lost += last * int(again[1]) if again else last
    return lost


def parse_log(log: str) -> Source:
    """What ffmpeg's log says of the input, and of the audio track that it chose."""
    described = log.split("\nOutput #0", 1)[0]
    pattern = r"Stream #0:(\d+)\S*: Audio: ([\w-]+)[^\n]*?, (\d+) Hz, ([^,\n]+)"
    tracks = {index: rest for index, *rest in re.findall(pattern, described)}
    chosen = re.search(r"Stream #0:(\d+)(?: \([^)]*\))? -> (?:#0:0|aresample|asplit)", described)
    codec, rate, layout = tracks.get(chosen.group(1) if chosen else "", ("", "0", ""))
    length = re.search(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", described, re.MULTILINE)
    said = 0.0
    if length:
        hours, minutes, seconds = length.groups()
        said = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    container = re.search(r"^Input #0, (\S+), from ", described, re.MULTILINE)
    return Source(
        declared_s=None if "Estimating duration from bitrate" in described else said or None,
        sampling_rate_hz=int(rate),
        channels=count_channels(layout),
        codec=codec,
        has_others=len(tracks) > 1 or ": Subtitle: " in described or bool(re.search(VIDEO, described)),
        container=container[1] if container else "",
        said_s=said,
        placed=not re.match(r"\d+ channels$", layout),
    )


def count_channels(layout: str) -> int:
    """The number of channels of a layout as ffmpeg names it: "stereo" 2, "5.1(side)" 6, "3 channels" 3."""
    name = layout.split("(")[0].strip()
    if name in LAYOUTS:
        return LAYOUTS[name]
    return sum(int(digits) for digits in re.findall(r"\d+", name))


def failure_code(log: str, explicit_track: bool) -> str:
    """The dead letter code of a decoding that gave no audio."""
    if "Permission denied" in log:
        return "unreadable"
    if "No such file or directory" in log:
        return "missing"
    if "matches no streams" in log or "does not contain any stream" in log:
        return "no_such_track" if explicit_track else "no_audio_track"
    machine = re.search("Cannot allocate memory|Input/output error|loading shared libraries", log)
    return "decode_failed" if machine or "Input #0" in log or not log.strip() else "not_media"
