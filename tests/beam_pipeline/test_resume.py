"""Runs that are killed and go on: what is committed is not done again, and nothing of it can be seen in the end."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.conftest import SAMPLES, with_noise
from tests.runs import contents, counters, files, layer, letters, run, timeless, transcripts
from tests.servers import ChatStub, upper

DONE, FAILED, DEAD_LETTERS, KILLED = 0, 1, 3, -9
MEDIA = ("office.mp3", "village.opus")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Two good media and a bad one."""
    folder = tmp_path_factory.mktemp("media")
    return with_noise(folder, MEDIA)


@pytest.fixture(scope="module")
def translator():
    with ChatStub(upper) as stub:
        yield stub


@pytest.fixture(scope="module")
def job(media, translator):
    """Runs the job on an output: transcribes, translates by an LLM, and has one dead letter."""

    def start(output, *words, **how):
        flags = ["--input", media, "--output", output, "--model", "demo", "--formats", "json", "srt"]
        flags += ["--translate_to", "fr", "--openai_base_url", translator.url]
        return run(*flags, *words, env={"OPENAI_API_KEY": "x"}, **how)

    return start


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory):
    """The output of a run that nobody disturbed, and how it ended."""
    output = tmp_path_factory.mktemp("whole") / "out"
    return output, job(output)


def work(output):
    """What the last run on the output decoded, inferred and translated."""
    names = ("decode.media", "decode.failed", "transcribe.windows", "translate.media")
    return {name: counters(output).get(name, 0) for name in names}


NOTHING = {"decode.media": 0, "decode.failed": 0, "transcribe.windows": 0, "translate.media": 0}


@pytest.fixture(
    params=[
        "local",
        pytest.param("moto", marks=pytest.mark.long(60)),
        pytest.param("gcs", marks=pytest.mark.long(60)),
    ]
)
def place(request, tmp_path, monkeypatch):
    """An empty place in each kind of store."""
    return str(tmp_path) if request.param == "local" else request.getfixturevalue(f"{request.param}_place")[1]


def first_of_each_kind(changes):
    """The numbers of the changes that are the first of their kind: what is done, and in which folder."""
    kinds = [re.match(r"(\w+) (_work/\w+|\w+)", change)[0] for change in changes]  # "put_new _work/asr", "put media"
    return [number for number, kind in enumerate(kinds, 1) if kind not in kinds[: number - 1]]


def check_it_goes_on(job, whole, out, number):
    """Stop the job behind this change, and see that the next run does exactly what is missing."""
    undisturbed, _ = whole
    committed = contents(undisturbed, "_work/asr")
    windows = {name: len(json.loads(content)["windows"]) for name, content in committed.items()}
    assert len(windows) == len(MEDIA)
    killed = job(out, stop_after=number)
    missing = {name: layer(undisturbed, name) - layer(out, name) for name in ("asr", "translation", "dead")}
    again = job(out)
    assert again.code == DEAD_LETTERS, (killed.changes, again.said)
    assert work(out) == {
        "decode.media": len(missing["asr"]),
        "decode.failed": len(missing["dead"]),
        "transcribe.windows": sum(windows[name] for name in missing["asr"]),
        "translate.media": len(missing["translation"]),
    }, killed.changes
    assert timeless(files(out)) == timeless(files(undisturbed)), killed.changes
    assert transcripts(out) == transcripts(undisturbed), killed.changes
    assert letters(out) == letters(undisturbed) == {"noise.mp3": "not_media"}, killed.changes
    left = {name: layer(out, name) for name in ("asr", "translation", "dead", "saved")}
    assert left == {name: layer(undisturbed, name) for name in left}, killed.changes
    return killed.code


@pytest.mark.long(200)
def test_stopped_behind_each_kind_of_change_it_does_exactly_what_is_missing(job, whole, place):
    numbers = first_of_each_kind(job(f"{place}/whole").changes)
    assert len(numbers) > 10
    stopped = [check_it_goes_on(job, whole, f"{place}/{number}", number) == KILLED for number in numbers]
    assert sum(stopped) >= len(numbers) - 1  # a heartbeat more or less may come in between


@pytest.mark.long(80)
def test_stopped_behind_every_change_in_turn_it_does_exactly_what_is_missing(job, whole, tmp_path):
    changes = job(tmp_path / "whole").changes
    numbers = sorted({*range(1, len(changes) + 1)} - {*first_of_each_kind(changes)})
    stopped = [check_it_goes_on(job, whole, tmp_path / str(number), number) == KILLED for number in numbers]
    assert sum(stopped) >= len(numbers) - 1


def published(output):
    """The bytes of every file that people use, but those that tell of the run itself."""
    tables = {str(path.relative_to(output)): path.read_bytes() for path in output.glob("*/*.parquet")}
    return files(output) | tables


def test_the_same_layers_give_the_same_bytes(job, whole, tmp_path):
    undisturbed, _ = whole
    out = tmp_path / "out"
    for name in ("asr", "translation", "dead"):
        shutil.copytree(undisturbed / "_work" / name, out / "_work" / name)
    assert job(out).code == DEAD_LETTERS
    assert work(out) == NOTHING
    assert published(out) == published(undisturbed)
    assert len(published(out)) == len(MEDIA) * 3 + 3


def test_a_new_format_or_language_infers_nothing(job, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    assert job(out, "--formats", "json", "srt", "vtt").code == DEAD_LETTERS
    assert work(out) == NOTHING
    assert len([name for name in files(out) if name.endswith(".vtt")]) == len(MEDIA) * 2
    assert job(out, "--translate_to", "de").code == DEAD_LETTERS
    assert work(out) == NOTHING | {"translate.media": len(MEDIA)}
    assert {name for name in files(out) if ".fr." in name} == set()
    assert job(out).code == DEAD_LETTERS  # back again: the first translation is still there
    assert work(out) == NOTHING
    assert published(out) == published(whole[0])


def test_what_is_asked_to_be_done_again_is(job, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    assert job(out, "--retry_failed").code == DEAD_LETTERS
    assert work(out) == NOTHING | {"decode.failed": 1}
    assert job(out, "--overwrite").code == DEAD_LETTERS
    counted = work(out)
    assert counted.pop("transcribe.windows") >= len(MEDIA)
    assert counted == {"decode.media": len(MEDIA), "decode.failed": 1, "translate.media": len(MEDIA)}
    assert transcripts(out) == transcripts(whole[0])


def test_starting_anew_goes_on_where_it_was_killed(job, whole, tmp_path):
    total = [change for change in whole[1].changes if "_work/asr" in change]
    for words in ([], ["--overwrite"]):  # either way everything is new in the end
        out = tmp_path / str(len(words))
        shutil.copytree(whole[0], out)
        first = next(number for number, change in enumerate(whole[1].changes, 1) if "_work/asr" in change)
        assert job(out, "--overwrite", stop_after=first + 4).code == KILLED
        anew = {name for name in layer(out, "asr") if "-1/" in name}
        assert job(out, *words).code == DEAD_LETTERS
        assert work(out)["decode.media"] == len(total) - len(anew)
        assert len({name for name in layer(out, "asr") if "-1/" in name}) == len(total)
        assert transcripts(out) == transcripts(whole[0])
    assert job(out, "--overwrite").code == DEAD_LETTERS
    assert work(out)["decode.media"] == len(total)


@pytest.mark.long(30)
def test_a_killed_retry_loses_no_dead_letter(job, whole, tmp_path):
    changes = len(job(shutil.copytree(whole[0], tmp_path / "whole"), "--retry_failed").changes)
    for number in range(1, changes + 1):
        out = shutil.copytree(whole[0], tmp_path / str(number))
        job(out, "--retry_failed", stop_after=number)
        assert job(out).code == DEAD_LETTERS
        assert letters(out) == {"noise.mp3": "not_media"}
        assert published(out) == published(whole[0])


def test_media_that_change_leave_or_come_back(media, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(media, folder)
    flags = ["--input", folder, "--output", out, "--model", "demo"]
    assert run(*flags).code == DEAD_LETTERS
    first = transcripts(out)

    shutil.copy(SAMPLES / "village.opus", folder / "office.mp3")  # another content under the same name
    shutil.copy(SAMPLES / "village.opus", folder / "noise.mp3")
    (folder / "village.opus").unlink()
    assert run(*flags).code == DONE
    assert work(out)["decode.media"] == 2
    rows = transcripts(out)
    assert set(rows) == {"office.mp3", "noise.mp3"}
    assert {row["transcription"] for row in rows.values()} == {first["village.opus"]["transcription"]}

    assert run(*flags, "--keep_missing").code == DONE
    assert work(out) == NOTHING
    assert transcripts(out) == rows | {"village.opus": first["village.opus"]}

    shutil.copy2(media / "village.opus", folder)  # it comes back as it was: the layers still have it
    assert run(*flags).code == DONE
    assert work(out) == NOTHING
    assert set(transcripts(out)) == {"office.mp3", "noise.mp3", "village.opus"}


def test_the_order_of_the_input_changes_nothing(media, tmp_path):
    inputs = sorted(media.iterdir())
    for name, given in (("forth", inputs), ("back", inputs[::-1])):
        flags = ["--model", "demo", "--formats", "srt", "--batch_size", 7]
        assert run("--input", *given, "--output", tmp_path / name, *flags).code == DEAD_LETTERS
    assert transcripts(tmp_path / "forth") == transcripts(tmp_path / "back")
    assert files(tmp_path / "forth") == files(tmp_path / "back")
    assert letters(tmp_path / "forth") == letters(tmp_path / "back")
