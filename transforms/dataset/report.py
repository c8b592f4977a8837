"""report.html: a run as one page for people, made from its figures and the media that were picked to be shown.

The page needs nothing but itself and, where a browser can reach them, the media that it plays. Everything in it is
escaped, and its size has a bound, since the figures and the picks have one.
"""

from __future__ import annotations

import datetime
import functools
import os
import pathlib
import re
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from transforms.dataset.highlights import Highlight, Highlights, shortened
from transforms.dead_letters import CODES, PROBLEMS
from transforms.inputs.folders import skipped_in_words
from transforms.media.suffixes import VIDEO, suffix_of
from transforms.records import MediaFile
from transforms.storage import without_secrets
from transforms.storage.secrets import masked
from transforms.storage.texts import clean, printable, printable_lines, shell

TEMPLATE = "report.html.jinja"
LANGUAGES = 15  # rows; the rest is one row

# the name below the output of the audio that was kept of a recording
KeptAudio = Callable[[MediaFile], str | None]


class RunInfo(NamedTuple):
    """Whose page it is."""

    output: str
    run: str = ""
    started_at: float = 0.0  # seconds since 1970
    options: tuple[tuple[str, str], ...] = ()  # those that are not as they come
    retry: str = ""  # the command that tries dead letters again


class Bar(NamedTuple):
    """A row of a table with a bar."""

    name: str
    figures: dict[str, float]
    share: float  # from 0 to 1


class ReportItem(NamedTuple):
    """A recording as the page shows it."""

    highlight: Highlight
    links: list[str]  # what a player may play, the best first
    silence: str  # why there is no player
    is_video: bool
    offset_s: float  # where the recording begins in what is played


def report(
    summary: dict[str, Any], highlights: Highlights, about: RunInfo, kept_audio: KeptAudio = lambda media: None
) -> str:
    """The page, as HTML.

    Args:
        summary: what summary.json holds.
        highlights: what was picked of the media.
        about: the run.
        kept_audio: of a recording, the file below the output that a browser can play where it cannot reach the
            recording.
    """
    worst, sample = highlights.of(summary["transcripts"])

    def shown(highlight: Highlight) -> ReportItem:
        media = highlight.transcript.media
        kept = kept_audio(media)
        links, silence = player(media, about.output, kept)
        return ReportItem(highlight, links, silence, suffix_of(media.uri) in VIDEO, 0.0 if kept else media.start_s)

    return _template().render(
        summary=summary,
        about=about._replace(retry=without_signatures(about.retry)),
        options=[(name, shortened(without_signatures(value))) for name, value in about.options],
        failures_command=shell(["python", "-m", "beam_pipeline.failures", "--output", about.output]),
        languages=languages(summary),
        durations=durations(summary),
        letters=highlights.letters,
        worst=[shown(each) for each in worst],
        sample=[shown(each) for each in sample],
        skipped=skipped_in_words(summary),
        codes=CODES,
        problem_codes=PROBLEMS,
    )


def player(media: MediaFile, output: str, kept: str | None) -> tuple[list[str], str]:
    """What a player may play of the recording, seen from a page in the output, or why there is nothing."""
    places = [_link(media.uri, output), kept and urllib.parse.quote(kept)]
    if kept and media.is_part:  # its times are not those of its file
        del places[0]
    links = [link for link in places if link]
    if links:
        return links, ""
    scheme = media.uri.partition("://")[0]
    return [], f"No player: a browser cannot read {scheme}:// addresses."


def _link(uri: str, output: str) -> str:
    """How a page in the output names a recording that a browser can reach; "" where it cannot."""
    scheme, separator, _ = uri.partition("://")
    if separator:
        return uri if scheme in ("http", "https") else ""
    if "://" in output:
        return pathlib.Path(uri).as_uri()
    path = os.fsencode(os.path.relpath(uri, output))
    return urllib.parse.quote(path)  # a colon too, so that no name can be taken for a scheme


def without_signatures(text: str) -> str:
    """A command or an option without what may be secret in the addresses of it."""
    return re.sub(r"https?://[^\s']+", lambda found: without_secrets(found[0]), text)


def languages(summary: dict[str, Any]) -> list[Bar]:
    """The languages by their audio, the longest first."""
    found = sorted(summary.get("languages", {}).items(), key=lambda item: (-item[1]["audio_sec"], item[0]))
    total = sum(figures["audio_sec"] for _, figures in found) or 1
    rest = [figures for _, figures in found[LANGUAGES:]]
    if rest:
        added = {name: sum(figures[name] for figures in rest) for name in rest[0]}
        found[LANGUAGES:] = [(f"{len(rest)} more", added)]
    return [Bar(name, figures, figures["audio_sec"] / total) for name, figures in found]


def durations(summary: dict[str, Any]) -> list[Bar]:
    """How many media are how long, the shortest first."""
    histogram = summary.get("duration_sec", {}).get("histogram", {})
    total = sum(histogram.values())
    rows = sorted(histogram.items(), key=lambda item: (_bound(item[0]), item[0].endswith("more")))
    named = [(re.sub(r"\d+", lambda bound: duration(int(bound[0])), name), media) for name, media in rows]
    return [Bar(name, {"media": media}, media / total) for name, media in named]


def _bound(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 5 min, 3.5 h."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:,.1f} h"


def clock(seconds: float) -> str:
    """A place in a recording: 1:02:03 or 2:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _with_code(text: str) -> Markup:
    """Text in which `this` is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(_shown(text)))))


def _breakable(text: str) -> Markup:
    """A path that may break behind its slashes; a very long one without its middle."""
    half, text = 100, printable(masked(text))
    text = text if len(text) <= 2 * half else f"{text[:half]}…{text[-half:]}"
    return Markup(str(escape(text)).replace("/", "/<wbr>"))


def _said(text: str) -> Markup:
    """What was said or translated: the marks of its direction stay, since it has a paragraph of its own."""
    return escape(masked(clean(text)))


def _shown(value: Any) -> Any:
    """All else that the page shows: names and messages, in which nothing may turn the text around them."""
    return printable_lines(masked(value)) if type(value) is str else value  # what is Markup has been through here


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(pathlib.Path(__file__).parent)
    made = jinja2.Environment(loader=loader, autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[[Any], str]] = {
        "duration": duration, "clock": clock, "moment": _moment, "count": _count, "with_code": _with_code,
        "breakable": _breakable, "said": _said,
    }  # fmt: skip
    made.filters.update(filters)
    return made.get_template(TEMPLATE)
