"""Names that are no UTF-8, and names in Hindi, on consoles that show neither."""

from __future__ import annotations

import pytest

from tests.cases.conftest import CaseRun
from tests.shell import shell

TEXT = "राम आज बाज़ार जाएगा।"
DEAD_LETTERS = 3
FLAGS = "-m beam_pipeline --input in hindi --model demo"
ASCII = {"PYTHONIOENCODING": "ascii"}
SHOWN = ("caf\\xe9.mp3", "bro\\xdfken.mp3", "page\\xdf.mp3", "plain.mp3")


def test_the_results_lie_under_stable_names_and_what_is_printed_can_be_read(made, tmp_path):
    folder, out = made("10-names-on-a-console"), tmp_path / "out"
    done = shell(folder, f'"$PYTHON" {FLAGS} --output {out}', **ASCII)
    assert (done.returncode, "Traceback" in done.stderr) == (DEAD_LETTERS, False), done.stderr
    ran = CaseRun(done.returncode, done.stdout, out)
    rows = ran.rows()
    assert {name: row["transcription"] for name, row in rows.items()} == dict.fromkeys(
        ("caf\\udce9.mp3", "plain.mp3", "राम की कहानी.mp3"), TEXT
    )
    assert ran.rows("dead_letters").keys() == {"bro\\udcdfken.mp3", "page\\udcdf.mp3", "टूटा.mp3"}
    assert {path.name for path in (out / "media").glob("*.txt")} == {"caf_xe9.txt", "plain.txt", "राम की कहानी.txt"}
    told = shell(folder, f'"$PYTHON" -m beam_pipeline.failures --output {out}', **ASCII)
    assert told.returncode == 0, told.stderr
    assert all(name in told.stdout for name in SHOWN[1:3])
    assert "\\u091f\\u0942\\u091f\\u093e.mp3" in told.stdout


@pytest.mark.parametrize(
    ("console", "hindi"),
    [
        ({"LC_ALL": "C.UTF-8"}, "राम की कहानी.mp3"),
        ({"LC_ALL": None, "LANG": "C"}, "राम की कहानी.mp3"),
        ({"LC_ALL": "POSIX"}, "राम की कहानी.mp3"),
        (ASCII, "\\u0930\\u093e\\u092e \\u0915\\u0940 \\u0915\\u0939\\u093e\\u0928\\u0940.mp3"),
    ],
    ids=["utf-8", "c", "posix", "ascii"],
)
def test_a_dry_run_lists_every_name(made, tmp_path, console, hindi):
    done = shell(made("10-names-on-a-console"), f'"$PYTHON" {FLAGS} --output {tmp_path} --dry_run', **console)
    assert done.returncode == 0, done.stderr
    assert [name for name in (*SHOWN, hindi) if f"transcribe    {name}" not in done.stdout] == []
    assert done.stdout.splitlines()[-1] == "6 transcribe"
