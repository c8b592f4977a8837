"""Turns a recording that cannot be transcribed into a dead letter, and lists the codes that say why.

A function that meets bad input raises `MediaError`; the step that calls it does so through `attempt`, one of the few
places that catch everything. The letter then rides the chain in place of the recording's result, to be kept by
SaveMedia.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from typing import TypeVar

from transforms.records import DeadLetter, MediaFile
from transforms.storage.secrets import redacted

T = TypeVar("T")

SHARE_FROM = 20  # media tried, below which a share says nothing
DETAIL = 4_000  # characters of an error's own words

CODES = {
    "missing": "There is no file at this path. Check the spelling; a relative path counts from where you run.",
    "broken_link": "The link leads to no file. Fetch or copy what it leads to, or remove the link.",
    "not_fetched": "A pointer lies here, and the recording elsewhere. Fetch it as `detail` says, then run again.",
    "no_match": "The pattern matches no file, or the folder holds no media. Quote the pattern for the shell.",
    "bad_manifest": "The manifest or a row of it cannot be taken: `detail` says which, and what to write.",
    "unreadable": "The file cannot be opened. Give this user the right to read it, and add `--retry_failed`.",
    "store_failed": "The store did not give the whole file, though asked again. Later, add `--retry_failed`.",
    "changed": "The file was changed while it was read. Add `--retry_failed` when it is complete.",
    "empty_file": "The file has no bytes. Fetch it again.",
    "not_media": "ffmpeg finds no audio or video in the file. Play it; if it does not play, fetch it again.",
    "no_audio_track": "The file has no audio track. Nothing can be transcribed from it.",
    "no_such_track": "The file has no audio track that `--audio_track` names. Choose another one.",
    "no_samples": "The audio track holds no samples. The file is a header without content: fetch it again.",
    "no_such_part": "The file ends before this part of it begins. Put the manifest's `offset` right.",
    "too_long": "The audio is longer than `--max_media_hours`. Raise it if that is meant; add `--retry_failed`.",
    "too_many_channels": "The audio has more channels than `--channels split` takes. Use mix; add `--retry_failed`.",
    "decoder_timeout": "The decoder gave no audio for `--decode_timeout_s`. Raise it, and add `--retry_failed`.",
    "decoder_killed": "Something outside ended the decoder, perhaps for want of memory. Add `--retry_failed`.",
    "decode_failed": "ffmpeg failed. `detail` holds its last words; play the file to see whether it is damaged.",
    "engine_failed": "The model failed on every window: see `detail`. Put it right, and add `--retry_failed`.",
    "cannot_save": "Its files cannot have its name. Give it another `id` in a manifest, and add `--retry_failed`.",
    "not_ours": "A file that no run wrote lies where its own would, see `detail`. Move it; add `--retry_failed`.",
    "incomplete": "Not every window came back from the model. Add `--retry_failed`; report it if it stays.",
    "layer_lost": "What was committed of this recording cannot be read any more. The next run does it again.",
    "unexpected": "An error that this software did not foresee. `detail` holds it: please report it.",
}
PROBLEMS = {  # of a recording that still has a transcript
    "truncated": "The file is cut short or damaged; `coverage` says how much of it could be transcribed.",
    "damaged": "The file is damaged at this place. The other parts are there, each at its time.",
    "engine_failed": "The model failed on this window. `--retry_failed` tries chunks again of which none worked.",
    "not_a_number": "The model gave no numbers for this window; its text may be wrong: try `--dtype float32`.",
    "token_limit": "The text of this window ran into the model's token limit, so its end is missing.",
    "repetition": "A loop of text stands here in place of what was said. Try a larger model, or give `--language`.",
    "too_dense": "More text than anybody can say in the time: some is invented. Try a larger model.",
    "too_sparse": "Hardly any text for much speech: some may be missing. Listen to it, or try a larger model.",
    "behind_end": "Text begins where its audio has ended, and was not said. Report it to whoever made the engine.",
    "low_confidence": "The model is unsure of these words; none is known to be missing. Try a larger model.",
    "quiet": "Speech was recorded far too quietly, and was raised; look at the recorder's gain. Its text is whole.",
    "translation_failed": "The translator gave no usable answer for this cue. The next run asks for it again.",
}
# problems that leave the text whole: status and coverage know nothing of them
HARMLESS = {"quiet", "low_confidence"}
RETRYABLE = {"missing", "broken_link", "not_fetched", "no_match", "unreadable", "store_failed", "changed"}
RETRYABLE |= {
    "decoder_timeout",
    "engine_failed",
    "decoder_killed",
    "not_ours",
    "incomplete",
    "layer_lost",
    "unexpected",
}


class TooManyFailuresError(Exception):
    """So much goes wrong that going on would waste the time of a GPU."""


@dataclasses.dataclass(frozen=True)
class FailureLimit:
    """How many of the media that a run tries may fail before it stops: a number, or a share below 1."""

    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.most >= 0 or (self.most > 1 and self.most % 1 and math.isfinite(self.most)):
            raise ValueError(f"max_failures is {self.most:g}: give a number such as 100, or a share such as 0.05")

    def check(self, failed: int, tried: int, at_end: bool = False) -> None:
        """Raise TooManyFailuresError when it is exceeded. A share counts once enough have been tried to tell."""
        share = 0 < self.most < 1
        allowed = self.most * tried if share else self.most
        if failed > allowed and (at_end or not share or tried >= SHARE_FROM):
            raise TooManyFailuresError(
                f"{failed} of {tried} media failed, more than --max_failures {self.most:g} allows"
            )


class MediaError(Exception):
    """A recording cannot be done, for the reason that the code names."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {CODES[code]} {detail}".strip())
        self.code = code
        self.detail = detail


def dead_letter(step: str, media: MediaFile, error: Exception) -> DeadLetter:
    """The letter that tells of the error: its code's advice as message, its own words as detail."""
    if not isinstance(error, MediaError):
        logging.getLogger(__name__).warning("%s: %s failed", media.media_id, step, exc_info=error)
        error = MediaError("unexpected", f"{type(error).__name__}: {error}")
    detail = redacted(error.detail, DETAIL)
    return DeadLetter(media, step, error.code, CODES[error.code], detail, error.code in RETRYABLE)


def attempt(
    step: str, media: MediaFile, work: Callable[[], T], fatal: type[Exception] | tuple[()] = ()
) -> T | DeadLetter:
    """The result of the work, or the dead letter of the recording if it raises an error that does not end the run."""
    try:
        return work()
    except fatal:
        raise
    except Exception as error:  # noqa: BLE001 - one bad recording must not cost the others
        return dead_letter(step, media, error)
