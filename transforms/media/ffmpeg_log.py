"""What ffmpeg says of a recording: its tracks and length, the time of each frame, and what went wrong.

Only ffmpeg is needed, no ffprobe. Its log repeats the tags of a recording, and a tag may look like any line of it. So
what is known of the audio track comes from ffmpeg's second output, which holds no tags; frames are told by a mark
that is drawn anew for each process; and where the log gives two lengths, none is believed.
"""

from __future__ import annotations

import collections
import re
from typing import NamedTuple

TAIL_LINES = HEAD_LINES = 40  # of what ffmpeg says, kept from the start and from the end
MOST_DESCRIBED = 1000  # lines that tell of tracks and length
LINE_CHARACTERS = 2000
HELD_BYTES = 64 << 10  # of a line that has no end
STREAM = re.compile(r" *Stream #0:(\d+)(?:\[\w+\])?(?:\(.*?\))?: (Audio|Video|Subtitle): (?!.*\(attached pic\))")
DESCRIBED = re.compile(rb"(?:In|Out)put #|  Duration: | *Stream #0:\d")
LENGTH = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", re.MULTILINE)
ESTIMATED = "Estimating duration from bitrate"
TIME = rb"\[%s @ \w+\] n:\s*\d+ pts:\s*(-?\d+|NOPTS) [^\n]* nb_samples:(\d+)[^\n]*\n"
FACT = re.compile(r"^#(\w+) 0: (.*)$", re.MULTILINE)
# ffmpeg says so and exits with 0
CUT_SHORT = re.compile("partial file|(?:File ended|Stream ends) prematurely|CRC mismatch|changing packet size to")
GAVE_UP = re.compile(r"\0: Invalid data found|\[in#0\S* @ \w+\] Error during demuxing")
# without frames, also the last piece of a stream of unknown length
CORRUPT = "corrupt input packet in stream"
UNFRAMED = ("pcm", "adpcm")
FIGURES = re.compile(r"(size|frame)=|video:")  # that differ from run to run
LOST = re.compile("Error while decoding stream|Error submitting packet to decoder")
HARMLESS = re.compile("Error parsing the packet header")  # where one Ogg stream follows another
REPEATED = re.compile(r" *Last message repeated (\d+) times")
# packets without audio, of some 25 ms each; a few are at the ends of many a sound file
MANY_LOST = 10
# stands for the recording's own name, in which anything may stand but this
NAME = "\0"
LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}
LONGEST_S = 1_000 * 3600  # a container that claims more is not believed
HIGHEST_HZ = 10_000_000
MOST_CHANNELS = 1_000


class StreamInfo(NamedTuple):
    """What a container says of the audio track that was decoded."""

    declared_s: float | None  # its length; None where it says nothing that can be trusted
    sampling_rate_hz: int
    channels: int
    codec: str
    # tracks beside it: what the container declares may be their length
    has_others: bool
    container: str = ""  # as ffmpeg names it: "mov,mp4,m4a,3gp,3g2,mj2"
    # that length, or an estimate of it, 0 where there is neither
    said_s: float = 0.0
    placed: bool = True  # it is known where the channels stand


class Log:
    """The log of one ffmpeg, taken in line by line as it comes.

    Attributes:
        times: of the frames that nobody has taken yet: the time of each, None where it has none, and its samples.
        marked: whether a frame's time has come at all.
        gave_up: whether ffmpeg read no further than a place that it could not read.
    """

    def __init__(self, media_name: bytes, mark: bytes = b"") -> None:
        self.times: collections.deque[tuple[int | None, int]] = collections.deque()
        self.marked = self.gave_up = False
        self._name, self._time, self._held = media_name, re.compile(TIME % mark), b""
        self._described: list[str] = []
        self._estimated = self._corrupt = self._short = False
        self._lost = _Lost()
        self._head: list[str] = []
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)

    def add(self, piece: bytes) -> None:
        held = (self._held + piece).replace(self._name, NAME.encode())
        end = self._end_of_lines(held)
        for line in re.split(rb"[\r\n]+", self._time.sub(self._frame, held[:end])):
            self._take(line)
        self._held = held[end:]
        if len(self._held) > HELD_BYTES:
            self._held = self._held[:LINE_CHARACTERS] + self._held[-LINE_CHARACTERS:]

    def close(self) -> None:
        """Nothing more comes."""
        self._take(self._held)
        self._held = b""

    def stream_info(self, facts: str = "") -> StreamInfo:
        """What the container said, with the facts that ffmpeg's second output holds."""
        estimated = [ESTIMATED] if self._estimated else []
        return parse_log("\n".join([*estimated, *self._described]), facts)

    def cut_short(self, codec: str) -> bool:
        """Whether the container ended before its index does, or much of it is damaged."""
        corrupt = self._corrupt and not codec.startswith(UNFRAMED)
        return corrupt or self._short or self._lost.packets >= MANY_LOST

    def last_words(self) -> str:
        """Its last messages, the same in every run."""
        # Addresses and speeds differ from run to run; letters must not.
        text = "\n".join([line for line in self._lines() if not FIGURES.match(line)][-6:])
        text = text.replace(NAME, self._name.decode("utf-8", "replace"))
        text = re.sub(r" @ 0x[0-9a-f]+|@[0-9a-f]{16}\b|(?<=pipe:)\d+|http://127\.0\.0\.1:\d+/[\w-]+/", "", text)
        return re.sub("Format not on whitelist '.*'", "files of this kind are not opened", text)

    def messages(self) -> str:
        """The first and the last lines in which ffmpeg speaks."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        return [*self._head, *self._tail]

    def _end_of_lines(self, held: bytes) -> int:
        """Where the lines that are complete end. A name may hold ends of lines, and be there in part as yet."""
        end = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
        begun = held.rfind(re.split(rb"[\r\n]", self._name, maxsplit=1)[0])
        if 0 <= begun < end and self._name.startswith(held[begun:]):
            return max(held.rfind(b"\n", 0, begun), held.rfind(b"\r", 0, begun)) + 1
        return end

    def _frame(self, found: re.Match[bytes]) -> bytes:
        """Take in what is told of a frame, and leave nothing of it."""
        self.times.append((None if found[1] == b"NOPTS" else int(found[1]), int(found[2])))
        self.marked = True
        return b""

    def _take(self, line: bytes) -> None:
        if len(line) > LINE_CHARACTERS:
            line = line[: LINE_CHARACTERS // 2] + line[-LINE_CHARACTERS // 2 :]
        text = line.decode("utf-8", "replace")
        if DESCRIBED.match(line) and len(self._described) < MOST_DESCRIBED:
            self._described.append(text)
        if text and (text[0] != " " or REPEATED.match(text)):
            # What is indented otherwise describes the streams in the file's own words.
            self._hear(text)

    def _hear(self, line: str) -> None:
        """Take in a line in which ffmpeg speaks."""
        self._estimated |= ESTIMATED in line
        self._corrupt |= CORRUPT in line
        self.gave_up |= bool(GAVE_UP.match(line))
        self._short |= bool(CUT_SHORT.search(line))
        self._lost.count(line)
        (self._head if len(self._head) < HEAD_LINES else self._tail).append(line)


class _Lost:
    """How many packets the decoder could make nothing of."""

    def __init__(self) -> None:
        self.packets = self._last = 0

    def count(self, line: str) -> None:
        again = REPEATED.match(line)
        if not again:
            self._last = bool(LOST.search(line)) - bool(HARMLESS.search(line))
        self.packets += self._last * int(again[1]) if again else self._last


def parse_log(log: str, facts: str = "") -> StreamInfo:
    """What ffmpeg's log says of the input, and its second output of the audio track that was chosen."""
    described = log.split("\nOutput #", 1)[0]
    kinds = {found[1]: found[2] for line in described.split("\n") if (found := STREAM.match(line))}
    said = length_in(described)
    container = re.search(r"^Input #0, (\S+), from ", described, re.MULTILINE)
    track = dict(FACT.findall(facts))
    return StreamInfo(
        declared_s=None if ESTIMATED in described else said or None,
        sampling_rate_hz=bounded(int(track.get("sample_rate", "0")), HIGHEST_HZ),
        channels=bounded(count_channels(track.get("channel_layout_name", "")), MOST_CHANNELS),
        codec=track.get("codec_id", ""),
        has_others=list(kinds.values()).count("Audio") > 1 or not {"Video", "Subtitle"}.isdisjoint(kinds.values()),
        container=container[1] if container else "",
        said_s=said,
        placed=not re.match(r"\d+ channels$", track.get("channel_layout_name", "")),
    )


def length_in(described: str) -> float:
    """The length in seconds that a container says; 0 where it says none, several, or one that cannot be."""
    lengths = set(LENGTH.findall(described))
    if len(lengths) != 1:  # a tag that poses as one
        return 0.0
    hours, minutes, seconds = lengths.pop()
    length = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return length if length <= LONGEST_S else 0.0


def bounded(value: int, most: int) -> int:
    """The value; 0, for not known, where none is that large."""
    return value if value <= most else 0


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
