"""A run over an output in which others left their litter, or whose objects are damaged: the results are the same."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from beam_pipeline import diff, failures, status
from tests.conftest import with_noise
from tests.runs import counters, files, letters, run, timeless, transcripts
from tests.servers import ChatStub, upper
from tests.transforms.test_damage import DAMAGE, LITTER

pytestmark = pytest.mark.long(30)

DONE, USAGE, DEAD_LETTERS = 0, 2, 3


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Runs the job on an output: two media, translated by an LLM, and one that is noise."""
    folder = with_noise(tmp_path_factory.mktemp("media"), ("office.mp3", "village.opus"))
    with ChatStub(upper) as stub:
        flags = ["--input", folder, "--model", "demo", "--formats", "json", "srt"]
        flags += ["--translate_to", "fr", "--openai_base_url", stub.url]
        yield lambda output, *words: run(*flags, "--output", output, *words, env={"OPENAI_API_KEY": "x"})


@pytest.fixture(scope="module")
def finished(job, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "out"
    ended = job(output, "--overwrite")  # so that there is a generation
    assert ended.code == DEAD_LETTERS, ended.said
    return output


def objects(output):
    return [*(path for path in pathlib.Path(output, "_work").rglob("*.json")), *output.glob("*.json")]


def assert_same(output, finished, ended):
    assert ended.code == DEAD_LETTERS, ended.said
    assert "Traceback" not in ended.said
    assert transcripts(output) == transcripts(finished)
    assert letters(output) == letters(finished) == {"noise.mp3": "not_media"}
    assert timeless(files(output)) == timeless(files(finished))


@pytest.mark.parametrize("damage", ["truncated", "NaN", "nested deeply", "a list"])
def test_what_is_damaged_is_done_again_in_the_same_run(job, finished, tmp_path, damage):
    output = shutil.copytree(finished, tmp_path / "out")
    for path in objects(output):
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    ended = job(output)
    assert_same(output, finished, ended)
    assert counters(output)["decode.media"] == 2
    assert "of 3 media cannot be read: they are done again" in ended.said
    assert_same(output, finished, job(output))
    assert counters(output).get("decode.media", 0) == counters(output).get("translate.media", 0) == 0


def test_a_damaged_translation_alone_is_asked_for_again(job, finished, tmp_path):
    output = shutil.copytree(finished, tmp_path / "out")
    for path in pathlib.Path(output, "_work/translation").rglob("*.json"):
        path.write_bytes(path.read_bytes()[:-9])
    assert_same(output, finished, job(output))
    assert (counters(output).get("decode.media", 0), counters(output)["translate.media"]) == (0, 2)


def test_litter_everywhere_costs_nothing(job, finished, tmp_path, capsys):
    output = shutil.copytree(finished, tmp_path / "out")
    folders = [path for path in pathlib.Path(output, "_work").rglob("*") if path.is_dir()]
    for folder in [*folders, output / "_work"]:
        for name in LITTER:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"not ours")
    assert_same(output, finished, job(output))
    assert counters(output).get("decode.media", 0) == counters(output).get("translate.media", 0) == 0
    assert counters(output).get("decode.failed", 0) == 0
    assert status.main(["--output", str(output)]) == DONE
    assert "3 media: 2 done, 1 failed, 0 left" in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGE)
def test_commands_that_look_at_a_damaged_output_say_so_in_one_line(finished, tmp_path, damage, capsys):
    output = shutil.copytree(finished, tmp_path / "out")
    for path in [*objects(output), *output.glob("*/*.parquet")]:
        kept = path.read_bytes()
        path.write_bytes(DAMAGE[damage](kept) if path.suffix == ".json" else kept[: len(kept) // 2])
        for words in (["--output", str(output)], ["--output", str(output), "--json"]):
            for command in (status, failures):
                code = command.main(words)
                said = capsys.readouterr()
                assert (code, said.err) == (DONE, "") or (code == USAGE and said.err.count("\n") == 1), said.err
        code = diff.main([str(finished), str(output)])
        said = capsys.readouterr()
        assert (code, said.err) == (DONE, "") or (code == USAGE and said.err.count("\n") == 1), said.err
        path.write_bytes(kept)
