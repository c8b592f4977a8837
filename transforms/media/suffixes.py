"""What the names of media end with: the one list, which docs/input.md shows.

Everything here holds sound, is read by ffmpeg, and is no list of other files (transforms/media/ffmpeg_command.py).
"""

from __future__ import annotations


def _each(words: str) -> frozenset[str]:
    return frozenset(words.split())


AUDIO = _each(
    ".3ga .aa3 .aac .ac3 .aif .aifc .aiff .amr .ape .au .awb .bwf .caf .dff .dsf .dss .dts .dtshd .eac3 .ec3 .f4a "
    ".f4b .flac .g722 .gsm .m2a .m4a .m4b .m4p .m4r .mka .mp1 .mp2 .mp3 .mpa .mpc .mpga .oga .ogg .oma .opus .qcp "
    ".ra .rf64 .shn .snd .sph .spx .tak .thd .tta .voc .w64 .wav .wave .weba .wma .wv"
)
VIDEO = _each(
    ".3g2 .3gp .3gp2 .3gpp .amv .asf .avi .dav .divx .dv .dvr-ms .evo .f4v .flv .gxf .m2p .m2t .m2ts .m4v .mj2 "
    ".mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mts .mxf .nsv .nut .ogm .ogv .ogx .qt .rm .rmvb .tod .tp .trp .ts "
    ".vob .vro .webm .wmv .wtv"
)
MEDIA = AUDIO | VIDEO
MP4 = _each(".3g2 .3ga .3gp .3gp2 .3gpp .f4a .f4b .f4v .m4a .m4b .m4p .m4r .m4v .mj2 .mov .mp4 .qt")
TEXTS_TOO = _each(".dts .m2t .mod .mts .nut .ts")  # suffixes of TypeScript, Linux, Go and Squirrel as well
IN_PROGRESS = _each(
    ".!qb .!sync .!ut .aria2 .crdownload .download .filepart .opdownload .part .partial .tmp .ytdl"
    # what browsers and others add to the name of what they are fetching
)


def suffix_of(name: str) -> str:
    """ ".mp3" of "a.MP3"; "" of a name without a dot."""
    _, dot, end = name.rsplit("/", 1)[-1].rpartition(".")
    return dot + end.lower() if dot else ""
