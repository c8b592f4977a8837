"""The steps by name, and every figure that they count: what it is, and which steps count it."""

from __future__ import annotations

COLLECT, PLAN, DECODE, TRANSCRIBE, TRANSLATE, SAVE, DATASET = STEPS = (
    "collect", "plan", "decode", "transcribe", "translate", "save", "dataset",
)  # fmt: skip

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {  # name: (what it counts, which steps do)
    "elements_in": ("elements that reached the step", STEPS),
    "elements_out": ("elements that left the step", STEPS),
    "failed": ("elements that became dead letters, or lost a part of their work, in the step", STEPS),
    "work_ms": ("time spent working, threads added up", STEPS),
    "media": ("media planned, decoded, translated, saved", (PLAN, DECODE, TRANSLATE, SAVE)),
    "dead": ("media whose outcome is a dead letter, of whichever step and run", (SAVE,)),
    "audio_ms": ("audio that was worked on", (DECODE, TRANSCRIBE, TRANSLATE, SAVE)),
    "speech_ms": ("speech found in the audio", (DECODE,)),
    "begun": ("chunks whose decoder was started", (DECODE,)),
    "chunks": ("chunks decoded; in transcribe, chunks all of whose windows are back", (DECODE, TRANSCRIBE)),
    "windows": ("windows that a model heard", (TRANSCRIBE,)),
    "windows_not_a_number": ("windows for which the model gave no numbers", (TRANSCRIBE,)),
    "windows_repetition": ("windows whose text goes round in a loop", (TRANSCRIBE,)),
    "windows_too_dense": ("windows with more text than anybody says in the time", (TRANSCRIBE,)),
    "windows_token_limit": ("windows whose text ran into the model's limit", (TRANSCRIBE,)),
    "windows_behind_end": ("windows with text behind the end of their audio", (TRANSCRIBE,)),
    "windows_too_sparse": ("windows with hardly any text for much speech", (TRANSCRIBE,)),
    "windows_low_confidence": ("windows of whose words the model is unsure", (TRANSCRIBE,)),
    "batches": ("batches given to the model", (TRANSCRIBE,)),
    "batch_windows": ("windows in those batches", (TRANSCRIBE,)),
    "batch_places": ("windows that those batches had room for", (TRANSCRIBE,)),
    "cues": ("cues that the translator was asked for", (TRANSLATE,)),
    "cues_failed": ("cues that stayed without an answer", (TRANSLATE,)),
}
