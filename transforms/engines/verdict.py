"""What is wrong with what a model made of a window, told from the text, the speech and the model's own figures.

Every engine is judged by these rules, window by window and task by task: a whole recording says nothing, since right
text of five minutes packs six times smaller. They are openai/whisper's, with its thresholds, and more, but for two
things. A loop is found first, before silence can excuse it. And no text is one because it packs well alone: what
somebody says twice does, too, so it must also come again and again in a row. Where a rule cannot be sure, the text
passes: a verdict on right speech does more harm than a miss.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from transforms.records import SAMPLE_RATE_HZ, Segment, SpeechWindow, Verdict, WindowTranscription

# stands around words, and tells no two of them apart
PUNCTUATION = ".,;:!?…-–—\"'“”‘’«»()[]।॥、。！？，♪"
LONGEST_WORD = 24  # letters; longer ones are of a script that has no spaces, or a loop without any
LONGEST_PHRASE = 64  # words of a phrase that is looked for in a row, or letters where there are no spaces
LEAST_LOOP = 40  # letters behind the phrase's first time: "no, no, no" and a laugh are none
EDGES_S = 1.0  # a few words may belong to speech that voice activity did not see
LEAST_SPEECH_S = 8.0  # of which so little text can be told to be too little


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """From where a text, or the model's own figures for it, are not believed."""

    compression_ratio_threshold: float = 2.4  # these three are openai/whisper's
    logprob_threshold: float = -1.0
    no_speech_threshold: float = 0.6
    max_repeats: int = 5  # a phrase in a row
    max_words_per_s: float = 10.0  # an auctioneer's are six
    max_chars_per_s: float = 40.0
    # both must be below: a script without spaces has few words
    min_words_per_s: float = 0.4
    min_chars_per_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.no_speech_threshold <= 1:
            raise ValueError(f"no_speech_threshold is {self.no_speech_threshold}: it is a probability")
        if not self.logprob_threshold <= 0:
            raise ValueError(f"logprob_threshold is {self.logprob_threshold}: a log probability is at most 0")
        if not self.compression_ratio_threshold >= 1:
            raise ValueError(f"compression_ratio_threshold is {self.compression_ratio_threshold}: it is at least 1")
        if self.max_repeats < 1:
            raise ValueError(f"max_repeats is {self.max_repeats}: every phrase is there once")
        for unit in ("words", "chars"):
            least, most = (getattr(self, f"{end}_{unit}_per_s") for end in ("min", "max"))
            if not 0 <= least < most:
                raise ValueError(f"min_{unit}_per_s is {least} and max_{unit}_per_s {most}: from 0 up, in this order")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Those that the options of the same names give.

        Raises:
            ValueError: they cannot be meant.
        """
        return cls(**{field.name: options[field.name] for field in dataclasses.fields(cls)})


USUAL = Thresholds()


class Loop(NamedTuple):
    """A phrase that is there several times in a row."""

    repeats: int
    letters: int  # behind its first time
    share: float  # of the text


def judge(window: SpeechWindow, heard: WindowTranscription, most: Thresholds) -> Verdict | None:
    """The gravest of what is wrong; None where nothing is, or where nothing was heard and that may be so.

    Args:
        window: with its samples.
        heard: what a model made of it; its figures are finite or None.
        most: what is believed.
    """
    spoken_s = speech_s(window)
    if heard.unmeasured:
        return Verdict("not_a_number", "the model's figures for this window are no numbers", again=False)
    texts = {task: " ".join(segment.text for segment in found).strip() for task, found in heard.texts.items()}
    for task, text in texts.items():
        if loops(text, most):
            return Verdict("repetition", f"the text{_of(task)} goes round in a loop, where something else was said")
    for task, text in texts.items():
        if too_dense(text, spoken_s, most):
            return Verdict("too_dense", f"{_counted(text, spoken_s, task)}: faster than anybody speaks")
    if heard.truncated:
        return Verdict("token_limit", "the text ran into the model's limit; its end is missing")
    for task, found in heard.texts.items():
        if behind_end(found, window.duration_s):
            return Verdict("behind_end", f"text{_of(task)} begins behind the end of the audio, and was not said")
    return _unheard(heard, texts, spoken_s, most)


def _unheard(
    heard: WindowTranscription, texts: Mapping[str, str], spoken_s: float, most: Thresholds
) -> Verdict | None:
    """What may be missing of the speech, or misheard."""
    nothing = not any(texts.values())
    if nothing and (heard.avg_logprob is None or (heard.no_speech_prob or 0.0) > most.no_speech_threshold):
        return None  # the engine has no figures, or takes the sound for no speech
    for task, text in texts.items():
        if too_sparse(text, spoken_s, most):
            return Verdict("too_sparse", f"{_counted(text, spoken_s, task)}: some of it may be missing")
    if not nothing and heard.avg_logprob is not None and heard.avg_logprob < most.logprob_threshold:
        return Verdict("low_confidence", "the model is unsure of these words")
    return None


def is_silence(no_speech_prob: float, avg_logprob: float, segments: Sequence[Segment], most: Thresholds) -> bool:
    """Whether a text was heard in what is no speech, and goes.

    Openai/whisper's rule: the model takes it for none and is unsure of the text. A loop stays, so that it is seen.
    """
    unsure = no_speech_prob > most.no_speech_threshold and avg_logprob < most.logprob_threshold
    return unsure and not loops(" ".join(segment.text for segment in segments), most)


def speech_s(window: SpeechWindow) -> float:
    """Seconds of a window without its long pauses."""
    return max(0.0, window.duration_s - sum(end - start for start, end in window.pauses) / SAMPLE_RATE_HZ)


def compression_ratio(text: str) -> float:
    """How many times smaller the text gets in zlib.

    Openai/whisper's figure, with one byte for each letter of any script: in UTF-8 right Hindi of half a minute is
    above 3, since the first two bytes of each letter are nearly always the same.
    """
    alphabet = {letter: number for number, letter in enumerate(dict.fromkeys(text))}
    plain = text.encode() if text.isascii() or len(alphabet) > 256 else bytes(map(alphabet.__getitem__, text))
    return len(plain) / len(zlib.compress(plain))


def loops(text: str, most: Thresholds) -> bool:
    """Whether the text goes round in a loop.

    It does where a phrase comes more than `max_repeats` times in a row; where it packs too well and a phrase that
    comes so many times is half of it; and where it packs twice too well.
    """
    ratio = compression_ratio(text)
    if ratio > 2 * most.compression_ratio_threshold:
        return True
    packs = ratio > most.compression_ratio_threshold
    return any(
        loop.letters >= LEAST_LOOP
        and (loop.repeats > most.max_repeats or (packs and loop.repeats == most.max_repeats and loop.share >= 0.5))
        for loop in _loops(_units(text))
    )


def _units(text: str) -> list[str]:
    """The words of the text as they are compared, or its letters where it is written without spaces."""
    words = [word for each in text.split() if (word := each.strip(PUNCTUATION).casefold())]
    return list("".join(words)) if max(map(len, words), default=0) > LONGEST_WORD else words


def _loops(units: Sequence[str]) -> Iterator[Loop]:
    """For each length of a phrase, the longest stretch in which one of that length is there again and again."""
    for period in range(1, min(len(units) // 2, LONGEST_PHRASE) + 1):
        run = longest = end = 0
        for at in range(period, len(units)):
            run = run + 1 if units[at] == units[at - period] else 0
            if run > longest:
                longest, end = run, at + 1
        letters = sum(map(len, units[end - longest : end]))
        yield Loop(longest // period + 1, letters, (longest + period) / len(units))


def too_dense(text: str, spoken_s: float, most: Thresholds) -> bool:
    """Whether there is more text than anybody says in the time."""
    room_s = spoken_s + EDGES_S
    return len(text) > most.max_chars_per_s * room_s or len(text.split()) > most.max_words_per_s * room_s


def too_sparse(text: str, spoken_s: float, most: Thresholds) -> bool:
    """Whether there is less text than anybody says in the time; of little speech nothing can be told."""
    return (
        spoken_s >= LEAST_SPEECH_S
        and len(text) < most.min_chars_per_s * spoken_s
        and len(text.split()) < most.min_words_per_s * spoken_s
    )


def behind_end(segments: Sequence[Segment], duration_s: float) -> bool:
    """Whether text begins where the audio has ended."""
    return any(round(segment.start, 3) > round(duration_s, 3) for segment in segments)


def _of(task: str) -> str:
    return "" if task == "transcribe" else f" of the task {task}"


def _counted(text: str, spoken_s: float, task: str) -> str:
    return f"{len(text.split())} words and {len(text)} characters{_of(task)} for {spoken_s:.1f} s of speech"
