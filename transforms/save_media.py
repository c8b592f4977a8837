"""SaveMedia: Transcript or DeadLetter → its files or its letter, kept → MediaOutcome.

A media's files are written as soon as it is done: `media/<name>.json .txt .srt .vtt`, `.en.srt` and so on for the
translation, and `.opus` where the audio is kept. Writing them again gives the same files, so twice does no harm.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import pathlib
from collections.abc import Iterable, Iterator

import apache_beam as beam

from transforms.dataset.schema import SCHEMA_VERSION, transcript_row
from transforms.dead_letters import FailureLimit, MediaError, dead_letter
from transforms.dofns.base import ThreadedDoFn
from transforms.dofns.failure_count import failure_count
from transforms.dofns.figures import SAVE
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.media.chunks import ChunkConfig, opened, sound_of
from transforms.media.ffmpeg import convert
from transforms.media.subtitles import srt, vtt
from transforms.records import DeadLetter, MediaFile, MediaOutcome, MediaResult, Segment, Transcript
from transforms.storage import join
from transforms.storage.scratch import scratch_folder, writing_scratch
from transforms.work.layers import (
    LOST,
    UNFINISHED,
    Inventory,
    Layers,
    SavedNote,
    file_of,
    json_bytes,
    name_key,
    source_id,
)
from transforms.work.own_files import digest_of, names_of, own, stored_digest

FORMATS = ("json", "srt", "vtt", "txt")
SAVERS = 8  # media saved at once: each is a handful of requests to a store
UNWRITABLE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL}  # a name cannot be

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SaveConfig:
    """Which files each media gets, and how many may fail."""

    formats: tuple[str, ...] = FORMATS
    limit: FailureLimit = dataclasses.field(default_factory=FailureLimit)
    audio_of: ChunkConfig | None = None  # how to read media whose audio is kept beside their text

    def __post_init__(self) -> None:
        unknown = set(self.formats) - set(FORMATS)
        if unknown:
            raise ValueError(f"unknown format {', '.join(sorted(unknown))}: choose from {', '.join(FORMATS)}")

    def kinds(self, language: str) -> tuple[str, ...]:
        """What the files of media end with, translated into the language or, where it is "", not."""
        translated = [f"{language}.{kind}" for kind in self.formats if kind != "json"] if language else []
        return (*self.formats, *translated, *(["opus"] if self.audio_of else []))


@dataclasses.dataclass
class SaveMedia(beam.PTransform):
    """Write what people use of each media, then note in the saved layer that it is done."""

    layers: Layers
    config: SaveConfig
    watch: Watch = UNWATCHED

    def expand(self, told: beam.PCollection[MediaResult]) -> beam.PCollection[MediaOutcome]:
        return told | "Save" >> beam.ParDo(Save(self.layers, self.config, self.watch)).with_output_types(MediaOutcome)


class Save(ThreadedDoFn[SaveConfig, tuple[MediaOutcome, bool], MediaOutcome]):
    """Saves several media at once, so that the model does not wait for a store, and counts each."""

    step = SAVE

    def threads(self) -> int:
        return SAVERS

    def setup(self) -> None:
        super().setup()
        self._earlier = self._layers.inventory()
        self._failures = failure_count(self._layers, self._config.limit)

    def process(self, told: MediaResult) -> Iterator[MediaOutcome]:
        self._metrics.count(elements_in=1)
        if isinstance(told, MediaOutcome):
            yield self.counted((told, False))
            return
        self._threads.begin(save_or_fail, told, self._layers, self._config, self._earlier)
        yield from self._completed()

    def counted(self, saved: tuple[MediaOutcome, bool]) -> MediaOutcome:
        outcome, failed_here = saved
        self._metrics.count(
            elements_out=1,
            media=not outcome.failed,
            dead=outcome.failed,
            failed=failed_here,
            audio_ms=round(outcome.audio_s * 1000) if outcome.fresh else 0,
        )
        if outcome.fresh:
            self._failures.add(outcome)
        return outcome


def save_or_fail(
    told: Transcript | DeadLetter, layers: Layers, config: SaveConfig, earlier: Inventory
) -> Iterator[tuple[MediaOutcome, bool]]:
    """The outcome of one media that was kept, and whether keeping it is what failed."""
    outcome = save(told, layers, config, earlier)
    yield outcome, outcome.failed and not isinstance(told, DeadLetter)


def save(told: Transcript | DeadLetter, layers: Layers, config: SaveConfig, earlier: Inventory) -> MediaOutcome:
    """Keep the outcome of one media. `earlier` is what lay there before the run, so that nothing is asked twice."""
    if isinstance(told, DeadLetter):
        known = source_id(told.media) in earlier.dead and layers.dead(told.media) == told
        if not known:
            layers.commit_dead(told)
        states = earlier.saved.get(name_key(told.media.name), ())
        _remove(told.media, told.media.name, layers, states)  # of another version, or made with other options
        fresh = not known and told.code != LOST  # what is lost was not tried
        return MediaOutcome(told.media, failed=True, fresh=fresh)
    try:
        with kept_audio(told.media, config.audio_of) as audio:
            _write(told, {**dict(render(told, config.formats)), **audio}, layers, earlier)
    except (MediaError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in UNWRITABLE:
            raise  # a full disk is no fault of this media's
        wrong = error if isinstance(error, MediaError) else MediaError("cannot_save", str(error))
        _remove(told.media, told.media.name, layers, [UNFINISHED])
        return save(dead_letter("SaveMedia", told.media, wrong), layers, config, earlier)
    if source_id(told.media) in earlier.dead:
        layers.forget_dead(told.media)
    return MediaOutcome(told.media, failed=False, fresh=True, audio_s=told.audio.duration_s, chunks=told.chunks)


@contextlib.contextmanager
def kept_audio(media: MediaFile, config: ChunkConfig | None) -> Iterator[dict[str, pathlib.Path]]:
    """The converted audio by its name below the output, if it is wanted and can be made, while the block runs."""
    if config is None:
        yield {}
        return
    with scratch_folder() as folder:
        target = pathlib.Path(folder, "audio")
        made = {file_of(media, "opus"): target}
        try:
            with opened(media, config.stores) as source, writing_scratch():
                convert(sound_of(media, source, config), target, config.decode_timeout_s)
                source.check()
        except (MediaError, OSError) as error:
            log.warning("%s: its audio could not be kept: %s", media.id, error)  # its transcript is there anyway
            made = {}
        yield made


def _write(
    transcript: Transcript, files: dict[str, bytes | pathlib.Path], layers: Layers, earlier: Inventory
) -> None:
    """Put a media's files in place of those that a run wrote under its name, so that a kill is made good.

    Raises:
        MediaError: a file that no run wrote is in the way.
    """
    media = transcript.media
    states = earlier.saved.get(name_key(media.name), ())
    notes = {state: layers.saved_note(name_key(media.name), state) for state in states}
    digests = {name: digest_of(content) for name, content in files.items()}
    as_now = notes.get(layers.state(media, transcript.complete))
    if len(states) == 1 and as_now and as_now.digests == digests:
        for name, content in files.items():  # the others stay as they are, also if somebody has changed them
            _put(name, content, layers, owned=False)
    else:
        _replace(transcript, files, digests, layers, notes)
    _leave_other_name(media, layers, earlier)


def _replace(
    transcript: Transcript,
    files: dict[str, bytes | pathlib.Path],
    digests: dict[str, str],
    layers: Layers,
    notes: dict[str, SavedNote | None],
) -> None:
    """Put the files in place of those that the notes name, under a note that says which are under way.

    A note that cannot be read, which is None, goes when the files are there: until then it shows that a run was here.
    """
    media, key = transcript.media, name_key(transcript.media.name)
    owned = set[str]().union(*(own(layers, note, media) for note in notes.values() if note))
    if notes.get(UNFINISHED) or not layers.begin_saving(media, owned, digests, anew=True):
        if not notes.get(UNFINISHED) and (begun := layers.saved_note(key, UNFINISHED)):  # by a try of this run
            owned |= own(layers, begun, media)
        layers.begin_saving(media, owned, digests, anew=False)  # from here on no earlier state is true
    for state, note in notes.items():
        if note and state != UNFINISHED:
            layers.forget_saved(key, state)
    for name, content in files.items():
        if not _put(name, content, layers, name in owned):
            _put_after_all(name, content, layers, media, digests[name])
    for name in owned - set(files):
        layers.store.delete(join(layers.output, name))
    layers.commit_saved(media, files, transcript.complete, digests)
    for state in {UNFINISHED, *notes} - {layers.state(media, transcript.complete)}:
        layers.forget_saved(key, state)


def _put(name: str, content: bytes | pathlib.Path, layers: Layers, owned: bool) -> bool:
    """Put a file in its place; False where one lies there that is not owned."""
    store, uri = layers.store, join(layers.output, name)
    if isinstance(content, bytes):
        if not owned:
            return store.put_new(uri, content)
        store.put(uri, content)
        return True
    if not owned and store.stat(uri):
        return False
    store.put_file(uri, content)
    return True


def _put_after_all(name: str, content: bytes | pathlib.Path, layers: Layers, media: MediaFile, digest: str) -> None:
    """Put a file where one lies that was not noted when the run began.

    A try of this run may have left it, or, of a translation, a media of another name: `a.en.srt` may be of `a.en`; or
    an earlier run, whose note cannot be read any more.

    Raises:
        MediaError: it is not ours.
    """
    if stored_digest(layers.store, join(layers.output, name)) == digest:
        return
    keys = {name_key(each) for each, _ in names_of(name.removeprefix("media/"))}
    notes = [layers.saved_note(key, state) for key in sorted(keys) for state in layers.states_now(key)]
    if not any(note is None or name in own(layers, note, media) for note in notes):
        raise MediaError("not_ours" if layers.store.stat(join(layers.output, name)) else "cannot_save", name)
    _put(name, content, layers, owned=True)


def _leave_other_name(media: MediaFile, layers: Layers, earlier: Inventory) -> None:
    """Delete what the media itself left under its other name.

    A media that is joined by one of the same name gets a part of its media_id into its name, and loses it again.
    """
    tail = f"~{media.media_id[:8]}"
    other = media.name.removesuffix(tail) if media.name.endswith(tail) else media.name + tail
    _remove(media, other, layers, earlier.saved.get(name_key(other), ()))


def _remove(media: MediaFile, name: str, layers: Layers, states: Iterable[str]) -> None:
    """Delete the files that lie under the name, if they are the media's own, and what is noted of them."""
    for state in states:
        note = layers.saved_note(name_key(name), state)
        if note and note.media.media_id == media.media_id:
            for file in own(layers, note, media):
                layers.store.delete(join(layers.output, file))
            layers.forget_saved(name_key(name), state)


def render(transcript: Transcript, formats: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(name below the output, content) of each file of a media."""
    if "json" in formats:
        row = {"schema_version": SCHEMA_VERSION, **transcript_row(transcript)}
        yield file_of(transcript.media, "json"), json_bytes(row, indent=1)
    yield from _text_files(transcript, "", transcript.segments, transcript.language, formats)
    if target := transcript.translation_language:
        yield from _text_files(transcript, f"{target}.", transcript.translated_segments, target, formats)


def _text_files(
    transcript: Transcript, infix: str, segments: tuple[Segment, ...], language: str, formats: tuple[str, ...]
) -> Iterator[tuple[str, bytes]]:
    texts = {
        "srt": lambda: srt(segments, transcript.audio.duration_s),
        "vtt": lambda: vtt(segments, language, transcript.audio.duration_s),
        "txt": lambda: "".join(" ".join(segment.text.splitlines()) + "\n" for segment in segments),
    }
    for kind in formats:
        if kind in texts:
            yield file_of(transcript.media, infix + kind), texts[kind]().encode()
