"""What is found under an output before a run, whose it is, and what becomes of the files of media that left."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.conftest import media_of
from transforms.storage import join
from transforms.work.own_files import (
    OutputContents,
    Published,
    commit_published,
    digest_of,
    inspect_output,
    names_of,
    remove_departed,
    was_begun,
)
from transforms.work.store import LEFT, UNFINISHED, WorkStore, name_key

KINDS = ("json", "srt", "en.srt")
MEDIA = media_of(pathlib.Path("talks/a.mp3"), name="talks/a")
OURS = {"run": "r", "layers": {}, "started": "2025-01-01T00:00:00+00:00"}


@pytest.fixture(params=["local", "moto", "gcs"])
def work(request, tmp_path, monkeypatch):
    if request.param == "local":
        return WorkStore(str(tmp_path / "out"), "asr", "saved")
    store, base = request.getfixturevalue(f"{request.param}_place")
    stores = type("OneStore", (), {"serving": lambda self, uri: store})()
    return WorkStore(f"{base}/out", "asr", "saved", stores=stores)


def put(work, *names, content=b"by hand"):
    for name in names:
        work.store.put(join(work.output, name), content)


def saved(work, media=MEDIA, kinds=KINDS, content=b"ours", known=True):
    """Save the recording as a run does."""
    files = [f"media/{media.name}.{kind}" for kind in kinds]
    put(work, *files, content=content)
    work.commit_saved(media, files, True, dict.fromkeys(files, digest_of(content)) if known else None)


def begun(work, kinds=KINDS, shards=1):
    commit_published(work, inspect_output(work, kinds).published.with_run(kinds, shards))


def left(work):
    return sorted(entry.uri.removeprefix(f"{work.output}/") for entry in work.store.list(f"{work.output}/media"))


def test_under_a_new_output_there_is_nothing(work):
    assert inspect_output(work, KINDS) == OutputContents(Published(), (), (), {})


def test_what_runs_wrote_is_told_from_what_they_did_not(work):
    begun(work, shards=2)
    saved(work)
    put(work, "run.json", "summary.json", "report.html", "transcripts/00001-of-00002.parquet")
    assert inspect_output(work, KINDS)[1:] == ((), (), {})
    put(work, "transcripts/00000-of-00003.parquet", "segments/mine.parquet", "segments/notes.txt")
    put(work, "media/b.srt", "media/talks/A.SRT", "media/talks/c.en.srt", "media/talks/a.vtt", "media/b.mp3")
    found = inspect_output(work, KINDS)
    assert sorted(found.foreign) == ["segments/mine.parquet", "transcripts/00000-of-00003.parquet"]
    assert sorted(found.foreign_media) == ["media/b.srt", "media/talks/A.SRT", "media/talks/c.en.srt"]


def test_a_kind_that_no_run_ever_gave_is_not_ours_under_a_name_that_is(work):
    begun(work, ("json", "srt"))
    saved(work, kinds=("json", "srt"))
    put(work, "media/talks/a.en.srt")
    assert inspect_output(work, KINDS).foreign_media == ("media/talks/a.en.srt",)


@pytest.mark.parametrize("content", [b'{"mine": true}', b"[]", b"\xff", b""])
def test_a_run_json_of_somebody_else_answers_for_nothing(work, content):
    put(work, "run.json", content=content)
    put(work, "report.html", "segments/00000-of-00001.parquet")
    assert sorted(inspect_output(work, KINDS).foreign) == [
        "report.html",
        "run.json",
        "segments/00000-of-00001.parquet",
    ]


def test_an_output_of_the_version_before_goes_on(work):
    put(work, "run.json", content=json.dumps(OURS).encode())
    put(work, "summary.json", "report.html", "segments/00000-of-00004.parquet", "segments/00002-of-00003.parquet")
    saved(work, known=False)
    put(work, "media/talks/killed.srt")  # before it was noted
    assert inspect_output(work, KINDS)[1:] == ((), (), {})
    begun(work)
    assert inspect_output(work, KINDS)[1:] == ((), ("media/talks/killed.srt",), {})
    put(work, "segments/mine.parquet")
    assert inspect_output(work, KINDS).foreign == ("segments/mine.parquet",)


def test_what_a_run_began_to_write_is_told_from_what_others_send(work):
    begun(work, shards=2)
    work.begin_saving(MEDIA, [], {}, anew=True)
    names = ["_work/asr/x.json", "segments/00001-of-00002.parquet", "media/talks/a.opus"]
    others = ["media/talks/b.opus", "segments/mine.parquet", "in/talk.mp4", "media"]
    published = inspect_output(work, KINDS).published
    told = {name for name in (*names, *others) if was_begun(work, published, join(work.output, name))}
    assert told == set(names)


def test_names_that_lack_a_file_are_told_with_what_is_there(work):
    begun(work)
    other = MEDIA._replace(media_id="other", name="talks/b.en")
    saved(work)
    saved(work, other)
    work.store.delete(join(work.output, "media/talks/a.srt"))
    assert inspect_output(work, KINDS).gaps == {name_key("talks/a"): ("json", "en.srt")}
    for kind in KINDS:
        work.store.delete(join(work.output, f"media/talks/b.en.{kind}"))
    assert inspect_output(work, KINDS).gaps == {name_key("talks/a"): ("json", "en.srt"), name_key("talks/b.en"): ()}
    assert inspect_output(work, (*KINDS, "vtt")).gaps == {}  # where all is made anew, nothing is missed


def test_the_names_of_which_a_file_may_be():
    assert list(names_of("x/a.en.srt")) == [("x/a.en", "srt"), ("x/a", "en.srt")]
    assert list(names_of("a.1.srt")) == [("a.1", "srt")]
    assert list(names_of("srt")) == []


def test_the_files_of_media_that_left_go_but_for_those_that_somebody_changed(work):
    other = MEDIA._replace(media_id="other", name="b")
    saved(work)
    saved(work, other)
    put(work, "media/talks/a.srt", "media/talks/mine.srt")
    removed = remove_departed(work, {name_key("b")})
    assert (removed.media, removed.files, removed.kept) == (1, 2, 1)
    assert left(work) == [
        "media/b.en.srt",
        "media/b.json",
        "media/b.srt",
        "media/talks/a.srt",
        "media/talks/mine.srt",
    ]
    assert work.list_now().saved[name_key("talks/a")] == (LEFT,)
    assert {media.name for media in work.saved_media()} == {"talks/a", "b"}
    assert remove_departed(work, {name_key("b")}).media == 0


def test_files_of_which_nothing_but_the_name_is_known_stay_with_their_note(work):
    saved(work, known=False)
    assert (remove_departed(work, set()).files, len(left(work))) == (0, 3)
    assert work.list_now().saved[name_key("talks/a")] == (work.state(MEDIA),)


def test_what_a_killed_save_left_of_a_recording_that_left_goes_too(work):
    work.begin_saving(MEDIA, [], {"media/talks/a.srt": digest_of(b"ours"), "media/talks/a.json": "x"}, anew=True)
    put(work, "media/talks/a.srt", content=b"ours")
    put(work, "media/talks/a.json")
    assert work.list_now().saved[name_key("talks/a")] == (UNFINISHED,)
    assert remove_departed(work, set()).files == 1
    assert left(work) == ["media/talks/a.json"]


@pytest.mark.parametrize("name", ["../beside.srt", "media/../../beside.srt", "_work/generation.json", "run.json"])
def test_a_note_that_names_something_else_removes_nothing(work, name):
    put(work, "run.json", "_work/generation.json", "beside.srt", content=b"ours")
    work.commit_saved(MEDIA, [name], True, {name: digest_of(b"ours")})
    assert remove_departed(work, set()).files == 0
    assert work.store.read(join(work.output, "run.json")) == b"ours"


@pytest.mark.parametrize("made_by", ["symlink", "hard link"])
def test_media_that_are_linked_to_are_not_ours(tmp_path, made_by):
    work = WorkStore(str(tmp_path / "out"), "asr", "saved")
    put(work, "media/a.opus")
    link, target = tmp_path / "in.opus", tmp_path / "out/media/a.opus"
    link.symlink_to(target) if made_by == "symlink" else link.hardlink_to(target)
    media = media_of(link, name="a")
    work.commit_saved(media, ["media/a.opus"], True, {"media/a.opus": digest_of(b"by hand")})
    assert remove_departed(work, set()).files == 0
    assert target.read_bytes() == b"by hand"
