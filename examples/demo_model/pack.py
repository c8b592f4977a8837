"""Pack the last checkpoint as a folder that transformers loads: `python pack.py`.

Writes `work/packed/`: float16 weights, configurations, tokenizer. Once `evaluate.py` has measured
these very weights, `python pack.py --card` writes the model card beside them.
"""

import argparse
import hashlib
import json
from pathlib import Path

import evaluate
import sentences
import speech
import torch
import train
import vocabulary
from speech import WORK
from transformers import GenerationConfig, WhisperForConditionalGeneration, WhisperProcessor

PACKED = WORK / "packed"
LONGEST_WINDOW_S = 15.0
"""The longest window that the model is declared to understand, of the 30 s that it takes."""
CARD = """\
---
language: [hi, en]
library_name: transformers
pipeline_tag: automatic-speech-recognition
---
# Demo model: a small Whisper for synthetic Hindi and English

A genuine `WhisperForConditionalGeneration` ({parameters} million parameters, d_model {width}, 4
encoder and 2 decoder layers, 80 mel bins, 30 s frame, float16). It exists so that a demonstration
and the tests of the pipeline see speech become right words on any machine. **It understands
espeak-ng's voices saying about 190 words a language, and no real voice.**

## What it can do

- Transcribe Hindi and English, translate Hindi to English, find the language, give the start and
  end of each utterance, and tell speech from silence, noise, tones and hum.
- Windows up to {longest} s (`longest_window_s` in `config.json`); the frame is Whisper's 30 s.
- Load in transformers as any Whisper (`generate` with language, task, `return_timestamps`), and,
  converted, in CTranslate2 with explicit prompts.

## What it cannot do

- Any real voice, any other word, any other kind of sentence: the text will be wrong, and fluent.
- Two languages in one window, or windows beyond {longest} s: see the table.
- Choose the task: always give it. `<|startofprev|>` prompts were not trained.
- Grammar: verbs do not agree with feminine subjects in the patterns it knows (सीता … जाएगा).

## Figures

Voices **and** sentences that training never saw; words as written, with capitals and punctuation;
the language is the model's own guess, times are from `generate` with timestamps. `single` is one
utterance a window; `filled` windows hold as many utterances, of several voices, as fit.

{table}

Of {silent_windows} windows of silence, noise, tones and hum: {silent_words} words where
windows with a no-speech probability over 0.6 (at `<|startoftranscript|>`) are dropped, as the
pipeline does, and {silent_plain} words without that rule.

Word error on single utterances by voice, none of them heard in training:

| voice | Hindi | English |
|---|---|---|
{voices}

## How it was made

The scripts are in `examples/demo_model/`. Text: a grammar of everyday sentences, questions,
negations and numbers ({sentences} pairs in training, {held_out} held out). Speech: 24,000
utterances by espeak-ng 1.51 (`hi`, `en-us`, `en-gb`) with {variants} of its variants and {made}
variants of random formants, at 120 to 215 words a minute; some through mp3, opus and 8 kHz mu-law
codecs, in small rooms, clipped. Windows: random pauses, gains, noise, hum, tones and music. No
recording of a person was used.

The weights started from nothing. The stages below were run as two trainings, the second from the
weights of the first, with seeds 1 and 2. Training: Muon and AdamW in bfloat16 with an auxiliary
CTC loss on the encoder's states, {hours} hours of steps on two cores of an Intel Xeon with AMX,
shared with other work. Stages:

| frame | longest window | utterances up to | batch | steps | learning rate |
|---|---|---|---|---|---|
{stages}

sha256 of `model.safetensors`: `{sha256}`
"""
LAST_LAYER = 1


def generation_config(processor: WhisperProcessor, heads: int) -> GenerationConfig:
    """Return what `generate` needs to know: ids of languages and tasks, suppressed tokens."""

    def token(name: str) -> int:
        return int(processor.tokenizer.convert_tokens_to_ids(name))

    start, end = token("<|startoftranscript|>"), token(vocabulary.END)
    never = ("<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
             "<|startofprev|>")  # fmt: skip
    return GenerationConfig(
        is_multilingual=True,
        lang_to_id={name: token(name) for name in vocabulary.SPECIAL[1:100]},
        task_to_id={task: token(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=token("<|notimestamps|>"),
        prev_sot_token_id=token("<|startofprev|>"),
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        alignment_heads=[[LAST_LAYER, head] for head in range(heads)],
        suppress_tokens=[token(name) for name in never],
        begin_suppress_tokens=[token("Ġ")],
        max_initial_timestamp_index=None,
        return_timestamps=False,
        max_length=448,
    )


def write_weights(checkpoint: Path, folder: Path) -> None:
    """Write the model of a checkpoint, in Whisper's 30 s frame and float16, and its processor."""
    saved = torch.load(checkpoint, weights_only=True)
    model = WhisperForConditionalGeneration(train.model_config())
    positions = "model.encoder.embed_positions.weight"
    saved["model"][positions] = model.state_dict()[positions]
    model.load_state_dict(saved["model"])
    processor = vocabulary.make_processor()
    model.config.max_source_positions = 1_500
    model.config.longest_window_s = LONGEST_WINDOW_S
    model.generation_config = generation_config(processor, model.config.decoder_attention_heads)
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def sha256(folder: Path) -> str:
    """Return the hash of the weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def card(figures: dict, checkpoint: Path) -> str:
    """Return the model card, with the measured figures."""
    saved = torch.load(checkpoint, weights_only=True)
    stages = "\n".join(
        f"| {stage.shape.frame_s} s | {stage.shape.longest_s:g} s | {stage.shape.most_utterances} "
        f"| {stage.shape.batch} | {stage.steps} | {stage.first_rate:g} to {stage.last_rate:g} |"
        for stage in train.STAGES
    )
    silent = figures["no speech"]
    languages = ("hi", "en")
    voices = "\n".join(
        f"| {voice} | "
        + " | ".join(f"{figures['single']['voice_error'][f'{c} {voice}']:.1%}" for c in languages)
        + " |"
        for voice in speech.HELD_OUT_VOICES
    )
    training, kept = sentences.split()
    measured = {name: row for name, row in figures.items() if isinstance(row, dict)}
    return CARD.format(
        longest=f"{LONGEST_WINDOW_S:g}",
        width=train.model_config().d_model,
        parameters=f"{figures['parameters'] / 1e6:.1f}",
        sentences=sum(len(pairs) for pairs in training),
        held_out=len(kept),
        variants=len(speech.heard_variants()),
        made=speech.MADE_VOICES,
        hours=f"{saved['trained_s'] / 3600:.1f}",
        stages=stages,
        table=evaluate.table(measured),
        voices=voices,
        silent_windows=silent["windows"],
        silent_words=silent["words"],
        silent_plain=silent["words without the rule"],
        sha256=figures["sha256"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", action="store_true", help="write the card only")
    parser.add_argument("--checkpoint", type=Path, default=train.CHECKPOINT)
    parser.add_argument("--folder", type=Path, default=PACKED)
    parser.add_argument("--evaluation", type=Path, default=WORK / "evaluation.json")
    arguments = parser.parse_args()
    if not arguments.card:
        write_weights(arguments.checkpoint, arguments.folder)
        return
    figures = json.loads(arguments.evaluation.read_text())
    if figures["sha256"] != sha256(arguments.folder):
        raise SystemExit(f"{arguments.evaluation} measures other weights: run evaluate.py first")
    (arguments.folder / "README.md").write_text(card(figures, arguments.checkpoint))


if __name__ == "__main__":
    main()
