"""What was committed comes back equal, and what was made from other content counts as missing."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import threading

import pytest

from tests.conftest import media_of
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    PlannedMedia,
    Problem,
    Segment,
    Transcript,
    WindowRecord,
)
from transforms.work.store import Inventory, SavedNote, WorkStore, fingerprint, json_bytes, name_key, source_id

MEDIA = media_of(pathlib.Path("आवाज़ \udcff.mp3"), media_id="m1", language="hi")
CHUNK = MediaChunk(MEDIA)
AUDIO = AudioFacts(12.345, 13.0, 44_100, 2, "aac", 7.25, 0.125, (Problem("media", "truncated", "cut"),))
HINDI = Segment(0.5, 2.25, 'यह "एक" \\ परीक्षा\n\u2028है।', "hi", None, None, 1, -0.25, 0.125)
ENGLISH = Segment(0.5, 2.0, "This is a test.", "en", "…", "A")
HEARD = WindowRecord(
    0, 0.3, 2.5, "hi", 0.875, -0.25, 0.125, 0.0625, {"transcribe": (HINDI,), "translate": (ENGLISH, ENGLISH)}
)
LOST = WindowRecord(1, 5.0, 9.0, "", 0.0, None, 0.0, 0.0, {}, Problem("window 1", "engine_failed", "boom"))
TRANSCRIPT = ChunkTranscript(CHUNK, AUDIO, (HEARD, LOST))
SAID = Transcript(MEDIA, AUDIO, "hi", 1.0, (HINDI,), "ok", 1.0, 0.1, "whisper", "demo", 1)
LETTER = DeadLetter(MEDIA, "DecodeAudio", "not_media", "Play it.", "ffmpeg's last\nwords", False)


@pytest.fixture
def work(tmp_path):
    return WorkStore(str(tmp_path / "out"), asr="asr1", saved="saved1", translation="t1", translation_language="en")


def objects(work: WorkStore) -> list[str]:
    root = pathlib.Path(work.output)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("windows", [(HEARD, LOST), (LOST,), ()])
def test_a_chunk_comes_back_equal(work, windows):
    work.commit_chunk(TRANSCRIPT._replace(windows=windows))
    assert work.chunk(CHUNK) == TRANSCRIPT._replace(windows=windows)
    assert work.list_now().chunks == {source_id(MEDIA): ("0-of-1",)}


def test_a_chunk_comes_back_as_records_with_their_methods(work):
    work.commit_chunk(TRANSCRIPT)
    read = work.chunk(CHUNK)
    assert isinstance(read.windows[0], WindowRecord)
    assert isinstance(read.windows[0].texts["translate"][1], Segment)
    assert isinstance(read.audio.problems[0], Problem)


def test_nothing_is_there_before_it_is_committed(work):
    assert work.chunk(CHUNK) is None
    assert work.read_translation(SAID) is None
    assert work.dead_letter(MEDIA) is None
    assert work.list_now() == Inventory({}, frozenset(), {})
    assert work.saved_note(name_key(MEDIA.name), work.state(MEDIA)) is None


def test_each_layer_has_the_place_that_the_design_gives_it(work):
    work.commit_chunk(TRANSCRIPT._replace(chunk=CHUNK._replace(chunk=2, chunks=7)))
    work.commit_translation(SAID, ["a"], "")
    work.commit_saved(MEDIA, ["a.srt"], True)
    work.commit_dead_letter(LETTER)
    source = "m1-" + hashlib.sha256(b"v1\0hi").hexdigest()[:8]
    assert objects(work) == [
        f"_work/asr/asr1/{source}/2-of-7.json",
        f"_work/dead/asr1/{source}.json",
        f"_work/saved/{hashlib.sha256(os.fsencode(MEDIA.name)).hexdigest()[:32]}/{work.state(MEDIA)}.json",
        f"_work/translation/en/t1/{source}.json",
    ]


def test_what_was_made_from_another_version_counts_as_missing(work):
    work.commit_chunk(TRANSCRIPT)
    work.commit_translation(SAID, ["a"], "")
    work.commit_dead_letter(LETTER)
    changed = MEDIA._replace(version="v2")
    assert work.chunk(MediaChunk(changed)) is None
    assert source_id(changed) not in work.list_now().chunks
    assert work.read_translation(SAID._replace(media=changed)) is None
    assert work.dead_letter(changed) is None


def test_a_recording_that_was_only_renamed_keeps_its_chunk(work):
    work.commit_chunk(TRANSCRIPT)
    renamed = MediaChunk(MEDIA._replace(name="other", id="other"))
    assert work.chunk(renamed) == TRANSCRIPT._replace(chunk=renamed)


@pytest.mark.parametrize("other", [{"asr": "asr2"}, {"output": "elsewhere"}])
def test_other_settings_or_another_output_do_not_see_a_chunk(work, other, tmp_path):
    work.commit_chunk(TRANSCRIPT)
    settings = {"output": work.output, "asr": "asr1", "saved": "saved1", **other}
    assert WorkStore(**settings).list_now().chunks == {}


@pytest.mark.parametrize("damaged", [b"", b'{"media": {"ver', b"\xff\xfe\x00"])
def test_an_object_that_a_crash_left_damaged_counts_as_missing(work, damaged):
    work.commit_chunk(TRANSCRIPT)
    [path] = pathlib.Path(work.output).rglob("0-of-1.json")
    path.write_bytes(damaged)
    assert work.chunk(CHUNK) is None
    assert bool(work.list_now().chunks) is bool(damaged)  # a listing sees no more than its length


def test_a_translation_comes_back_with_its_gaps_and_its_error(work):
    said = SAID._replace(segments=(HINDI, ENGLISH, HINDI))
    work.commit_translation(said, ["one", None, "तीन"], "timed out")
    assert work.read_translation(said) == (["one", None, "तीन"], "timed out")
    work.commit_translation(said, ["one", None], "")  # of another length it is none
    assert work.read_translation(said) is None


def test_without_a_translator_nothing_is_translated(work):
    work.commit_translation(SAID, ["one"], "")
    assert WorkStore(work.output, "asr1", "saved1").read_translation(SAID) is None


def test_a_translation_of_another_text_counts_as_missing(work):
    work.commit_translation(SAID, ["one"], "")
    other = SAID._replace(segments=(SAID.segments[0]._replace(text="another"),))
    assert work.read_translation(other) is None


def test_another_language_in_the_manifest_counts_as_missing(work):
    work.commit_chunk(TRANSCRIPT)
    assert work.chunk(MediaChunk(MEDIA._replace(language="en"))) is None


def test_what_lies_under_a_name_says_whose_it_is_and_in_which_state(work):
    work.commit_saved(MEDIA, ["media/a.srt", "media/a.json"], complete=False)
    state = work.state(MEDIA, complete=False)
    assert work.list_now().saved == {name_key(MEDIA.name): (state,)}
    assert work.saved_note(name_key(MEDIA.name), state) == SavedNote(MEDIA, ("media/a.json", "media/a.srt"), {})
    assert list(work.saved_media()) == [MEDIA]
    work.delete_saved_note(name_key(MEDIA.name), state)
    assert work.list_now().saved == {}


@pytest.mark.parametrize("other", [{"version": "v2"}, {"media_id": "m2"}, {"id": "x"}, {"language": "en"}])
def test_the_state_of_files_tells_what_they_were_made_from(work, other):
    states = {work.state(MEDIA), work.state(MEDIA, complete=False), work.state(MEDIA._replace(**other))}
    assert len({*states, dataclasses.replace(work, saved="saved2").state(MEDIA)}) == 4


def test_a_plan_is_kept_once_however_often_its_bundle_is_retried(work):
    work = dataclasses.replace(work, run="run1")
    rows = [PlannedMedia(f"s{number}", "n", "state", number, True) for number in range(5)]
    work.commit_plan(rows[:3])
    work.commit_plan(rows[2::-1])
    work.commit_plan(rows[3:])
    assert sorted(work.plan()) == rows
    assert len(objects(work)) == 2
    dataclasses.replace(work, run="run2").delete_other_plans()
    assert objects(work) == []


def test_one_listing_serves_a_whole_run_and_the_next_run_lists_anew(work):
    first, second = (dataclasses.replace(work, run=run) for run in ("run1", "run2"))
    assert first.inventory().chunks == {}
    work.commit_chunk(TRANSCRIPT)
    assert first.inventory().chunks == {}
    assert second.inventory().chunks == {source_id(CHUNK.media): ("0-of-1",)}


def test_threads_that_ask_at_once_share_one_listing(work, monkeypatch):
    work, asked, both = dataclasses.replace(work, run="run of threads"), [], threading.Barrier(2)

    def list_now(_: WorkStore) -> Inventory:
        asked.append(threading.get_ident())
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.2)  # for the other, should it list too
        return Inventory({}, frozenset(), {})

    monkeypatch.setattr(WorkStore, "list_now", list_now)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(WorkStore.inventory, [work, work])
    assert len(asked) == 1
    assert first is second


def test_media_in_one_chunk_share_what_is_listed_of_them(work):
    for number in range(3):
        media = MEDIA._replace(media_id=f"m{number}")
        work.commit_chunk(TRANSCRIPT._replace(chunk=MediaChunk(media)))
    found = list(work.list_now().chunks.values())
    assert found == [("0-of-1",)] * 3
    assert found[0] is found[1] is found[2]


def test_a_dead_letter_is_kept_and_forgotten(work):
    work.commit_dead_letter(LETTER)
    assert work.dead_letter(MEDIA) == LETTER
    work.delete_dead_letter(MEDIA)
    assert work.dead_letter(MEDIA) is None
    work.delete_dead_letter(MEDIA)  # what is not there is forgotten already


def test_a_dead_letter_speaks_of_the_media_as_it_is_called_now(work):
    work.commit_dead_letter(LETTER)
    assert work.dead_letter(MEDIA._replace(name="now")).media.name == "now"


def test_committing_twice_keeps_the_later(work):
    work.commit_chunk(TRANSCRIPT)
    work.commit_chunk(TRANSCRIPT._replace(windows=(LOST,)))
    assert work.chunk(CHUNK).windows == (LOST,)
    assert len(objects(work)) == 1


def test_the_same_transcript_gives_the_same_bytes(work):
    work.commit_chunk(TRANSCRIPT)
    [path] = pathlib.Path(work.output).rglob("0-of-1.json")
    first = path.read_bytes()
    texts = dict(reversed(HEARD.texts.items()))
    work.commit_chunk(TRANSCRIPT._replace(windows=(HEARD._replace(texts=texts), LOST)))
    assert path.read_bytes() == first


SETTINGS = {"model": "demo", "tasks": ("transcribe",), "beam": 1, "languages": None}


@pytest.mark.parametrize(
    "change",
    [{"model": "x"}, {"tasks": ("transcribe", "translate")}, {"beam": 2}, {"languages": "hi"}, {"new": None}],
)
def test_a_fingerprint_changes_with_every_setting(change):
    assert fingerprint({**SETTINGS, **change}) != fingerprint(SETTINGS)


def test_a_fingerprint_does_not_depend_on_the_order_of_settings():
    assert fingerprint(dict(reversed(SETTINGS.items()))) == fingerprint(SETTINGS)
    assert len(fingerprint(SETTINGS)) == 12


def test_a_new_format_changes_every_fingerprint(monkeypatch):
    before = fingerprint(SETTINGS)
    monkeypatch.setattr("transforms.work.store.FORMAT", -1)
    assert fingerprint(SETTINGS) != before


def test_json_is_readable_sorted_and_ends_with_a_newline():
    assert json_bytes({"b": "हाँ", "a": 1}) == '{"a": 1, "b": "हाँ"}\n'.encode()


def test_starting_anew_is_one_generation_until_a_run_in_it_ends(work):
    work.commit_chunk(TRANSCRIPT)
    assert work.in_generation(anew=False) == work
    anew = work.in_generation(anew=True)
    anew.commit_generation(finished=False)
    assert anew.list_now().chunks == {}
    assert anew.state(MEDIA) != work.state(MEDIA)
    anew.commit_chunk(TRANSCRIPT)
    # killed: both the same command and one without the flag go on in it
    for again in (True, False):
        assert work.in_generation(anew=again) == anew
    anew.commit_generation(finished=True)
    assert work.in_generation(anew=False).chunk(CHUNK) == TRANSCRIPT
    assert work.in_generation(anew=True).chunk(CHUNK) is None
