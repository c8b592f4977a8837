"""Litter among the layers' objects is passed over, and what is damaged counts as missing, whatever is wrong."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from tests.conftest import media_of
from transforms.plan_work import PlanConfig, plan, planned
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    Problem,
    Segment,
    WindowRecord,
    from_plain,
    to_plain,
)
from transforms.work.lease import acquire, latest_lease
from transforms.work.store import GENERATION, WorkStore, name_key, source_id
from transforms.work.transcripts import Provenance, read_transcript

MEDIA = media_of(pathlib.Path("a.mp3"), media_id="a" * 32)
DEAD = media_of(pathlib.Path("b.mp3"), media_id="b" * 32)
AUDIO = AudioFacts(12.0, 13.0, 44_100, 2, "aac", 7.25, 0.125, (Problem("media", "truncated", "cut"),))
SEGMENT = Segment(0.5, 2.25, "यह परीक्षा है।", "hi", None, None, None, -0.25, 0.125)
WINDOW = WindowRecord(0, 0.3, 2.5, "hi", 0.875, -0.25, 0.125, 0.0625, {"transcribe": (SEGMENT, SEGMENT)})
PROVENANCE = Provenance("whisper", "demo")


def one_value(data, change):
    """The object with one of its values changed: the first that is no container, found depth first."""

    def changed(value):
        if isinstance(value, dict) and value:
            first = sorted(value)[0]
            return {**value, first: changed(value[first])}
        return [changed(value[0]), *value[1:]] if isinstance(value, list) and value else change(value)

    return json.dumps(changed(json.loads(data))).encode()


DAMAGE = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "garbage": lambda _: bytes(range(256)) * 4,
    "invalid UTF-8": lambda data: data.replace(b'"', b'"\xff', 1),
    "NaN": lambda data: one_value(data, lambda _: float("nan")),
    "another type": lambda data: one_value(data, lambda _: {"a": []}),
    "a list": lambda data: b"[" + data + b"]",
    "wrong keys": lambda data: json.dumps({f"{key}_": 1 for key in "abc"}).encode(),
    "a number": lambda _: b"7",
    "null": lambda _: b"null",
    "a text": lambda _: b'"_work"',
    "nested deeply": lambda _: b"[" * 100_000 + b"]" * 100_000,
    "a key too many": lambda data: b'{"surplus": 1, ' + data.lstrip()[1:],
}
LITTER = [
    ".DS_Store",
    "._0-of-1.json",
    "desktop.ini",
    "Thumbs.db",
    "0-of-1 (conflicted copy).json",
    "0-of-1 (1).json",
    "0-of-1.sync-conflict-20240101-120000-ABCDEFG.json",
    "0-of-1.json.tmp",
    ".~lock.0-of-1.json#",
    "0-of-1",
    "٣-of-٤.json",
    "²-of-³.json",
    "0-of-0.json",
    "5-of-3.json",
    "-1-of-1.json",
    "00-of-01.json",
    "0-of-1.JSON",
    "0-of-99999999999999.json",
    "1.json (conflicted copy)",
    "²",
    "7",
    "٧.json",
    "folder/0-of-1.json",
    "folder/.DS_Store",
    "unfinished",
    "x",
]


@pytest.fixture
def work(tmp_path):
    """A finished output of one recording and a dead letter, translated, in a second generation."""
    work = WorkStore(str(tmp_path / "out"), "asr1", "saved1", "t1", "fr", run="run1")
    acquire(work).release()
    work = dataclasses.replace(work, generation=1)
    work.commit_generation(finished=True)
    work.commit_chunk(ChunkTranscript(MediaChunk(MEDIA), AUDIO, (WINDOW,)))
    work.commit_translation(said(work), ["un", "deux"], "")
    work.commit_saved(MEDIA, ["media/a.srt"], complete=True)
    work.commit_dead_letter(DeadLetter(DEAD, "DecodeAudio", "not_media", "Play it.", "detail"))
    work.commit_plan([planned(MediaChunk(each), work) for each in (MEDIA, DEAD)])
    return work


def said(work):
    return read_transcript(MediaChunk(MEDIA), work, PROVENANCE)


def looked_at(work):
    """Everything that anybody reads of an output, as it is now."""
    inventory = work.list_now()
    state = work.state(MEDIA)
    try:
        transcript = said(work)
    except Exception as error:  # noqa: BLE001 - compared below: a MediaError alone may come out
        transcript = repr(error)
    return {
        "inventory": inventory,
        "plan": [plan(each, work, inventory, PlanConfig()) for each in (MEDIA, DEAD)],
        "committed": work.committed(MEDIA),
        "transcript": transcript,
        "dead": work.dead_letter(DEAD),
        "saved": (work.saved_note(name_key(MEDIA.name), state), list(work.saved_media())),
        "planned": sorted(work.plan()),
        "generation": work.in_generation(anew=False).generation,
        "owner": latest_lease(work) and latest_lease(work)[0],
    }


def objects(work):
    return sorted(path for path in pathlib.Path(work.output, "_work").rglob("*.json") if path.is_file())


@pytest.mark.parametrize("name", LITTER)
def test_litter_in_every_folder_changes_nothing(work, name):
    before, ours = looked_at(work), objects(work)
    folders = {path for each in ours for path in each.parents if "out" in path.parts}
    for folder in folders:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not ours")
    assert looked_at(work) == before
    acquire(dataclasses.replace(work, run="run2")).release()
    dataclasses.replace(work, run="run2").delete_other_plans()
    assert all((folder / name).read_bytes() == b"not ours" for folder in folders)


KINDS = ("asr", "translation", "dead", "saved", "runs", "generation.json", "owner")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_object_counts_as_missing_and_nothing_else_changes(work, kind, damage, caplog):
    before = looked_at(work)
    [path] = [each for each in objects(work) if each.relative_to(work.output).parts[1] == kind]
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    after = looked_at(work)
    if kind not in ("owner", "generation.json"):
        assert damage == "empty" or path.name in caplog.text
    changes = {
        "asr": {"transcript", "inventory", "plan", "committed"},
        "translation": {"transcript"},
        "dead": {"dead", "inventory", "plan"},
        "saved": {"saved", "inventory", "plan"},
        "runs": {"planned"},
    }
    assert {name for name in before if after[name] != before[name]} <= changes.get(kind, set())
    assert after["transcript"] == before["transcript"] or kind in ("asr", "translation")
    if kind == "asr":
        assert "layer_lost" in after["transcript"]
        assert work.list_now().chunks == {}  # the broken object is gone: it is done again
    if kind == "translation":
        assert after["transcript"] == before["transcript"]._replace(
            translation_language="",
            translated_segments=(),
            segments=tuple(each._replace(translation=None) for each in before["transcript"].segments),
        )
    if kind == "dead":
        assert after["dead"] is None
    claimed = acquire(dataclasses.replace(work, run="run2"))
    assert claimed.number > before["owner"]


def damaged_values():
    """Each value of a committed chunk in turn, as something that it cannot be."""
    chunk = ChunkTranscript(MediaChunk(MEDIA), AUDIO, (WINDOW,))

    def places(value, path=()):
        if isinstance(value, dict):
            for key, each in value.items():
                yield from places(each, (*path, key))
        elif isinstance(value, list):
            for number, each in enumerate(value):
                yield from places(each, (*path, number))
        yield path

    content = to_plain(ChunkTranscript(None, chunk.audio, chunk.windows)._asdict() | {"media": to_plain(MEDIA)})
    del content["chunk"]
    return content, list(places(content))


@pytest.mark.parametrize("wrong", [float("inf"), [[]], {"": {}}, True, 10**30, "\udc80"], ids=repr)
def test_whatever_value_of_a_chunk_is_wrong_it_never_raises(work, wrong):
    content, places = damaged_values()
    [path] = [each for each in objects(work) if each.name == "0-of-1.json"]
    may_be_anything = 0
    for place in places[:-1]:
        spoilt = json.loads(json.dumps(content))
        holder = spoilt
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = wrong
        path.write_text(json.dumps(spoilt), encoding="utf-8")
        may_be_anything += work.chunk(MediaChunk(MEDIA)) is not None
    names = {"id", "uri", "name"} if wrong == "\udc80" else {"kept"} if wrong is True else set()
    assert may_be_anything == sum(place[-1] in names for place in places[:-1])


def test_a_generation_that_cannot_be_read_is_that_of_the_newest_chunks(work):
    pathlib.Path(work.output, GENERATION).write_bytes(b"\x00")
    assert dataclasses.replace(work, generation=0).in_generation(anew=False) == work
    assert dataclasses.replace(work, generation=0).in_generation(anew=True).generation == 2


def test_a_recording_of_which_something_was_lost_is_dead_until_any_later_run(work):
    work.commit_dead_letter(DeadLetter(MEDIA, "WriteDataset", "layer_lost", "…"))
    inventory = work.list_now()
    assert source_id(MEDIA) in inventory.dead & inventory.again
    assert work.dead_letter(MEDIA).code == "layer_lost"
    chunk = plan(MEDIA, work, inventory, PlanConfig())
    assert (chunk.transcribed, chunk.saved, chunk.dead) == (True, False, False)
    work.delete_dead_letter(MEDIA)
    assert source_id(MEDIA) not in work.list_now().dead
    assert name_key(MEDIA.name) in inventory.saved


@pytest.mark.parametrize("record", [SEGMENT, WINDOW, AUDIO, MEDIA, DeadLetter(MEDIA, "s", "c", "m", "\udcff")])
def test_a_record_comes_back_from_what_was_written_of_it(record):
    plain = json.loads(json.dumps(to_plain(record)))
    assert from_plain(type(record), plain) == record
