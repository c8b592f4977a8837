"""SaveMedia: Transcript or DeadLetter → its files or its letter, kept → MediaOutcome.

A media's files are written as soon as it is done: `media/<name>.json .txt .srt .vtt`, and `.en.srt` and so on for the
translation. Writing them again gives the same files, so it does not matter if it happens twice.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.dataset_schema import SCHEMA_VERSION, transcript_row
from transforms.dead_letters import MediaError, dead_letter
from transforms.layers import Layers, json_bytes
from transforms.media.subtitles import srt, vtt
from transforms.progress import Ticker
from transforms.records import DeadLetter, MediaFile, MediaOutcome, Segment, Transcript
from transforms.storage import join, store_for

FORMATS = ("json", "srt", "vtt", "txt")
FOLDER = "media"
UNWRITABLE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL}  # a name cannot be


@dataclasses.dataclass(frozen=True)
class SaveConfig:
    """Which files each media gets."""

    formats: tuple[str, ...] = FORMATS

    def __post_init__(self) -> None:
        unknown = set(self.formats) - set(FORMATS)
        if unknown:
            raise ValueError(f"unknown format {', '.join(sorted(unknown))}: choose from {', '.join(FORMATS)}")


@dataclasses.dataclass
class SaveMedia(beam.PTransform):
    """Write what people use of each media, then note in the saved layer that it is done."""

    layers: Layers
    config: SaveConfig
    progress: str = ""

    def expand(
        self, told: beam.PCollection[Transcript | DeadLetter | MediaOutcome]
    ) -> beam.PCollection[MediaOutcome]:
        return told | "Save" >> beam.ParDo(Save(self.layers, self.config, self.progress)).with_output_types(
            MediaOutcome
        )


class Save(beam.DoFn):
    """Saves media one by one and tells the display of each."""

    def __init__(self, layers: Layers, config: SaveConfig, progress: str) -> None:
        self._layers, self._config, self._progress = layers, config, progress

    def setup(self) -> None:
        self._ticker = Ticker(self._progress)

    def process(self, told: Transcript | DeadLetter | MediaOutcome) -> list[MediaOutcome]:
        outcome = save(told, self._layers, self._config)
        Metrics.counter("save", "failed" if outcome.failed else "media").inc()
        self._ticker.tick(done=1, failed=int(outcome.failed), audio_s=outcome.audio_s if outcome.fresh else 0)
        return [outcome]


def save(told: Transcript | DeadLetter | MediaOutcome, layers: Layers, config: SaveConfig) -> MediaOutcome:
    """Keep the outcome of one media."""
    if isinstance(told, MediaOutcome):
        return told
    if isinstance(told, DeadLetter):
        fresh = layers.dead(told.media) != told
        layers.commit_dead(told)
        return MediaOutcome(told.media, failed=True, fresh=fresh)
    files = dict(render(told, config.formats))
    try:
        for name, content in files.items():
            store_for(layers.output).put(join(layers.output, name), content)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise  # a full disk is no fault of this media's
        return save(dead_letter("SaveMedia", told.media, MediaError("cannot_save", str(error))), layers, config)
    _remove_stale(told.media, set(files), layers)
    layers.commit_saved(told.media, sorted(files), told.audio.duration_s, told.complete)
    layers.forget_dead(told.media)
    return MediaOutcome(told.media, failed=False, fresh=True, audio_s=told.audio.duration_s)


def _remove_stale(media: MediaFile, written: set[str], layers: Layers) -> None:
    """Delete what other options left under this name, and what the media itself left under its other name.

    A media that is joined by one of the same name gets a part of its media_id into its name, and loses it again.
    """
    tail = f"~{media.media_id[:8]}"
    other = media.name.removesuffix(tail) if media.name.endswith(tail) else media.name + tail
    for name in (media.name, other):
        entry = layers.saved_under(name)
        if entry is None or (name == other and entry["media"]["media_id"] != media.media_id):
            continue
        for file in set(entry["files"]) - written:
            store_for(layers.output).delete(join(layers.output, file))
        if name == other:
            layers.forget_saved(name)


def render(transcript: Transcript, formats: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(name below the output, content) of each file of a media."""
    if "json" in formats:
        row = {"schema_version": SCHEMA_VERSION, **transcript_row(transcript)}
        yield _name(transcript.media, "json"), json_bytes(row, indent=1)
    yield from _text_files(transcript.media, "", transcript.segments, transcript.language, formats)
    if target := transcript.translation_language:
        yield from _text_files(transcript.media, f"{target}.", transcript.translated_segments, target, formats)


def _text_files(
    media: MediaFile, infix: str, segments: tuple[Segment, ...], language: str, formats: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    texts = {
        "srt": lambda: srt(segments),
        "vtt": lambda: vtt(segments, language),
        "txt": lambda: "".join(f"{segment.text}\n" for segment in segments),
    }
    for kind in formats:
        if kind in texts:
            yield _name(media, infix + kind), texts[kind]().encode()


def _name(media: MediaFile, suffix: str) -> str:
    return f"{FOLDER}/{media.name}.{suffix}"
