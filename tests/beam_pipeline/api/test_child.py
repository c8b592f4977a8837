"""Options as Python has them become the words that the command line would have been given."""

from __future__ import annotations

import pytest

from beam_pipeline import UsageError
from beam_pipeline.api.child import run
from beam_pipeline.config import to_arguments
from beam_pipeline.parser import parse


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "demo", "num_shards": 3}, ["--model=demo", "--num_shards=3"]),
        ({"overwrite": True, "retry_failed": False}, ["--overwrite"]),
        ({"input": ["-a.mp3", "b c.mp3"]}, ["--input=-a.mp3", "--input=b c.mp3"]),
        ({"input": "a.mp3"}, ["--input=a.mp3"]),
        ({"formats": ["srt", "txt"], "languages": []}, ["--formats", "srt", "txt"]),
        ({"experiments": ["a", "b"]}, ["--experiments=a", "--experiments=b"]),
        ({"streaming": True, "parallelism": 2}, ["--streaming", "--parallelism=2"]),
        ({"no_such": "x"}, ["--no_such=x"]),  # the parser refuses it
    ],
)
def test_options_become_words(given, words):
    assert to_arguments(given) == words


def test_a_list_comes_out_of_the_parser_as_it_went_in():
    given = {"input": ["-a.mp3", "b"], "output": "-o", "formats": ["srt", "txt"], "experiments": ["x", "y=1"]}
    flags, beam_flags = parse(to_arguments(given))
    assert (flags.input, flags.output, flags.formats) == (["-a.mp3", "b"], "-o", ["srt", "txt"])
    assert beam_flags == ["--experiments=x", "--experiments=y=1"]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"overwrite": 1}, "--overwrite is on or off: give True or False instead of 1"),
        ({"streaming": "yes"}, "--streaming is on or off"),
        ({"model": ["a", "b"]}, "--model takes one value"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, advice):
    with pytest.raises(UsageError, match=advice):
        to_arguments(given)


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"dry_run": True}, "use the command line"),
        ({"json": True}, "--json says how --dry_run prints"),
        ({"log_level": "DEBUG"}, "logging is the caller's own"),
    ],
)
def test_what_only_a_terminal_has_a_use_for_is_refused(given, advice):
    with pytest.raises(UsageError, match=advice):
        run({"input": "a", "output": "b", **given})
