"""SaveMedia: Transcript or DeadLetter → MediaOutcome; writes the files or commits the dead letter.

A recording's files are written as soon as it is done: `media/<name>.json .txt .srt .vtt`, `.en.srt` and so on for the
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
from transforms.work.own_files import digest_of, names_of, owned_files, stored_digest
from transforms.work.store import (
    LOST,
    UNFINISHED,
    Inventory,
    SavedNote,
    WorkStore,
    file_of,
    json_bytes,
    name_key,
    source_id,
)

FORMATS = ("json", "srt", "vtt", "txt")
# media saved at once: each is a handful of requests to a store
SAVERS = 8
UNWRITABLE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL}  # a name cannot be

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SaveConfig:
    """Which files each recording gets, and how many may fail."""

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
    """Write what people use of each recording, then note in the saved layer that it is done."""

    work: WorkStore
    config: SaveConfig
    watch: Watch = UNWATCHED

    def expand(self, result: beam.PCollection[MediaResult]) -> beam.PCollection[MediaOutcome]:
        return result | "Save" >> beam.ParDo(Save(self.work, self.config, self.watch)).with_output_types(MediaOutcome)


class Save(ThreadedDoFn[SaveConfig, tuple[MediaOutcome, bool], MediaOutcome]):
    """Saves several media at once, so that the model does not wait for a store, and counts each."""

    step = SAVE

    def threads(self) -> int:
        return SAVERS

    def setup(self) -> None:
        super().setup()
        self._earlier = self._work.inventory()
        self._failures = failure_count(self._work, self._config.limit)

    def process(self, result: MediaResult) -> Iterator[MediaOutcome]:
        self._metrics.count(elements_in=1)
        if isinstance(result, MediaOutcome):
            yield self.counted((result, False))
            return
        self._threads.begin(save_or_fail, result, self._work, self._config, self._earlier)
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
    result: Transcript | DeadLetter, work: WorkStore, config: SaveConfig, earlier: Inventory
) -> Iterator[tuple[MediaOutcome, bool]]:
    """The outcome of one recording that was kept, and whether keeping it is what failed."""
    outcome = save(result, work, config, earlier)
    yield outcome, outcome.failed and not isinstance(result, DeadLetter)


def save(result: Transcript | DeadLetter, work: WorkStore, config: SaveConfig, earlier: Inventory) -> MediaOutcome:
    """Save the outcome of one recording. `earlier` is the inventory from before the run; nothing is listed twice."""
    if isinstance(result, DeadLetter):
        known = source_id(result.media) in earlier.dead and work.dead_letter(result.media) == result
        if not known:
            work.commit_dead_letter(result)
        states = earlier.saved.get(name_key(result.media.name), ())
        _remove(result.media, result.media.name, work, states)  # of another version, or made with other options
        fresh = not known and result.code != LOST  # what is lost was not tried
        return MediaOutcome(result.media, failed=True, fresh=fresh)
    try:
        with kept_audio(result.media, config.audio_of) as audio:
            _write(result, {**dict(render(result, config.formats)), **audio}, work, earlier)
    except (MediaError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in UNWRITABLE:
            raise  # a full disk is no fault of this recording's
        wrong = error if isinstance(error, MediaError) else MediaError("cannot_save", str(error))
        _remove(result.media, result.media.name, work, [UNFINISHED])
        return save(dead_letter("SaveMedia", result.media, wrong), work, config, earlier)
    if source_id(result.media) in earlier.dead:
        work.delete_dead_letter(result.media)
    return MediaOutcome(result.media, failed=False, fresh=True, audio_s=result.audio.duration_s, chunks=result.chunks)


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
    transcript: Transcript, files: dict[str, bytes | pathlib.Path], work: WorkStore, earlier: Inventory
) -> None:
    """Put a recording's files in place of those that a run wrote under its name, so that a kill is made good.

    Raises:
        MediaError: a file that no run wrote is in the way.
    """
    media = transcript.media
    states = earlier.saved.get(name_key(media.name), ())
    notes = {state: work.saved_note(name_key(media.name), state) for state in states}
    digests = {name: digest_of(content) for name, content in files.items()}
    as_now = notes.get(work.state(media, transcript.complete))
    if len(states) == 1 and as_now and as_now.digests == digests:
        # the others stay as they are, also if somebody has changed them
        for name, content in files.items():
            _put(name, content, work, owned=False)
    else:
        _replace(transcript, files, digests, work, notes)
    _leave_other_name(media, work, earlier)


def _replace(
    transcript: Transcript,
    files: dict[str, bytes | pathlib.Path],
    digests: dict[str, str],
    work: WorkStore,
    notes: dict[str, SavedNote | None],
) -> None:
    """Put the files in place of those that the notes name, under a note that says which are under way.

    A note that cannot be read, which is None, goes when the files are there: until then it shows that a run was here.
    """
    media, key = transcript.media, name_key(transcript.media.name)
    owned = set[str]().union(*(owned_files(work, note, media) for note in notes.values() if note))
    if notes.get(UNFINISHED) or not work.begin_saving(media, owned, digests, anew=True):
        if not notes.get(UNFINISHED) and (begun := work.saved_note(key, UNFINISHED)):  # by a try of this run
            owned |= owned_files(work, begun, media)
        work.begin_saving(media, owned, digests, anew=False)  # from here on no earlier state is true
    for state, note in notes.items():
        if note and state != UNFINISHED:
            work.delete_saved_note(key, state)
    for name, content in files.items():
        if not _put(name, content, work, name in owned):
            _put_after_all(name, content, work, media, digests[name])
    for name in owned - set(files):
        work.store.delete(join(work.output, name))
    work.commit_saved(media, files, transcript.complete, digests)
    for state in {UNFINISHED, *notes} - {work.state(media, transcript.complete)}:
        work.delete_saved_note(key, state)


def _put(name: str, content: bytes | pathlib.Path, work: WorkStore, owned: bool) -> bool:
    """Put a file in its place; False where one lies there that is not owned."""
    store, uri = work.store, join(work.output, name)
    if isinstance(content, bytes):
        if not owned:
            return store.put_new(uri, content)
        store.put(uri, content)
        return True
    if not owned and store.stat(uri):
        return False
    store.put_file(uri, content)
    return True


def _put_after_all(name: str, content: bytes | pathlib.Path, work: WorkStore, media: MediaFile, digest: str) -> None:
    """Put a file over one that was not noted when the run began, if a run has noted it since.

    A try of this run may have left it, or, of a translation, a recording of another name: `a.en.srt` may be of
    `a.en`; or an earlier run, whose note cannot be read any more.

    Raises:
        MediaError: it is not ours.
    """
    if stored_digest(work.store, join(work.output, name)) == digest:
        return
    keys = {name_key(each) for each, _ in names_of(name.removeprefix("media/"))}
    notes = [work.saved_note(key, state) for key in sorted(keys) for state in work.states_now(key)]
    if not any(note is None or name in owned_files(work, note, media) for note in notes):
        raise MediaError("not_ours" if work.store.stat(join(work.output, name)) else "cannot_save", name)
    _put(name, content, work, owned=True)


def _leave_other_name(media: MediaFile, work: WorkStore, earlier: Inventory) -> None:
    """Delete what the recording itself left under its other name.

    A recording that is joined by one of the same name gets a part of its media_id into its name, and loses it again.
    """
    tail = f"~{media.media_id[:8]}"
    other = media.name.removesuffix(tail) if media.name.endswith(tail) else media.name + tail
    _remove(media, other, work, earlier.saved.get(name_key(other), ()))


def _remove(media: MediaFile, name: str, work: WorkStore, states: Iterable[str]) -> None:
    """Delete the files that lie under the name, if they are the recording's own, and what is noted of them."""
    for state in states:
        note = work.saved_note(name_key(name), state)
        if note and note.media.media_id == media.media_id:
            for file in owned_files(work, note, media):
                work.store.delete(join(work.output, file))
            work.delete_saved_note(name_key(name), state)


def render(transcript: Transcript, formats: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(name below the output, content) of each file of a recording."""
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
