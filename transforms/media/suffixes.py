"""What the names of media end with."""

from __future__ import annotations

AUDIO = {".aac", ".ac3", ".aif", ".aiff", ".amr", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp2", ".mp3"}
AUDIO |= {".oga", ".ogg", ".opus", ".wav", ".wma"}
VIDEO = {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"}
VIDEO |= {".ogv", ".ts", ".vob", ".webm", ".wmv"}
MEDIA = frozenset(AUDIO | VIDEO)
MP4 = frozenset([".3gp", ".m4a", ".m4b", ".m4v", ".mov", ".mp4"])


def suffix_of(name: str) -> str:
    """ ".mp3" of "a.MP3"; "" of a name without a dot."""
    _, dot, end = name.rsplit("/", 1)[-1].rpartition(".")
    return dot + end.lower() if dot else ""
